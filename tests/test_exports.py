"""Exported models: one file with the averaged weights and the config."""

import json
import struct
import subprocess
import sys
import zlib

import jax
import numpy as np
import pytest
import safetensors.numpy

import pfgm_jax
import run_lib
from pfgm_jax import exports
from pfgm_jax.errors import InputError
from pfgm_jax.loading import load_params
from tests.test_run_lib import small_digits
from tests.test_trained_model import load_with


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run, and the file that the command wrote."""
    workdir = tmp_path_factory.mktemp("exports") / "run"
    config = small_digits(**{"training.n_iters": 4, "sampling.ode_solver": "improved_euler", "sampling.N": 4})
    run_lib.train(config, workdir)
    path = workdir.parent / "model.safetensors"
    command = [sys.executable, "-m", "pfgm_jax", "export", f"--workdir={workdir}", f"--output={path}"]
    subprocess.run(command, check=True, capture_output=True)
    return workdir, path


def test_an_exported_model_samples_as_its_run_to_the_bit(exported):
    workdir, path = exported
    ours, theirs = pfgm_jax.load(path), pfgm_jax.load(workdir)
    np.testing.assert_array_equal(ours.sample(3, seed=1), theirs.sample(3, seed=1))
    assert ours.step == theirs.step == 4
    assert load_with(path, {"sampling.N": 5}).config.sampling.N == 5


def test_other_programs_read_the_weights(exported):
    workdir, path = exported
    params = load_params(workdir)[0]
    found = safetensors.numpy.load_file(path)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    assert {".".join(key.key for key in at) for at, _ in leaves} == {*found}
    for at, leaf in leaves:
        np.testing.assert_array_equal(found[".".join(key.key for key in at)], leaf)


def test_a_file_that_is_changed_anywhere_is_refused(exported, tmp_path):
    _, path = exported
    content = path.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    header = int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(0)
    places = [0, 5, 9, header // 2, header + 9, len(content) - 1, *rng.integers(0, len(content), 40)]
    for place in places:
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"damaged\.safetensors (is damaged|was not exported by pfgm_jax).*export"):
            exports.read(damaged)
    for wrong in (b"", content[:100], content[:-1], content + b"\0", b"\xff" * 99):
        damaged.write_bytes(wrong)
        with pytest.raises(InputError, match="is damaged, or not of the format safetensors; export the model again"):
            pfgm_jax.load(damaged)


def test_refuses_files_of_others(exported, tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"w": np.ones(3, np.float32)}, path)
    with pytest.raises(InputError, match="was not exported by pfgm_jax"):
        pfgm_jax.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        pfgm_jax.load(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="--output is .*; give a file whose name ends with .safetensors"):
        exports.write(tmp_path / "model.bin", *exports.read(exported[1]))
    with pytest.raises(InputError, match="step is 3, but .* holds the weights of step 4"):
        pfgm_jax.load(exported[1], step=3)
    with pytest.raises(InputError, match="an exported model has none; give those in schedules.json"):
        load_with(exported[1], {"sampling.ode_solver": "dpmpp_2m", "sampling.schedule": "calibrated"})


def test_refuses_weights_of_another_network(exported, tmp_path):
    config, params, step = exports.read(exported[1])
    config.model.nf *= 2
    path = tmp_path / "model.safetensors"
    exports.write(path, config, params, step)
    with pytest.raises(InputError, match="of another network than its config"):
        pfgm_jax.load(path)


def test_texts_without_their_meaning_are_refused(exported, tmp_path):
    tensors = safetensors.numpy.load_file(exported[1])
    path = tmp_path / "model.safetensors"
    for texts in ({}, {"config": "[]", "sums": "{}", "step": "4"}, {"config": "{}", "sums": "{", "step": "4"}):
        safetensors.numpy.save_file(tensors, path, {"format": "pfgm_jax", **texts})
        with pytest.raises(InputError, match="is damaged: its content is not as it was exported"):
            pfgm_jax.load(path)
    sums = json.dumps({"": zlib.crc32(b"4 []")})
    content = json.dumps({"__metadata__": {"format": "pfgm_jax", "sums": sums, "step": "4", "config": "[]"}}).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content)
    with pytest.raises(InputError, match="the config in .* is damaged; export the model again"):
        pfgm_jax.load(path)
