import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from PIL import Image
from scipy.spatial.distance import cdist

from pfgm_jax import datasets
from pfgm_jax.commands import command_line
from pfgm_jax.commands import metrics as metrics_command
from pfgm_jax.errors import InputError
from pfgm_jax.metrics import (
    Features,
    Gaussian,
    PixelExtractor,
    evaluate,
    extract,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_statistics,
    precision_recall,
    reference,
    reference_statistics,
    save_statistics,
    statistics,
)

FIXTURES = Path("tests/fixtures")


@pytest.fixture(scope="module")
def recorded():
    """Features whose distances torch-fidelity and pytorch-fid were asked for."""
    record = np.load(FIXTURES / "frechet.npz")
    return record["f1"], record["f2"]


def standard_normal(rng, count, dim):
    """Rows whose mean is exactly 0 and whose covariance is exactly the identity."""
    z = rng.normal(size=(count, dim))
    z -= z.mean(axis=0)
    return z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T


def moments(x):
    return x.mean(axis=0), np.cov(x, rowvar=False)


def test_distance_of_gaussians_with_common_axes():
    # For covariances that commute, the distance is |μ - ν|² + Σ (σ_i - τ_i)².
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    z = standard_normal(rng, 5000, 4)
    a = z * [1, 2, 3, 4] @ rotation + [1, 0, 0, 0]
    b = z * [2, 2, 1, 0.5] @ rotation + [0, 0, 2, 0]
    assert abs(frechet_distance(a, b) - (5 + 1 + 0 + 4 + 3.5**2)) < 1e-9
    assert abs(Gaussian.of_moments(*moments(a)).distance(Gaussian.of_features(b)) - 22.25) < 1e-9


def test_fid_is_the_recorded_value(recorded):
    a, b = recorded
    assert abs(frechet_distance(a, b) / 4.630529 - 1) < 1e-6
    of_moments = [Gaussian.of_moments(*moments(x.astype(np.float64))) for x in recorded]
    assert abs(of_moments[0].distance(of_moments[1]) / 4.630529 - 1) < 1e-6


def test_fid_is_that_of_the_matrix_root_where_there_is_one():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(500, 40)) @ rng.normal(size=(40, 40)) + 50 for _ in range(2))
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    root = np.real(np.asarray(scipy.linalg.sqrtm(cov_a @ cov_b)))
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert abs(frechet_distance(a, b) / expected - 1) < 1e-9


@pytest.mark.parametrize("dim", [200, 2048])
def test_fid_of_wide_features_of_few_images(dim):
    rng = np.random.default_rng(0)
    z = standard_normal(rng, 30, 20)
    frame = np.linalg.qr(rng.normal(size=(dim, 20)))[0].T
    s, t = rng.uniform(0, 3, (2, 20))
    s[:5] = 0  # ranks differ too
    shift = rng.normal(size=dim)
    a, b = z * s @ frame, z * t @ frame + shift
    expected = (shift**2).sum() + ((s - t) ** 2).sum()
    assert abs(frechet_distance(a, b) / expected - 1) < 1e-12
    assert frechet_distance(a, a) < 1e-12
    if dim == 200:
        of_moments = Gaussian.of_moments(*moments(a)).distance(Gaussian.of_moments(*moments(b)))
        assert abs(of_moments / expected - 1) < 1e-9
        assert Gaussian.of_moments(*moments(a)).distance(Gaussian.of_features(a)) < 1e-9


def test_fid_of_degenerate_sets():
    # In the plane of the difference of two points each: covariances of rank one.
    u, v = np.zeros((2, 64)), np.zeros((2, 64))
    u[1, 0], v[1, 1] = 2.0, 2.0  # variances 2 along axes 0 and 1, means at distance √2
    assert abs(frechet_distance(u, v) - (2 + 2 + 2)) < 1e-12
    assert frechet_distance(np.zeros((5, 4)), np.ones((5, 4))) == 4
    constant = Gaussian.of_moments(np.zeros(4), np.zeros((4, 4)))
    assert abs(constant.distance(Gaussian.of_moments(np.ones(4), np.eye(4))) - 8) < 1e-12


