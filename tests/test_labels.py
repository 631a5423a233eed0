"""Labels from the data to the samples: networks, training, sampling, evaluation, and what users are told."""

import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from scipy import stats

import pfgm_jax
import run_lib
from pfgm_jax import build, evaluation, given, workdir
from pfgm_jax import config as config_lib
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import InputError
from pfgm_jax.pictures import class_grid
from tests.networks import NETWORKS, network_of, params_of, shapes_of
from tests.test_run_lib import small_digits

CLASSES = {
    "model.num_classes": 10,
    "sampling.ode_solver": "euler",
    "sampling.N": 6,
    "eval.features": "pixels",
    "eval.enable_bpd": False,
    "eval.num_samples": 120,
}


def config_of(**overrides) -> ml_collections.ConfigDict:
    return small_digits(**{**CLASSES, **overrides})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "run"
    # Far enough in a few steps that the label matters.
    run_lib.train(config_of(**{"optim.lr": 0.02, "model.ema_rate": 0.0}), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "numbers"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_answer_for_the_label_of_each_row(name, kind):
    fields = {"model.num_classes": 3} if kind == "classes" else {"model.label_size": 2}
    network, config = network_of(name, **NETWORKS[name], **fields)
    params = params_of(network, config)
    apply = jax.jit(lambda x, level, context: network.apply({"params": params}, x, level, context))
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(2), (1, 8, 8, 1)), (6, 8, 8, 1))
    level = jnp.full(6, 0.7)
    if kind == "classes":
        label = np.array([0, 1, 2, -1, 1, -1], np.int32)
    else:
        label = np.array([[0, 1], [1, 0], [0.5, 3], [np.nan, np.nan], [1, 0], [np.nan] * 2], np.float32)
    found = np.asarray(apply(x, level, Context(label=label)))
    rounding = {"rtol": 0, "atol": 1e-5 * np.abs(found).max()}
    np.testing.assert_allclose(found[4], found[1], **rounding)
    np.testing.assert_allclose(found[5], found[3], **rounding)
    away = [np.abs(found[i] - found[j]).max() for i in range(4) for j in range(i)]
    assert min(away) > 1e-3 * np.abs(found).max()
    # No label at all is a label of none for each.
    np.testing.assert_allclose(apply(x, level, NO_CONTEXT)[0], found[3], **rounding)
    if name != "mlp":
        return
    total = lambda params: jnp.sum(network.apply({"params": params}, x, level, Context(label=label)) ** 2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)))


@pytest.mark.parametrize("name", NETWORKS)
def test_labels_add_parameters_and_change_no_others(name):
    names = lambda **fields: {
        jax.tree_util.keystr(path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes_of(*network_of(name, **NETWORKS[name], **fields)))
    }
    plain, of_classes = names(), names(**{"model.num_classes": 3})
    assert plain.items() < of_classes.items()
    assert all("label" in name for name in of_classes.keys() - plain.keys())
    assert of_classes["['label']['embedding']"][0] == 4


def test_the_network_is_trained_with_the_labels_of_its_examples_and_without(trained, monkeypatch, tmp_path):
    """About a tenth of the examples is shown without a label; all others with their own."""
    config = config_lib.fill_in(config_of(), build.load_dataset(config_of()))
    assert config.data.label_counts == tuple(np.bincount(build.load_dataset(config).train.labels).tolist())
    saved = json.loads((trained / "config.json").read_text())
    assert saved["data"]["label_counts"] == list(config.data.label_counts) and saved["model"]["num_classes"] == 10
    seen = []
    kind = type(build.create_method(config))
    pair = kind.training_pair

    def watched(self, key, data, context=NO_CONTEXT, field=None):
        jax.debug.callback(lambda *rows: seen.append([np.asarray(a) for a in rows]), data, context.label)
        return pair(self, key, data, context, field)

    monkeypatch.setattr(kind, "training_pair", watched)
    run_lib.train(config_of(**{"training.n_iters": 20, "model.label_dropout": 0.3}), tmp_path / "run")
    split = build.load_dataset(config).train
    of_image = {image.tobytes(): label for image, label in zip(split[:], split.labels, strict=True)}
    scaling, dropped, count = build.create_scaling(config), 0, 0
    for data, labels in seen[:20]:
        stored = np.asarray(scaling.to_stored(jnp.asarray(data)))
        own = np.array([of_image.get(image.tobytes(), -2) for image in stored])
        dropped, count = dropped + (labels == -1).sum(), count + len(labels)
        shown = (labels >= 0) & (own >= 0)
        np.testing.assert_array_equal(labels[shown], own[shown])
    assert stats.binomtest(int(dropped), count, 0.3).pvalue > 1e-4


