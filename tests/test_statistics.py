"""Statistics of features: collected, kept, read."""

from pathlib import Path

import numpy as np
import pytest

from pfgm_jax import datasets
from pfgm_jax.errors import InputError
from pfgm_jax.metrics import (
    PixelExtractor,
    evaluate,
    extract,
    frechet_distance,
    load_statistics,
    reference,
    reference_statistics,
    save_statistics,
    statistics,
)
from tests.test_metrics import moments


def test_moments_do_not_depend_on_batches_or_on_the_origin():
    x = np.random.default_rng(0).normal(size=(1000, 6)) * [1, 2, 3, 4, 5, 0] + 1e6
    found = statistics.Moments()
    for part in np.split(x, [1, 17, 500, 998]):
        found.add(part)
    mean, covariance = moments(x)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9, atol=1e-9)


def test_kept_features_are_a_fair_sample():
    rows = np.arange(1000.0)[:, None]
    collected = statistics.collect_statistics(np.array_split(rows, 13), keep=200)
    assert collected.count == 1000 and abs(collected.mean[0] - 499.5) < 1e-9
    assert collected.features is not None
    kept = collected.features[:, 0]
    assert len(set(kept)) == 200
    # Hypergeometric: each quarter has 50 of them, with a standard deviation of 5.5.
    assert (np.abs(np.histogram(kept, bins=4, range=(0, 1000))[0] - 50) < 22).all()
    np.testing.assert_array_equal(statistics.collect_statistics([rows], keep=5000).features, rows)
    assert statistics.collect_statistics([rows], keep=0).features is None


def test_statistics_come_back(tmp_path):
    rng = np.random.default_rng(0)
    made = statistics.collect_statistics([rng.normal(size=(20, 3)).astype(np.float32)], 10, {"split": "train"})
    path = tmp_path / "new" / "some.npz"
    save_statistics(path, made)
    assert [p.name for p in path.parent.iterdir()] == ["some.npz"]
    back = load_statistics(path, {"split": "train"})
    for field in ("mean", "covariance", "features"):
        np.testing.assert_array_equal(getattr(back, field), getattr(made, field), strict=True)
    assert (back.count, back.record) == (20, {"split": "train"})
    with np.load(path) as file:  # the names by which pytorch-fid reads them
        np.testing.assert_array_equal(file["mu"], made.mean)
        np.testing.assert_array_equal(file["sigma"], made.covariance)
    message = "some.npz have other settings: split is 'train' and not 'test'; levels is None and not 17; delete the fi"
    with pytest.raises(InputError, match=message):
        load_statistics(path, {"split": "test", "levels": 17})


def test_published_statistics_are_read(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    mean, covariance = moments(x.astype(np.float64))
    np.savez(tmp_path / "fid.npz", mu=mean, sigma=covariance)
    published = load_statistics(tmp_path / "fid.npz", {"features": "inception"})
    assert published.features is None and published.count == 0
    np.testing.assert_array_equal(published.covariance, covariance)
    np.savez(tmp_path / "pool.npz", pool_3=x)
    published = load_statistics(tmp_path / "pool.npz")
    np.testing.assert_array_equal(published.features, x)
    np.testing.assert_allclose(published.covariance, covariance, rtol=1e-12)
    assert published.count == 50


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros(3)}, "holds the arrays images; statistics have mu and sigma, or pool_3"),
        ({"mu": np.zeros(3), "sigma": np.zeros((3, 2))}, r"are damaged .mu has shape \(3,\) and sigma \(3, 2\)"),
        ({"mu": np.full(2, np.nan), "sigma": np.eye(2)}, "are damaged .mu or sigma is not finite.; download or com"),
        ({"mu": np.zeros(2), "sigma": np.array([[1, 2], [0, 1]])}, "are damaged .sigma is not a covariance"),
        ({"mu": np.zeros(2), "sigma": -np.eye(2)}, "are damaged .sigma is not a covariance"),
        ({"mu": np.zeros(2), "sigma": np.array([["a", "b"]] * 2)}, "are damaged .they are not numbers"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "features": np.zeros((4, 3))}, "are damaged .features have shape"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "record": np.array("{")}, "are damaged .it is not JSON"),
        ({"pool_3": np.zeros(5)}, "are damaged .pool_3 is float64 of shape"),
        ({"pool_3": np.full((4, 2), np.nan)}, "the features of 4 reference images are NaN or infinite; the first is"),
        ({"pool_3": np.zeros((1, 2))}, "statistics of 1 images cannot be computed; give at least 2"),
    ],
)
def test_damaged_statistics_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "some.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_statistics(tmp_path / "some.npz")


def test_unreadable_statistics_are_refused(tmp_path):
    path = tmp_path / "some.npz"
    with pytest.raises(InputError, match="the statistics .*some.npz do not exist; give the path of a .npz file"):
        load_statistics(path)
    np.savez(path, mu=np.zeros(100), sigma=np.eye(100))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="the statistics .*some.npz cannot be read .*; download or compute them again"):
        load_statistics(path)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(InputError, match="cannot be read .it is a single array and not a .npz file"):
        load_statistics(tmp_path / "single.npy")


def test_reference_statistics_are_made_once(tmp_path, monkeypatch):
    dataset = datasets.load_dataset("digits")
    pixels = PixelExtractor(levels=17)
    made = reference_statistics("digits", dataset.train, pixels, tmp_path)
    flat = dataset.train[:].reshape(-1, 64) / 16
    np.testing.assert_allclose(made.mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(made.covariance, np.cov(flat.T), rtol=1e-9, atol=1e-12)
    test = reference_statistics("digits", dataset.test, pixels, tmp_path, "test")
    expected = frechet_distance(flat, dataset.test[:].reshape(-1, 64) / 16)
    result = evaluate(extract(dataset.test, pixels), made, kid_subsets=1)
    assert abs(result["fid"] / expected - 1) < 1e-9 and "inception_score" not in result
    assert test.features is not None and test.count == len(test.features) == 360

    monkeypatch.setattr(reference, "collect_statistics", None)  # nothing is computed a second time
    again = reference_statistics("digits", dataset.train, pixels, tmp_path)
    np.testing.assert_array_equal(again.features, made.features)
    shape = {"data_set": "digits", "split": "train", "crop": None, "size": [8, 8, 1], "count": 1437, "kept": 1437}
    assert {**again.record, "hash": ""} == {**shape, "hash": "", "features": "pixels", "levels": 17}
    other = datasets.Split(dataset.train[:] // 2)
    message = "digits-train-8x8x1-pixels.npz have other settings: hash is '.*' and not '.*'; delete the file to compute"
    with pytest.raises(InputError, match=message):
        reference_statistics("digits", other, pixels, tmp_path)
    with pytest.raises(
        InputError, match="have other settings: count is 1437 and not 360; hash is .*; kept is 1437 and not 36"
    ):
        reference_statistics("digits", dataset.test, pixels, tmp_path)


def test_folders_of_one_name_have_files_of_their_own():
    record = {"split": "train", "size": [8, 8, 3], "features": "inception", "front_end": "tensorflow"}
    names = {reference.statistics_path({"data_set": f"folder:/{d}/x", **record}, Path()).name for d in "ab"}
    assert len(names) == 2 and all(name.endswith("-train-8x8x3-inception-tensorflow.npz") for name in names)
