"""A cascade: a base model, and an upsampler that is conditioned on images such as its samples."""

import numpy as np
import pytest

import pfgm_jax
import run_lib
from configs import digits_mlp
from pfgm_jax import build, results
from pfgm_jax.config_files import override
from pfgm_jax.datasets import load_dataset
from pfgm_jax.errors import InputError
from pfgm_jax.loading import load
from tests.test_results import contents

SMALL = {
    "training.n_iters": 3,
    "training.batch_size": 64,
    "training.small_batch_size": 32,
    "training.snapshot_sampling": False,
    "model.nf": 16,
    "model.num_res_blocks": 1,
    "optim.warmup": 1,
    "sampling.ode_solver": "euler",
    "sampling.N": 5,
    "sampling.num_samples": 6,
    "sampling.batch_size": 4,
}


def config_of(**overrides):
    config = digits_mlp.get_config()
    override(config, {**SMALL, **overrides})
    return config


def means(images):
    n, h, w, c = images.shape
    return np.round(images.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4), dtype=np.float64))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Workdirs of a base model of 4 x 4 pixels, of an upsampler to 8 x 8, and of a model without conditions."""
    folder = tmp_path_factory.mktemp("cascade")
    np.savez(folder / "small.npz", x=means(load_dataset("digits").train[:]).astype(np.uint8))
    small = {"data.dataset": f"arrays:{folder / 'small.npz'}"}
    kinds = {
        "base": small,
        "upsampler": {"data.condition_factor": 2},
        "plain": {},
    }
    for name, overrides in kinds.items():
        run_lib.train(config_of(**overrides), folder / name)
    return {name: (folder / name, overrides) for name, overrides in kinds.items()}


def test_examples_are_conditioned_on_their_own_block_means(runs):
    split = build.load_dataset(config_of(**runs["upsampler"][1])).train
    conditions = split.read_conditions(np.arange(20))
    assert conditions is not None and conditions.shape == (20, 8, 8, 1)
    np.testing.assert_array_equal(conditions[:, ::2, ::2], means(split[:20]))
    np.testing.assert_array_equal(conditions[:, 1::2, ::2], conditions[:, ::2, 1::2])


def test_samples_are_upsampled_one_by_one(runs):
    (base, overrides), (upsampler, _) = runs["base"], runs["upsampler"]
    config = config_of(**overrides, **{"sampling.then": str(upsampler)})
    folder = run_lib.sample(config, base)
    assert folder == base / "samples" / "3-euler-then-3"
    found = np.load(folder / "samples.npz")["samples"]
    small = np.load(base / "samples" / "3-euler" / "samples.npz")["samples"]
    assert found.shape == (6, 8, 8, 1) and small.shape == (6, 4, 4, 1)
    assert (folder / "grid.png").is_file() and len(list(folder.glob("[0-9]*.png"))) == 6
    # As the two models give them, one after the other.
    np.testing.assert_array_equal(load(base).sample(6, seed=config.seed), small)
    np.testing.assert_array_equal(load(upsampler).sample(cond=small, seed=config.seed), found)
    # More are added, and another upsampler has a folder of its own.
    config.sampling.num_samples = 8
    assert run_lib.sample(config, base) == folder
    more = np.load(folder / "samples.npz")["samples"]
    assert len(more) == 8
    np.testing.assert_array_equal(more[:6], found)
    other = pfgm_jax.load(upsampler, **{"sampling.N": 3})
    assert results.upsampled_folder(base, load(base), other, 8) not in (folder, base / "samples" / "3-euler")


def test_what_does_not_upsample_is_refused(runs, tmp_path):
    base, overrides = runs["base"]
    cases = {
        str(tmp_path / "none"): "which holds no run",
        str(runs["plain"][0]): "whose model is not conditioned on images; name the workdir of an upsampler",
    }
    before = contents(base)
    for then, message in cases.items():
        with pytest.raises(InputError, match=message):
            run_lib.sample(config_of(**overrides, **{"sampling.then": then}), base)
    rgb = tmp_path / "rgb.npz"
    np.savez(rgb, x=np.zeros((80, 8, 8, 3), np.uint8) + np.arange(80, dtype=np.uint8)[:, None, None, None])
    other = {"data.dataset": f"arrays:{rgb}", "data.condition_factor": 2}
    run_lib.train(config_of(**other), tmp_path / "rgb")
    with pytest.raises(InputError, match="is conditioned on 3 channels, but the samples are 4 x 4 x 1, which do"):
        run_lib.sample(config_of(**overrides, **{"sampling.then": str(tmp_path / "rgb")}), base)
    run_lib.train(config_of(**{"data.condition_factor": 4}), tmp_path / "four")
    with pytest.raises(InputError, match="makes images of 8 x 8 from ones 4 times as small, but the samples"):
        run_lib.sample(config_of(**overrides, **{"sampling.then": str(tmp_path / "four")}), base)
    assert contents(base) == before


def test_factors_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(InputError, match="data.condition_factor is 3; it does not divide 8 x 8, the data's size"):
        build.load_dataset(config_of(**{"data.condition_factor": 3}))
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 8, 8, 1), np.uint8), cond=np.zeros((4, 8, 8, 1), np.uint8))
    given = {"data.dataset": f"arrays:{tmp_path / 'a.npz'}", "data.condition_factor": 2}
    with pytest.raises(InputError, match="data.condition_factor is 2; the data have conditions of their own: set"):
        build.load_dataset(config_of(**given))
    with pytest.raises(InputError, match="data.condition_factor is 1; give an integer of at least 2, or 0"):
        run_lib.train(config_of(**{"data.condition_factor": 1}), tmp_path / "run")