def test_refuses_a_single_row():
    for distance in (frechet_distance, kernel_distance, precision_recall):
        with pytest.raises(InputError, match="give at least . rows each, of equal length"):
            distance(np.zeros((1, 4)), np.zeros((5, 4)))
        with pytest.raises(InputError, match="give at least . rows each, of equal length"):
            distance(np.zeros((5, 3)), np.zeros((5, 4)))


def squared_discrepancy(x, y):
    """By the definition, term by term."""
    kernel = lambda u, v: (float(u @ v) / len(u) + 1) ** 3
    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(kernel(u, v) for u in x for v in y) / (n * m)


def test_kid_is_the_recorded_value(recorded):
    mean, std = kernel_distance(*recorded, subsets=10, subset_size=50)
    assert abs(mean / 0.311098 - 1) < 1e-6
    random = np.random.RandomState(2020)
    values = []
    for _ in range(2):
        x, y = (f[random.choice(len(f), 50, replace=False)].astype(np.float64) for f in recorded)
        values.append(squared_discrepancy(x, y))
    found = kernel_distance(*recorded, subsets=2, subset_size=50)
    np.testing.assert_allclose(found, (np.mean(values), np.std(values)), rtol=1e-10)
    assert std > 0


def test_kid_of_small_sets_takes_all_of_them():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12, 5))
    mean, std = kernel_distance(x, y, subsets=3)
    assert abs(mean / squared_discrepancy(x, y) - 1) < 1e-10 and std < 1e-12


def test_inception_score_is_the_recorded_value():
    logits = np.load(FIXTURES / "metrics" / "logits.npz")["logits"]
    # The record has six digits.
    assert abs(inception_score(logits)[0] - 4.33324) < 0.5e-5 + 1e-6 * 4.33324
    assert abs(inception_score(logits, splits=1)[0] - 6.34043) < 0.5e-5 + 1e-6 * 6.34043


def test_inception_score_of_known_predictions():
    np.testing.assert_allclose(inception_score(np.zeros((20, 7))), (1, 0), atol=1e-12)  # knows nothing
    sure = 2000.0 * np.eye(7)[np.arange(70) % 7]
    assert abs(inception_score(sure, splits=1)[0] - 7) < 1e-12  # knows each class, and all appear
    with pytest.raises(
        InputError, match="the Inception score of 3 examples cannot be taken over 10 splits; give fewer"
    ):
        inception_score(np.zeros((3, 7)))


def test_precision_and_recall_of_known_sets():
    rng = np.random.default_rng(0)
    here, there = rng.normal(size=(40, 16)), rng.normal(size=(60, 16)) + 100
    both = np.concatenate([here, there])
    assert precision_recall(both, both) == (1, 1)
    assert precision_recall(here, there) == (0, 0)
    assert precision_recall(here, both) == (1, 0.4)
    assert precision_recall(both, there) == (0.6, 1)


def test_precision_and_recall_are_those_of_all_distances(recorded):
    samples, real = (f.astype(np.float64) for f in recorded)
    sample_radii, real_radii = (np.sort(cdist(x, x), axis=1)[:, 3] for x in (samples, real))
    distances = cdist(samples, real)
    precision = (distances <= real_radii).any(axis=1).mean()
    recall = (cdist(real, samples) <= sample_radii).any(axis=1).mean()
    assert 0.1 < precision < 0.9 and precision != recall
    for block in (7, 2500):
        assert precision_recall(*recorded, block=block) == (precision, recall)


