import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cdist

from pfgm_jax.errors import InputError
from pfgm_jax.metrics import (
    Features,
    Gaussian,
    PixelExtractor,
    evaluate,
    extract,
    frechet_distance,
    inception_score,
    kernel,
    kernel_distance,
    precision_recall,
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


def test_kid_does_not_depend_on_how_kernels_are_computed(recorded, monkeypatch):
    at_once = kernel_distance(*recorded, subsets=50, subset_size=60)
    monkeypatch.setattr(kernel, "LARGEST", 0)
    np.testing.assert_allclose(kernel_distance(*recorded, subsets=50, subset_size=60), at_once, rtol=1e-12)


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
        InputError, match="the Inception score of 3 examples cannot be computed over 10 splits; give fewer"
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
    with pytest.raises(InputError, match="the samples have 9 features each and the reference 8: it has images of ano"):
        evaluate(Features(np.zeros((4, 9)), None), compared)
    broken = np.zeros((4, 8))
    broken[2:, 3] = np.nan
    with pytest.raises(InputError, match="the features of 2 sample images are NaN or infinite; the first is number 2"):
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
