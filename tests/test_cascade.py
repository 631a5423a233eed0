"""A cascade: a base model, and an upsampler that is conditioned on images such as its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pfgm_jax
import run_lib
from configs import digits_mlp
from pfgm_jax import build, results, sampling
from pfgm_jax.config_files import override
from pfgm_jax.datasets import load_dataset
from pfgm_jax.errors import InputError
from pfgm_jax.given import of_samples
from pfgm_jax.keys import Keys, key_of_samples, sample_keys
from pfgm_jax.loading import load
from pfgm_jax.trained_model import TrainedModel
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
    train = load_dataset("digits").train
    np.savez(folder / "small.npz", x=means(train[:]).astype(np.uint8), label=train.labels)
    small = {"data.dataset": f"arrays:{folder / 'small.npz'}", "model.num_classes": 10}
    kinds = {
        "base": small,
        "upsampler": {"data.condition_factor": 2, "model.num_classes": 10},
        "plain": {},
    }
    for name, overrides in kinds.items():
        run_lib.train(config_of(**overrides), folder / name)
    return {name: (folder / name, overrides) for name, overrides in kinds.items()}


@pytest.mark.slow
def test_examples_are_conditioned_on_their_own_block_means(runs):
    split = build.load_dataset(config_of(**runs["upsampler"][1])).train
    conditions = split.read_conditions(np.arange(20))
    assert conditions is not None and conditions.shape == (20, 8, 8, 1)
    np.testing.assert_array_equal(conditions[:, ::2, ::2], means(split[:20]))
    np.testing.assert_array_equal(conditions[:, 1::2, ::2], conditions[:, ::2, 1::2])


@pytest.mark.slow
def test_samples_are_upsampled_one_by_one(runs, monkeypatch):
    (base, overrides), (upsampler, _) = runs["base"], runs["upsampler"]
    config = config_of(**overrides, **{"sampling.then": str(upsampler)})
    draw, asked = TrainedModel.draw, []

    def noted(self, n, seed, first=0, context=None):
        if context is not None:
            asked.append(np.asarray(context.label)[: 6 - first])
        return draw(self, n, seed, first, context)

    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "draw", noted)
        folder = run_lib.sample(config, base)
    assert folder == base / "samples" / "3-euler-then-3"
    found = np.load(folder / "samples.npz")["samples"]
    small = np.load(base / "samples" / "3-euler" / "samples.npz")["samples"]
    assert found.shape == (6, 8, 8, 1) and small.shape == (6, 4, 4, 1)
    assert (folder / "grid.png").is_file() and len(list(folder.glob("[0-9]*.png"))) == 6
    # As the two models give them, one after the other; the second is asked for what the first was.
    labels = np.load(base / "samples" / "3-euler" / "samples.npz")["labels"]
    np.testing.assert_array_equal(load(base).sample(6, seed=config.seed), small)
    np.testing.assert_array_equal(load(upsampler).sample(cond=small, label=labels, seed=config.seed), found)
    assert len(set(labels.tolist())) > 1
    np.testing.assert_array_equal(np.concatenate(asked), labels)
    # More are added, and another upsampler has a folder of its own.
    config.sampling.num_samples = 8
    assert run_lib.sample(config, base) == folder
    more = np.load(folder / "samples.npz")["samples"]
    assert len(more) == 8
    np.testing.assert_array_equal(more[:6], found)
    other = pfgm_jax.load(upsampler, **{"sampling.N": 3})
    assert results.upsampled_folder(base, load(base), other, 8) not in (folder, base / "samples" / "3-euler")


@pytest.mark.slow
def test_an_upsampler_has_noise_of_its_own(runs):
    """With the same seed and number, its noise would otherwise begin with that of the sample that it is given."""
    (base, _), (upsampler, _) = runs["base"], runs["upsampler"]
    small, large, keys = load(base), load(upsampler), Keys.from_seed(0).samples
    noise = lambda model, key: np.asarray(model.method.prior_sample(sample_keys(key, 64))).reshape(64, -1)[:, :16]
    scaled = lambda a: (a / np.linalg.norm(a, axis=1, keepdims=True)).ravel()
    of_given = key_of_samples(keys, given=True, restored=False)
    of_base = scaled(noise(small, keys))
    alike, own = (np.corrcoef(of_base, scaled(noise(large, key)))[0, 1] for key in (keys, of_given))
    assert alike > 0.9 and abs(own) < 0.15
    # And that is the noise that it takes.
    images = small.sample(4, seed=0)
    context = of_samples(large.config, 0, 0, 4, None, 3, images)
    rows = jax.tree.map(jnp.asarray, context)
    x = sampling.sample(large.method, large.net, large.sampler, sample_keys(of_given, 4), rows)
    found = large.sample(cond=images, label=3, seed=0)
    assert np.abs(np.asarray(large.scaling.to_stored(x.x)).astype(int) - found).max() <= 1


@pytest.mark.slow
def test_restoring_asks_for_labels_and_tells_their_results_apart(runs, tmp_path):
    base, overrides = runs["base"]
    config = lambda **more: config_of(**{**overrides, "restore.num_images": 4, "restore.noise": 3.0, **more})
    folder = lambda **more: run_lib.restore(config(**{"restore.operator": "denoise", **more}), base)
    own, asked = folder(), folder(**{"sampling.label": 3})
    assert own != asked and own.parent == asked.parent
    restored = [np.load(place / "restored.npz")["restored"] for place in (own, asked)]
    assert (restored[0] != restored[1]).any()
    # Damaged images with labels in their file: these are asked for.
    test = build.load_dataset(config()).test[:4]
    found = []
    for name, label in (("a", 1), ("b", 2)):
        np.savez(tmp_path / f"{name}.npz", x=test.astype(np.float32), label=np.full(4, label))
        given = {"restore.whole": False, "restore.images": f"arrays:{tmp_path / name}.npz"}
        found.append(np.load(folder(**given) / "restored.npz")["restored"][:, 0])
        model = load(base, **{"sampling.ode_solver": "euler", "sampling.N": 5})
        same = model.restore(test.astype(np.float32), "denoise", noise=3.0, label=label, seed=config().seed)
        assert np.abs(same.astype(int) - found[-1]).max() <= 1
    assert (found[0] != found[1]).any()


@pytest.mark.slow
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
