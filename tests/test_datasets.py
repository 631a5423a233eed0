import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from pfgm_jax.datasets import (
    Scaling,
    Split,
    batch_indices,
    host_rows,
    load_dataset,
    mean_norm,
    step_batches,
    vector_scaling,
)
from pfgm_jax.errors import InputError


def test_digits_are_split_without_loss():
    dataset = load_dataset("digits")
    assert (len(dataset.train), len(dataset.test), dataset.levels) == (1437, 360, 17)
    ours = np.concatenate([dataset.train, dataset.test])[..., 0].reshape(-1, 64)
    vectors, labels = load_digits(return_X_y=True)
    everything = np.asarray(vectors).astype(np.uint8)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, everything))
    label_of = dict(zip(map(bytes, everything), labels, strict=True))
    assert [label_of[bytes(image)] for image in ours[:1437]] == dataset.train.labels.tolist()


def test_eight_gaussians_are_eight_gaussians():
    points = load_dataset("eight_gaussians").train[:][:, 0, 0]
    angle = np.arange(8) * np.pi / 4
    distance = np.linalg.norm(points[:, None] - np.stack([np.cos(angle), np.sin(angle)], axis=1), axis=-1)
    assert stats.chisquare(np.bincount(distance.argmin(1))).pvalue > 1e-3
    assert stats.kstest(distance.min(1) ** 2 / 0.05**2, stats.chi2(2).cdf).pvalue > 1e-3


def test_checkerboard_fills_every_other_square():
    points = load_dataset("checkerboard").train[:][:, 0, 0]
    column, row = np.floor((points + 1) * 2).astype(int).T
    assert ((column + row) % 2 == 0).all() and column.min() == row.min() == 0 and column.max() == row.max() == 3
    assert stats.chisquare(np.bincount(4 * column + row)[np.unique(4 * column + row)]).pvalue > 1e-3


def test_heart_lies_on_its_outline():
    points = load_dataset("heart").train[:500][:, 0, 0].astype(float) * 16
    t = np.linspace(0, 2 * np.pi, 4000)
    outline = np.stack(
        [16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)], axis=1
    )
    assert np.linalg.norm(points[:, None] - outline, axis=-1).min(1).max() < 16 * 0.02 * 5


def test_two_moons_are_two_half_circles():
    points = load_dataset("two_moons").train[:][:, 0, 0]
    upper = np.abs(np.linalg.norm(points, axis=1) - 1)
    lower = np.abs(np.linalg.norm(points - [1, 0.5], axis=1) - 1)
    assert np.minimum(upper, lower).max() < 0.05 * 5


def test_own_images_and_vectors_are_read_and_every_twentieth_held_out(tmp_path):
    rng = np.random.default_rng(0)
    images, vectors = rng.integers(0, 256, (40, 6, 4, 3), dtype=np.uint8), rng.normal(size=(41, 7))
    np.save(tmp_path / "images.npy", images)
    np.savez(tmp_path / "vectors.npz", vectors)
    dataset = load_dataset(f"arrays:{tmp_path}/images.npy")
    assert dataset.levels == 256 and dataset.shape == (6, 4, 3)
    np.testing.assert_array_equal(dataset.test, images[[19, 39]])
    np.testing.assert_array_equal(dataset.train, np.delete(images, [19, 39], axis=0))
    dataset = load_dataset(f"arrays:{tmp_path}/vectors.npz")
    assert dataset.levels == 0 and dataset.shape == (1, 1, 7)
    np.testing.assert_array_equal(dataset.train[:][:, 0, 0], np.delete(vectors, [19, 39], axis=0).astype(np.float32))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((9, 4, 4, 1), np.int64), r"dtype int64 and shape \(9, 4, 4, 1\); give images"),
        (
            np.array([[0.0, 1], [np.nan, 0], [1, 1]]),
            "1 of its rows hold NaN, infinity or overflow float32, the first is row 1",
        ),
        (np.zeros((1, 4, 4, 1), np.uint8), r"shape \(1, 4, 4, 1\); at least 2 examples are needed"),
        (np.zeros((0, 4, 4, 1), np.uint8), "at least 2 examples are needed"),
        (np.full((5, 2), 1e300), "5 of its rows hold NaN, infinity or overflow float32"),
        (np.zeros((9,)), r"shape \(9,\); give images"),
    ],
)
def test_refuses_arrays_that_are_not_examples(tmp_path, array, message):
    path = tmp_path / "a.npy"
    np.save(path, array)
    with pytest.raises(InputError, match=f"data.dataset names {re.escape(str(path))}.*{message}"):
        load_dataset(f"arrays:{path}")


def test_refuses_files_that_are_not_arrays(tmp_path):
    (tmp_path / "text.npy").write_text("hello")
    np.savez(tmp_path / "two.npz", a=np.zeros((3, 2)), b=np.zeros((3, 2)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:-40])
    for name, message in (
        ("text.npy", "cannot be read as .npy or .npz"),
        ("cut.npz", "cannot be read"),
        ("two.npz", "holds the arrays a, b; save a file with exactly one"),
        ("none.npy", "there is no such file"),
    ):
        with pytest.raises(InputError, match=message):
            load_dataset(f"arrays:{tmp_path / name}")


def test_refuses_an_unknown_name():
    with pytest.raises(InputError, match="data.dataset is 'digit'; choose one of digits, heart"):
        load_dataset("digit")


@pytest.fixture(scope="module")
def split():
    images = np.random.default_rng(0).integers(0, 256, (50, 2, 3, 1), dtype=np.uint8)
    return Split(images, labels=np.arange(50) % 7)