def test_samples_have_the_labels_asked_for_and_by_default_those_of_the_data(trained):
    model = pfgm_jax.load(trained)
    counts = np.array(model.config.data.label_counts)
    labels = np.asarray(given.of_samples(model.config, 4, 0, 3000, None).label)
    assert stats.chisquare(np.bincount(labels, minlength=10), 3000 * counts / counts.sum()).pvalue > 1e-4
    # That of sample k depends on the seed and on k alone.
    np.testing.assert_array_equal(np.asarray(given.of_samples(model.config, 4, 700, 50, None).label), labels[700:750])
    asked = lambda label: np.asarray(
        given.of_samples(pfgm_jax.load(trained, None, **{"sampling.label": label}).config, 0, 5, 4, None).label
    )
    assert asked(3).tolist() == [3] * 4 and asked((0, 1, 2)).tolist() == [2, 0, 1, 2] and asked(-1).tolist() == [-1] * 4


def test_sample_k_is_the_same_whatever_else_is_drawn(trained):
    model = pfgm_jax.load(trained)
    images = model.sample(6, seed=2, label=[0, 1, 2, 3, 4, 5], guidance=2.0)
    alone = model.sample(3, seed=2, label=[0, 1, 2], guidance=2.0)
    np.testing.assert_array_equal(images[:3], alone)
    other = model.sample(6, seed=2, label=[9, 1, 9, 9, 9, 5], guidance=2.0)
    np.testing.assert_array_equal(other[[1, 5]], images[[1, 5]])
    np.testing.assert_array_equal(model.sample(label=[0, 1, 2], seed=2), model.sample(3, seed=2, label=[0, 1, 2]))
    np.testing.assert_array_equal(model.sample(2, seed=2, label=4), model.sample(2, seed=2, label=[4, 4]))