def test_precision_and_recall_of_repeated_points():
    # Balls of radius zero hold their own centre.
    points = np.repeat(np.random.default_rng(0).normal(size=(9, 50)) * 1e3, 5, axis=0)
    assert precision_recall(points, points[:20]) == (20 / 45, 1)


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
    message = "some.npz were made otherwise: split is 'train' and not 'test'; levels is None and not 17; delete the fi"
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
        ({"mu": np.full(2, np.nan), "sigma": np.eye(2)}, "are damaged .mu or sigma is not finite.; get or make them"),
        ({"mu": np.zeros(2), "sigma": np.array([[1, 2], [0, 1]])}, "are damaged .sigma is not a covariance"),
        ({"mu": np.zeros(2), "sigma": -np.eye(2)}, "are damaged .sigma is not a covariance"),
        ({"mu": np.zeros(2), "sigma": np.array([["a", "b"]] * 2)}, "are damaged .could not convert string"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "features": np.zeros((4, 3))}, "are damaged .features have shape"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "record": np.array("{")}, "are damaged .Expecting property name"),
        ({"pool_3": np.zeros(5)}, "are damaged .pool_3 is float64 of shape"),
        ({"pool_3": np.full((4, 2), np.nan)}, "the features of 4 reference images are NaN or infinite, first of numb"),
        ({"pool_3": np.zeros((1, 2))}, "statistics of 1 images cannot be taken; give at least 2"),
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
    with pytest.raises(InputError, match="the statistics .*some.npz cannot be read .*; get or make them anew"):
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
    message = "digits-train-8x8x1-pixels.npz were made otherwise: hash is '.*' and not '.*'; delete the file to have it"
    with pytest.raises(InputError, match=message):
        reference_statistics("digits", other, pixels, tmp_path)
    with pytest.raises(
        InputError, match="made otherwise: count is 1437 and not 360; hash is .*; kept is 1437 and not 36"
    ):
        reference_statistics("digits", dataset.test, pixels, tmp_path)


def test_folders_of_one_name_have_files_of_their_own():
    record = {"split": "train", "size": [8, 8, 3], "features": "inception", "front_end": "tensorflow"}
    names = {reference.statistics_path({"data_set": f"folder:/{d}/x", **record}, Path()).name for d in "ab"}
    assert len(names) == 2 and all(name.endswith("-train-8x8x3-inception-tensorflow.npz") for name in names)


def gaussian_statistics(rng, count=300, dim=8):
    return statistics.collect_statistics([rng.normal(size=(count, dim))])


def test_evaluation_has_all_metrics():
    rng = np.random.default_rng(0)
    compared = gaussian_statistics(rng)
    x, logits = rng.normal(size=(200, 8)) + 0.3, 3 * rng.normal(size=(200, 10))
    result = evaluate(Features(x, logits), compared, kid_subsets=5, kid_subset_size=50)
    assert compared.features is not None
    expected = {"fid": frechet_distance(x, compared.features)}
    expected["kid"], expected["kid_std"] = kernel_distance(x, compared.features, 5, 50)
    expected["inception_score"], expected["inception_score_std"] = inception_score(logits)
    expected["precision"], expected["recall"] = precision_recall(x, compared.features)
    assert result == pytest.approx(expected, rel=1e-9)
    published = dataclasses.replace(compared, features=None)
    assert evaluate(Features(x, None), published) == pytest.approx({"fid": expected["fid"]}, rel=1e-9)
    two = evaluate(Features(x[:2], logits[:2]), compared)
    assert two.keys() == {"fid", "kid", "kid_std", "inception_score", "inception_score_std"}


def test_unfit_samples_are_refused():
    compared = gaussian_statistics(np.random.default_rng(0))
    with pytest.raises(InputError, match="there are 1 samples, and a covariance needs at least 2; give more"):
        evaluate(Features(np.zeros((1, 8)), None), compared)
    with pytest.raises(
        InputError, match="the samples have 9 features each and the reference 8: it is of images of ano"
    ):
        evaluate(Features(np.zeros((4, 9)), None), compared)
    broken = np.zeros((4, 8))
    broken[2:, 3] = np.nan
    with pytest.raises(InputError, match="the features of 2 sample images are NaN or infinite, first of number 2"):
        evaluate(Features(broken, None), compared)
    with pytest.raises(InputError, match="there are no samples; give at least 2"):
        extract(np.zeros((0, 8, 8, 1), np.uint8), PixelExtractor())
    with pytest.raises(
        InputError, match="the images have 12288 numbers each, and pixels are features for at most 4096"
    ):
        PixelExtractor()(np.zeros((2, 64, 64, 3), np.uint8))