def batches(split, **arguments):
    given = {"seed": 5, "batch_size": 24, "rows": 24, "start": 0, "stop": 7, "threads": 0}
    return list(step_batches(split, **{**given, **arguments}))


def assert_same_batches(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_global_batch_does_not_depend_on_the_number_of_processes(split, processes):
    parts = [batches(split, process=(i, processes)) for i in range(processes)]
    for whole, of_a_step in zip(batches(split), zip(*parts, strict=True), strict=True):
        for name in ("stored", "label"):
            joined = np.concatenate([getattr(part, name) for part in of_a_step])
            np.testing.assert_array_equal(joined, getattr(whole, name))
        for part in of_a_step:
            np.testing.assert_array_equal(part.index, whole.index)


def test_batches_do_not_depend_on_threads_or_on_where_they_start(split):
    expected = batches(split)
    for threads in (1, 3, 8):
        assert_same_batches(batches(split, threads=threads), expected)
    assert_same_batches(batches(split, start=3), expected[3:])


def test_examples_come_with_their_labels(split):
    for batch in batches(split):
        np.testing.assert_array_equal(batch.label, batch.index % 7)
        np.testing.assert_array_equal(batch.stored, split[batch.index])


def test_rows_that_processes_cannot_share_are_refused():
    with pytest.raises(ValueError, match="24 rows cannot be shared evenly by 5 processes"):
        host_rows(24, 0, 5)


def test_each_epoch_draws_every_example_once():
    drawn = np.concatenate([batch_indices(3, step, 30, 100) for step in range(20)])
    for epoch in range(6):
        assert sorted(drawn[100 * epoch : 100 * (epoch + 1)]) == list(range(100))
    assert not np.array_equal(drawn[:100], drawn[100:200])
    assert not np.array_equal(drawn[:30], batch_indices(4, 0, 30, 100))


@pytest.mark.parametrize("dequantize", [False, True])
@pytest.mark.parametrize("levels", [17, 256])
def test_every_grey_level_comes_back(levels, dequantize):
    stored = jnp.arange(levels, dtype=jnp.uint8).reshape(1, levels, 1, 1)
    scaling = Scaling(levels, dequantize=dequantize)
    for noise in (None, jnp.full(stored.shape, 0.001), jnp.full(stored.shape, 0.999)):
        x = scaling.to_network(stored, noise)
        assert float(jnp.abs(x).max()) <= 1
        np.testing.assert_array_equal(scaling.to_stored(x), stored)
    np.testing.assert_array_equal(scaling.to_stored(jnp.array([[[[-3.0]], [[3.0]]]])).ravel(), [0, levels - 1])


def test_images_span_the_interval():
    assert np.ravel(Scaling(256).to_network(jnp.array([[[[0, 255]]]], jnp.uint8))).tolist() == [-1, 1]
    assert np.ravel(Scaling(256, low=0.0).to_network(jnp.array([[[[0, 255]]]], jnp.uint8))).tolist() == [0, 1]


def test_dequantization_fills_each_grey_level_uniformly():
    stored = jnp.full((200, 8, 8, 1), 3, jnp.uint8)
    x = Scaling(17, dequantize=True).augment(jax.random.key(0), stored, jnp.arange(200))
    level = (np.asarray(x).ravel() + 1) / 2 * 17 - 3
    assert stats.kstest(level, "uniform").pvalue > 1e-3


def test_augmentation_of_an_example_depends_on_key_and_index_alone():
    stored = jnp.asarray(np.random.default_rng(0).integers(0, 17, (64, 4, 6, 1), dtype=np.uint8))
    scaling = Scaling(17, dequantize=True, flip=True)
    index = jnp.arange(100, 164)
    everything = scaling.augment(jax.random.key(0), stored, index)
    np.testing.assert_array_equal(scaling.augment(jax.random.key(0), stored[9:12], index[9:12]), everything[9:12])


def test_half_of_the_images_are_mirrored():
    stored = jnp.asarray(np.random.default_rng(0).integers(0, 256, (400, 4, 6, 3), dtype=np.uint8))
    scaling = Scaling(256, flip=True)
    x = np.asarray(scaling.augment(jax.random.key(0), stored, jnp.arange(400)))
    plain = np.asarray(scaling.to_network(stored))
    mirrored = np.array([not np.array_equal(a, b) for a, b in zip(x, plain, strict=True)])
    np.testing.assert_array_equal(x, np.where(mirrored[:, None, None, None], plain[:, :, ::-1], plain))
    assert stats.binomtest(int(mirrored.sum()), 400).pvalue > 1e-3


def test_vectors_are_centred_and_scaled_and_come_back():
    vectors = np.random.default_rng(0).normal([3, -200], [40, 7], (5000, 2)).astype(np.float32)[:, None, None]
    shift, scale = vector_scaling(vectors)
    scaling = Scaling(0, shift=shift, scale=scale)
    x = np.asarray(scaling.to_network(jnp.asarray(vectors)))
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.sqrt((x**2).mean()), 0.5, rtol=1e-5)
    np.testing.assert_allclose(scaling.to_stored(jnp.asarray(x)), vectors, rtol=1e-4, atol=1e-3)


def test_mean_norm():
    stored = np.random.default_rng(0).integers(0, 17, (1500, 8, 8, 1), dtype=np.uint8)
    norm = np.linalg.norm((stored / 16 * 2 - 1).reshape(1500, -1), axis=1).mean()
    assert abs(mean_norm(Scaling(17), stored) / norm - 1) < 1e-5
