"""Checkpoints of the authors' release: the outputs of their networks, and what is refused."""

import importlib
import json
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest

import run_lib
from configs import default
from pfgm_jax import convert, models
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.convert.tensors import network_tensors
from pfgm_jax.torch_file import read_torch_file
from tests import torch_format

RELEASE = "tests/fixtures/release"
VARIANTS = np.load(f"{RELEASE}/variants.npz")


def config_of(name: str) -> ml_collections.ConfigDict:
    """Our defaults under the config with which a checkpoint of the release was written."""
    config = default.get_config()
    config.update(json.loads(Path(RELEASE, f"{name}.config.json").read_text()))
    return config


def small_config(**overrides) -> ml_collections.ConfigDict:
    config = default.get_config()
    small = {
        "data.image_size": 16,
        "data.num_channels": 3,
        "data.levels": 256,
        "model.dropout": 0.0,
        "training.M": 291.0,
    }
    config.update_from_flattened_dict({**small, **overrides})
    return config


def their_shapes(config) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape_of_theirs for tensor in network_tensors(config)}


def their_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight that the recorded variants have under a name."""
    normal = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype(np.float32)
    if len(shape) > 1:
        return (normal / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    if name.endswith(".W"):
        return (3 * normal).astype(np.float32)
    offset = 1 if "GroupNorm" in name and name.endswith("weight") else 0
    return (offset + 0.1 * normal).astype(np.float32)


def outputs(apply, params, x, cond) -> np.ndarray:
    return np.array(apply({"params": params}, x.transpose(0, 2, 3, 1), cond)).transpose(0, 3, 1, 2)


leaves = jax.tree_util.tree_leaves_with_path


def relative_error(ours, recorded) -> float:
    return np.abs(ours - recorded).max() / np.abs(recorded).max()


@pytest.mark.parametrize("name", ["a_ddpmpp", "b_ncsnpp", "c_ddpm_resblock", "v_ve_ncsnpp"])
def test_converted_networks_answer_as_the_release(name):
    config, record = config_of(name), np.load(f"{RELEASE}/{name}.npz")
    params, ema_params, step = convert.convert_checkpoint(f"{RELEASE}/{name}.pth", config)
    assert step == 20
    cond = record["cond_z_or_t"]
    if config.training.sde == "vesde":
        cond = (config.model.sigma_min * (config.model.sigma_max / config.model.sigma_min) ** cond).astype(np.float32)
    apply = jax.jit(models.create_model(config).apply)
    for kind, tree in (("raw", params), ("ema", ema_params)):
        out = outputs(apply, tree, record["x"], cond)
        if config.training.sde == "vesde":
            assert relative_error(out, record[f"{kind}/out"]) < 2e-5
        else:
            assert relative_error(out[:, :-1], record[f"{kind}/out_x"]) < 2e-5
            assert relative_error(out[:, -1].mean((1, 2)), record[f"{kind}/out_z"]) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted({name.split("/")[0] for name in VARIANTS.files}))
def test_other_options_answer_as_the_release_with_what_is_broken_there_mended(variant, tmp_path):
    """Recorded by running the release's network on weights that their names decide.

    Mended were: heads of `output_skip` with the extra channel, the flipped kernel of the filtered transposed
    convolution, the arguments of nearest-neighbour interpolation, and the type of labels.
    """
    record = {key: VARIANTS[f"{variant}/{key}"] for key in ("overrides", "x", "cond", "out", "order")}
    overrides = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(str(record["overrides"])).items()}
    if variant == "discrete_ve":  # whose network is shown numbers of levels
        overrides["training.continuous"] = False
    config = small_config(**overrides)
    shapes = their_shapes(config)
    order = record["order"].tolist()
    assert [name for name in shapes if name in order] == order
    tensors = {name: their_weight(name, shape) for name, shape in shapes.items()}
    path = torch_format.write(tmp_path / "c.pth", torch_format.checkpoint(tensors, order=order))
    params, ema_params, _ = convert.convert_checkpoint(path, config)
    for (at, weight), (_, average) in zip(leaves(params), leaves(ema_params), strict=True):
        np.testing.assert_array_equal(average, weight if "frequencies" in str(at) else weight / 2)
    out = outputs(jax.jit(models.create_model(config).apply), params, record["x"], record["cond"])
    if config.training.sde == "poisson":  # of the extra channel they keep the mean
        out[:, -1] = out[:, -1].mean((1, 2), keepdims=True)
    assert relative_error(out, record["out"]) < 2e-5


# That of celeba is that of cifar10.
@pytest.mark.parametrize(
    ("stem", "trainable"),
    [
        ("cifar10", 61_805_572),
        ("cifar10_deep", 106_633_732),
        ("cifar10_ncsnpp", 62_759_940),
        ("lsun_bedroom", 124_076_292),
    ],
)
def test_full_size_networks_have_the_parameters_of_the_release(stem, trainable):
    config = importlib.import_module(f"configs.{stem}").get_config()
    tensors = network_tensors(config)
    assert sum(np.prod(t.shape) for t in tensors if t.trainable) == trainable
    recorded = {"cifar10": "cifar10_ddpmpp", "cifar10_ncsnpp": "cifar10_ncsnpp"}.get(stem)
    if recorded:
        record = json.loads(Path(RELEASE, f"fullsize_{recorded}.json").read_text())
        theirs = {name: tuple(shape) for name, shape in record["state_dict"].items() if name != "module.sigmas"}
        assert {t.name: t.shape_of_theirs for t in tensors} == theirs
        assert [t.name for t in tensors if t.trainable] == record["parameters_in_ema_order"]


SMALL = {
    "model.nf": 8,
    "model.ch_mult": (1,),
    "model.num_res_blocks": 1,
    "model.attn_resolutions": (),
    "model.embedding_type": "fourier",
    "training.batch_size": 64,
    "training.small_batch_size": 8,
    "data.dataset": "digits",
    "data.image_size": 8,
    "data.num_channels": 1,
    "data.levels": 17,
    "data.uniform_dequantization": True,
    "data.random_flip": False,
    "sampling.z_max": 17.0,
    "sampling.upper_norm": 170.0,
}


def small_network():
    """The config of a small network, and its tensors as the release names them."""
    config = small_config(**SMALL)
    return config, {name: their_weight(name, shape) for name, shape in their_shapes(config).items()}


@pytest.fixture
def small():
    return small_network()


def test_a_converted_run_goes_on_with_the_moments_of_adam(tmp_path):
    config = config_of("a_ddpmpp")
    config.data.levels = 256
    state = convert.convert_to_workdir(path := Path(RELEASE) / "a_ddpmpp.pth", config, tmp_path / "run")
    content = read_torch_file(path)
    moments = content["optimizer"]["state"]
    adam = next(
        part for part in jax.tree.leaves(state.opt_state, is_leaf=lambda p: hasattr(p, "mu")) if hasattr(part, "mu")
    )
    assert int(state.step) == int(adam.count) == int(moments[0]["step"]) == 20
    names = [name for name in content["model"] if name != "module.sigmas"]
    for tree, moment in ((adam.mu, "exp_avg"), (adam.nu, "exp_avg_sq")):
        at = names.index("module.all_modules.3.Conv_1.weight")
        ours = np.asarray(tree["down_0_block_0"]["conv_1"]["kernel"])
        np.testing.assert_array_equal(ours.transpose(3, 2, 0, 1), moments[at][moment])
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        restored = checkpoints.restore(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


@pytest.mark.slow
def test_command_line_writes_a_workdir_that_samples_and_trains(small, tmp_path):
    config, tensors = small
    config.update_from_flattened_dict(
        {"training.n_iters": 3, "training.snapshot_sampling": False, "sampling.num_samples": 3, "sampling.N": 4}
    )
    config.sampling.ode_solver = "euler"
    path = torch_format.write(tmp_path / "c.pth", torch_format.checkpoint(tensors, step=2))
    workdir = tmp_path / "run"
    flags = [f"--workdir={workdir}", "--config=configs/digits.py"]
    flags += [f"--config.{field}={value}" for field, value in SMALL.items()]

    def run(*arguments):
        command = [sys.executable, "-m", "pfgm_jax.convert", *flags, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    converted = run(str(path))
    assert converted.returncode == 0, converted.stderr
    assert f"{len(tensors)} tensors of step 2 in {workdir}" in converted.stderr
    assert np.load(run_lib.sample(config, workdir) / "samples.npz")["samples"].shape == (3, 8, 8, 1)
    assert int(run_lib.train(config, workdir).step) == 3
    assert run().stderr == "error: the checkpoint file is missing; see python -m pfgm_jax.convert --help\n"