def test_few_samples_are_warned_of(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pfgm_jax"), "propagate", True)
    rng = np.random.default_rng(0)
    evaluate(Features(rng.normal(size=(8, 8)), None), gaussian_statistics(rng))
    assert caplog.messages == ["8 samples are too few for the covariance of 8 features: FID is too high"]
    evaluate(Features(rng.normal(size=(9, 8)), None), gaussian_statistics(rng))
    assert len(caplog.messages) == 1


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command in this process, with pixels as features and data kept in `tmp_path`."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["", "--features=pixels", f"--data_dir={tmp_path}", *map(str, arguments)])
        return metrics_command.run(metrics_command._arguments("metrics"))

    return run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two sets of tiny colour images, as arrays and as folders of pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    drawn = {"a": rng.integers(0, 256, (30, 4, 5, 3)), "b": rng.integers(60, 256, (40, 4, 5, 3))}
    sets = {name: images.astype(np.uint8) for name, images in drawn.items()}
    for name in sets:
        np.savez(folder / f"{name}.npz", images=sets[name])
        (folder / name / "below").mkdir(parents=True)
        for i, image in enumerate(sets[name]):
            Image.fromarray(image).save(folder / name / ("below" if i % 2 else "") / f"{i}.png")
    return folder, sets


def test_command_takes_folders_and_arrays(command, pictures):
    folder, sets = pictures
    a, b = (sets[name].reshape(-1, 60) / 255 for name in "ab")
    result = command("--samples", folder / "a.npz", "--reference", folder / "b")
    assert (result["samples"], result["reference"]) == (30, 40)
    assert abs(result["fid"] / frechet_distance(a, b) - 1) < 1e-9
    assert (result["precision"], result["recall"]) == precision_recall(a, b)
    of_folders = command("--samples", folder / "a", "--reference", folder / "b.npz")
    assert of_folders["fid"] == pytest.approx(result["fid"], rel=1e-9)
    np.savez(folder / "statistics.npz", mu=b.mean(axis=0), sigma=np.cov(b.T))
    published = command("--samples", folder / "a", "--reference", folder / "statistics.npz")
    assert published == pytest.approx({"samples": 30, "reference": 0, "fid": result["fid"]}, rel=1e-9)


def test_command_takes_data_sets_in_their_grey_levels(command, tmp_path):
    digits = datasets.load_dataset("digits")
    samples = digits.train[:60]
    np.save(tmp_path / "digits.npy", samples[..., 0])
    result = command("--samples", tmp_path / "digits.npy", "--reference", "digits", "--split=test")
    expected = frechet_distance(samples.reshape(-1, 64) / 16, digits.test[:].reshape(-1, 64) / 16)
    assert result["reference"] == 360 and abs(result["fid"] / expected - 1) < 1e-9
    assert (tmp_path / "statistics" / "digits-test-8x8x1-pixels.npz").exists()
    (tmp_path / "png").mkdir()
    for i, image in enumerate(samples[..., 0]):  # in 256 levels, as pictures have
        Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)).save(tmp_path / "png" / f"{i:02}.png")
    of_pictures = command("--samples", tmp_path / "png", "--reference", "digits", "--split=test")
    assert of_pictures["fid"] == pytest.approx(expected, rel=1e-2)


