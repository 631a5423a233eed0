"""Labels of other kinds and of other data than a run's: numbers, classes without examples, what cannot be."""

import numpy as np
import pytest
from PIL import Image

import pfgm_jax
import run_lib
from pfgm_jax import build, given
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import InputError
from tests.test_labels import config_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "run"
    run_lib.train(config_of(**{"training.n_iters": 1}), folder)
    return folder


@pytest.mark.slow
def test_numbers_are_labels_too(tmp_path):
    """A network of one number: the data are that number, and so is what a few steps of sampling are asked for."""
    rng = np.random.default_rng(0)
    numbers = rng.uniform(-1, 1, (60, 2)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=numbers + 0.0, label=numbers)
    fields = {"data.dataset": f"arrays:{tmp_path}/a.npz", "model.num_classes": 0, "model.label_size": 2}
    fields |= {"training.batch_size": 16, "training.small_batch_size": 16, "training.n_iters": 2}
    config = config_of(**{**fields, "training.sde": "pfgmpp", "eval.num_samples": 10})
    run_lib.train(config, tmp_path / "run")
    model = pfgm_jax.load(tmp_path / "run")
    assert model.sample(5, label=(0.5, 0.25), guidance=2.0).shape == (5, 1, 1, 2)
    # Without any, samples have the labels of test examples in turn.
    with pytest.raises(InputError, match="the labels of the model are numbers; give those of the samples"):
        model.sample(5)
    held = np.load(run_lib.sample(config, tmp_path / "run") / "samples.npz")
    np.testing.assert_array_equal(held["labels"], np.resize(build.load_dataset(config).test.labels, (64, 2)))
    for label, message in (
        (3, "give 2 finite numbers for each label, as the model has learned"),
        ((1.0, np.nan), "give 2 finite numbers for each label, as the model has learned"),
    ):
        with pytest.raises(InputError, match=message):
            model.sample(2, label=label)
    with pytest.raises(InputError, match="n is None, and nothing is given of single samples"):
        model.sample(label=(0.5, 0.25))
    # Of each in turn; and what is saved is read again.
    pairs = {"sampling.label": ((0.5, 1.0), (0.1, 0.2))}
    run_lib.train(config_of(**{**fields, **pairs, "training.sde": "pfgmpp"}), tmp_path / "pairs")
    again = pfgm_jax.load(tmp_path / "pairs")
    asked = np.asarray(given.of_samples(again.config, 0, 0, 3, None).label)
    np.testing.assert_allclose(asked, [[0.5, 1.0], [0.1, 0.2], [0.5, 1.0]])
    assert np.isnan(np.asarray(given.of_images(again.config, 2, NO_CONTEXT, [np.nan] * 2, None).label)).all()


def test_a_single_number_is_a_label(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(40, 3)), label=rng.uniform(size=40))
    fields = {"data.dataset": f"arrays:{tmp_path}/a.npz", "model.num_classes": 0, "model.label_size": 1}
    fields |= {"training.batch_size": 16, "training.small_batch_size": 16, "training.n_iters": 1}
    config = config_of(**fields, **{"sampling.label": (0.1, 0.2)})
    run_lib.train(config, tmp_path / "run")
    model = pfgm_jax.load(tmp_path / "run")
    rows = lambda n, label: np.asarray(given.of_samples(model.config, 0, 0, n, None, label).label)
    np.testing.assert_allclose(rows(3, None), [[0.1], [0.2], [0.1]], rtol=1e-6)
    np.testing.assert_allclose(rows(2, 0.5), [[0.5], [0.5]])
    np.testing.assert_allclose(rows(2, [0.5, 0.75]), [[0.5], [0.75]])
    assert model.sample(label=[0.1, 0.2, 0.3]).shape == (3, 1, 1, 3)


@pytest.mark.slow
def test_labels_of_other_examples_are_checked_too(trained, tmp_path):
    model = pfgm_jax.load(trained)
    images = build.load_dataset(model.config).test[:5]
    for labels, message in (
        (np.full(5, 12), "the examples have the class 12, but the network knows 0 to 9; leave such examples out"),
        (np.full(5, 0.5), "the examples have no classes as labels, but the network is shown classes"),
    ):
        np.savez(tmp_path / "a.npz", x=images, label=labels)
        with pytest.raises(InputError, match=message):
            run_lib.likelihood(config_of(**{"eval.bpd_dataset": f"arrays:{tmp_path}/a.npz"}), trained)
    with pytest.raises(InputError, match="the context has the class 12"):
        model.encode(images, Context(label=np.full(5, 12, np.int32)))


@pytest.mark.slow
def test_snapshots_are_of_classes_that_have_examples_whatever_is_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.integers(0, 256, (40, 4, 4, 1)).astype(np.uint8), label=np.arange(40) % 3 + 16)
    fields = {"data.dataset": f"arrays:{tmp_path}/a.npz", "model.num_classes": 20, "training.batch_size": 8}
    fields |= {"training.small_batch_size": 8, "training.n_iters": 1, "training.snapshot_sampling": True}
    config = config_of(**{**fields, "training.snapshot_freq": 1})
    config.sampling.label = 17
    run_lib.train(config, tmp_path / "run")
    (grid,) = (tmp_path / "run" / "samples").glob("*.png")
    assert np.asarray(Image.open(grid)).shape == (4 + 3 * 36, 4 + 8 * 36)
    # More examples of a class do not make another model.
    np.savez(tmp_path / "a.npz", x=rng.integers(0, 256, (60, 4, 4, 1)).astype(np.uint8), label=np.arange(60) % 3 + 16)
    run_lib.train(config_of(**{**fields, "training.n_iters": 2}), tmp_path / "run")