@pytest.mark.slow
def test_guidance_one_is_no_guidance_and_zero_asks_for_nothing(trained):
    model = pfgm_jax.load(trained)
    draw = lambda label, **options: np.concatenate(
        [
            b.x
            for b in pfgm_jax.load(trained, None, **options).draw(
                5, 0, context=Context(label=np.full(5, label, np.int32))
            )
        ]
    )
    plain = draw(7)
    # Guidance that is 1 everywhere in its interval is computed, and comes to the same but for rounding.
    np.testing.assert_allclose(
        draw(7, **{"sampling.guidance": 5.0, "sampling.guidance_interval": (1e8, 1e9)}), plain, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(draw(7, **{"sampling.guidance": 0.0}), draw(-1), rtol=1e-4, atol=1e-4)
    assert np.abs(draw(7, **{"sampling.guidance": 3.0}) - plain).max() > 1e-3
    (batch,) = pfgm_jax.load(trained, None, **{"sampling.guidance": 3.0}).draw(5, 0)
    assert batch.evaluations.tolist() == [12] * 5
    z = model.encode(build.load_dataset(model.config).test[:3], label=[1, 2, 3])
    assert np.abs(z - model.encode(build.load_dataset(model.config).test[:3])).max() > 1e-4
    bits = model.bits_per_dim(build.load_dataset(model.config).test[:2], label=1)
    assert np.abs(bits - model.bits_per_dim(build.load_dataset(model.config).test[:2])).max() > 1e-6


@pytest.mark.slow
def test_sampling_evaluation_and_likelihoods_go_by_label(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    folder = run_lib.sample(config_of(**{"sampling.num_samples": 40, "sampling.label": (4, 9)}), trained)
    held = np.load(folder / "samples.npz")
    assert held["labels"].tolist() == [4, 9] * 20
    other = run_lib.sample(config_of(**{"sampling.num_samples": 4, "sampling.label": 5}), trained)
    assert other != folder and (folder / "grid.png").exists()

    config = config_of(**{"eval.per_class": True, "eval.enable_bpd": True, "eval.num_images": 20})
    (report,) = run_lib.evaluate(config, trained)
    model = workdir.load_model(config, trained)
    labels = evaluation.labels_of_samples(model, 120)
    assert labels is not None
    assert {label: of["samples"] for label, of in report["classes"].items()} == dict(
        enumerate(np.bincount(labels, minlength=10).tolist())
    )
    # That of a class is the distance between its samples and its training examples, by numpy.
    samples, dataset = model.sample(120, seed=model.config.seed), build.load_dataset(config)
    a = samples[labels == 3].reshape(-1, 64) / 16.0
    b = dataset.train[np.flatnonzero(dataset.train.labels == 3)].reshape(-1, 64) / 16.0
    covariances = [np.cov(rows, rowvar=False) for rows in (a, b)]
    product = np.linalg.eigvals(covariances[0] @ covariances[1])
    roots = np.sqrt(np.maximum(product.real, 0)).sum()
    exact = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * roots
    assert report["classes"][3]["fid"] == pytest.approx(exact, rel=1e-3)
    # Likelihoods are those given the labels of the test digits.
    bits = model.bits_per_dim(dataset.test[:20], seed=model.config.seed, label=dataset.test.labels[:20])
    assert report["bits_per_dim"] == pytest.approx(bits.mean(), rel=1e-5)
    wrong = model.bits_per_dim(dataset.test[:20], seed=model.config.seed, label=(dataset.test.labels[:20] + 1) % 10)
    assert abs(wrong.mean() - bits.mean()) > 1e-4 * abs(bits.mean())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model.num_classes": 9}, "model.num_classes is 9, but digits has labels up to 9; set it to 10"),
        ({"model.num_classes": 0, "model.label_size": 2}, "model.label_size is 2, but digits has classes; set it to 0"),
        ({"model.label_size": 2}, "model.num_classes is 10 and model.label_size is 2, but labels are classes or"),
        ({"data.dataset": "heart"}, "model.num_classes is 10, but heart has no labels; set it to 0"),
        (
            {"model.name": "ncsnpp", "model.conditional": False},
            "network 'ncsnpp', with these options, is not shown lab",
        ),
        ({"model.num_classes": 0, "sampling.guidance": 2.0}, "sampling.guidance is 2.0, but the network is not shown"),
        (
            {"model.label_dropout": 0.0, "sampling.guidance": 2.0},
            "but model.label_dropout is 0, with which the network",
        ),
        (
            {"model.label_dropout": 0.0, "sampling.label": -1},
            "of which -1 asks for no label, but model.label_dropout is",
        ),
        ({"model.num_classes": 0, "sampling.label": 3}, "sampling.label is 3, but the network is not shown labels"),
        ({"model.num_classes": 0, "eval.per_class": True}, "eval.per_class is True, but model.num_classes is 0"),
        ({"sampling.label": 10}, "sampling.label is 10; the model knows classes 0 to 9; -1 is none"),
        ({"sampling.label": (1, 2.5)}, "give one class, or a tuple with a class for each sample"),
        ({"sampling.guidance_interval": (2.0, 1.0)}, "give two noise levels, the lower first"),
        ({"sampling.guidance": -1.0}, "sampling.guidance is -1.0; give a number of at least 0"),
        ({"model.label_dropout": 1.0}, "model.label_dropout is 1.0; give a number of at least 0 and below 1"),
    ],
)
def test_what_labels_cannot_do_is_said_in_one_sentence(tmp_path, fields, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        run_lib.train(config_of(**fields), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_without_an_example_cannot_be_asked_for(tmp_path):
    images = np.zeros((40, 2, 2, 1), np.uint8)
    np.savez(tmp_path / "a.npz", x=images, label=np.where(np.arange(40) % 3, 2, 0))
    fields = {"data.dataset": f"arrays:{tmp_path}/a.npz", "model.num_classes": 3, "training.batch_size": 8}
    fields |= {"training.small_batch_size": 8, "training.n_iters": 1, "training.sde": "vpsde"}
    run_lib.train(config_of(**fields), tmp_path / "run")
    model = pfgm_jax.load(tmp_path / "run")
    assert set(np.asarray(given.of_samples(model.config, 0, 0, 200, None).label)) == {0, 2}
    for call in (
        lambda: model.sample(2, label=1),
        lambda: pfgm_jax.load(tmp_path / "run", None, **{"sampling.label": (0, 1)}),
    ):
        with pytest.raises(InputError, match="label is .*1.*; no training example was of class 1: choose another"):
            call()


def test_calls_with_unfit_labels_are_refused(trained):
    model = pfgm_jax.load(trained)
    for call, message in (
        (lambda: model.sample(4, label=[1, 2]), "the context's label has 2 rows for 4 images"),
        (lambda: model.sample(4, label="cat"), "the labels are str"),
        (lambda: model.sample(4, label=12), "label is 12; the model knows classes 0 to 9"),
        (lambda: model.sample(4, guidance=-1.0), "sampling.guidance is -1.0; give a number of at least 0"),
        (lambda: model.sample(label=[[1.0], [1.0, 2.0]]), "the labels are not an array"),
        (lambda: model.sample(label=3), "n is None, and nothing is given of single samples"),
        (
            lambda: model.sample(4, cond=np.zeros((4, 8, 8, 1))),
            "the model is not conditioned on images; leave out cond",
        ),
        (lambda: model.sample(), "n is None, and nothing is given of single samples; give the number of samples"),
        (lambda: model.encode(np.zeros((2, 8, 8, 1), np.uint8), label=[1, 2, 3]), "label has 3 rows for 2 images"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_a_grid_has_one_class_a_row():
    labels = np.array([2, 0, 2, 1] * 5)
    images = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None] * 100, (20, 32, 32, 1))
    grid = class_grid(np.ascontiguousarray(images), labels)
    assert grid.shape == (4 + 3 * 36, 4 + 8 * 36, 1)
    cells = grid[20::36, 20::36, 0]
    expected = np.full((3, 8), 128)
    expected[0, :5], expected[1, :5], expected[2, :8] = 0, 100, 200
    np.testing.assert_array_equal(cells, expected)