def test_command_refuses_what_is_unfit(command, pictures, tmp_path):
    folder, _ = pictures
    good = folder / "a.npz"
    np.savez(tmp_path / "float.npz", images=np.zeros((3, 4, 5, 3)))
    np.savez(tmp_path / "nan.npz", images=np.full((3, 4, 5, 3), np.nan))
    np.savez(tmp_path / "channels.npz", images=np.zeros((3, 4, 5, 2), np.uint8))
    np.savez(tmp_path / "names.npz", pictures=np.zeros((3, 4, 5, 3), np.uint8))
    np.savez(tmp_path / "size.npz", images=np.zeros((3, 8, 8, 3), np.uint8))
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:300])
    for name in ("empty", "broken", "mixed"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "x.png").write_bytes(b"no image")
    whole = next((folder / "a").glob("*.png")).read_bytes()
    for size in ((4, 5), (6, 5)):
        Image.new("RGB", size).save(tmp_path / "mixed" / f"{size[0]}.png")
    for samples, compared, message in (
        (good, "nothing", "--reference is 'nothing': it is no folder or .npz file, and as a data set data.dataset is"),
        (good, "heart", "--reference is 'heart', which holds vectors; name a data set of images"),
        (good, "digits", "--samples are 4 x 5 x 3 numbers each and --reference 8 x 8 x 1; bring them to one size"),
        (tmp_path / "none", good, "--samples is '.*none', which is neither a folder nor a .npz file; give one"),
        (tmp_path / "float.npz", good, r"float.npz holds float64 of shape \(3, 4, 5, 3\); give uint8 \[n, H, W, C\]"),
        (tmp_path / "nan.npz", good, "nan.npz holds 3 images with NaN or infinity, first number 0; give uint8"),
        (tmp_path / "channels.npz", good, "channels.npz holds uint8 of shape .*; give uint8 .* with 1 or 3 channels"),
        (tmp_path / "names.npz", good, "names.npz holds the arrays pictures; name one samples or images or arr_0"),
        (good, tmp_path / "size.npz", "--samples are 4 x 5 x 3 numbers each and --reference 8 x 8 x 3; bring them to"),
        (tmp_path / "cut.npz", good, "cut.npz cannot be read as .npy or .npz .*; save it anew"),
        (good, tmp_path / "cut.npz", "cut.npz cannot be read as .npz .*; save it anew"),
        (tmp_path / "empty", good, "empty holds no images .files such as .png and .jpg.; name another folder"),
        (tmp_path / "broken", good, "x.png cannot be read .it is not an image.; save it anew or take it away"),
        (tmp_path / "mixed", good, "6.png has 5 x 6 pixels, and .*4.png 5 x 4; bring all images to one size"),
    ):
        with pytest.raises(InputError, match=message):
            command("--samples", samples, "--reference", compared)
    (tmp_path / "mixed" / "6.png").unlink()
    (tmp_path / "mixed" / "4.png").write_bytes(whole[:60])
    with pytest.raises(InputError, match="4.png cannot be read .*; save it anew or take it away"):
        command("--samples", tmp_path / "mixed", "--reference", good)
    with pytest.raises(InputError, match="--levels is 300; give a number from 2 to 256"):
        command("--samples", good, "--reference", good, "--levels=300")
    with pytest.raises(InputError, match="and 17 grey levels end at 16; set the number of levels"):
        command("--samples", good, "--reference", good, "--levels=17")


def test_command_prints_a_table(pictures, tmp_path):
    folder, _ = pictures
    command = [sys.executable, "-m", "pfgm_jax.metrics", "--features=pixels", f"--data_dir={tmp_path}"]
    command += [f"--samples={folder / 'a.npz'}", f"--reference={folder / 'a'}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    table = dict(line.split(": ") for line in result.stdout.splitlines())
    assert [*table] == ["samples", "reference", "fid", "kid", "kid_std", "precision", "recall"]
    assert (table["samples"], table["precision"], table["recall"]) == ("30", "1", "1") and float(table["fid"]) < 1e-9


def test_command_fails_with_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "set_up_logging", lambda: None)
    monkeypatch.setattr(sys, "argv", ["", "--samples=x"])
    assert metrics_command.main("python -m pfgm_jax.metrics") == 1
    sentence = "error: the following arguments are required: --reference; see python -m pfgm_jax.metrics --help\n"
    assert capsys.readouterr() == ("", sentence)
