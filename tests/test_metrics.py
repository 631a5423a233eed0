import numpy as np
import pytest

from pfgm_jax.metrics import frechet_distance


def test_distance_of_gaussians_with_common_axes():
    # For covariances that commute, the distance is |μ - ν|² + Σ (σ_i - τ_i)².
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5000, 4))
    z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T  # exactly standard
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    a = z * [1, 2, 3, 4] @ rotation + [1, 0, 0, 0]
    b = z * [2, 2, 1, 0.5] @ rotation + [0, 0, 2, 0]
    assert abs(frechet_distance(a, b) - (5 + 1 + 0 + 4 + 3.5**2)) < 1e-9


def test_equals_the_recorded_value():
    record = np.load("tests/fixtures/frechet.npz")
    assert abs(frechet_distance(record["f1"], record["f2"]) / 4.630529 - 1) < 1e-6


def test_holds_without_full_rank():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(10, 64)), rng.normal(size=(12, 64))
    assert abs(frechet_distance(a, a)) < 1e-9
    # In the plane of the difference of two points each: covariances of rank one.
    u, v = np.zeros((2, 64)), np.zeros((2, 64))
    u[1, 0], v[1, 1] = 2.0, 2.0  # variances 2 along axes 0 and 1, means at distance √2
    assert abs(frechet_distance(u, v) - (2 + 2 + 2)) < 1e-12
    assert frechet_distance(a, b) > 0


def test_refuses_a_single_row():
    with pytest.raises(ValueError, match="give at least 2 rows each, of equal length"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))
