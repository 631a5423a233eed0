"""What a PFGM needs in few dimensions: heights, bounds and measures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax import datasets, metrics, sampling
from pfgm_jax.datasets import DataStatistics, Scaling
from pfgm_jax.field import normalize_field, poisson_field
from pfgm_jax.keys import sample_keys
from pfgm_jax.methods import Poisson
from pfgm_jax.methods.hyper_parameters import hyper_parameters, prior_norm, share_beyond
from pfgm_jax.metrics.wasserstein import against_data
from pfgm_jax.samplers import create_sampler


def error_of_the_prior(charges, z_max):
    """Mean of |p / prior - 1| over the prior on the plane z = z_max, p being the flux of the charges through it."""
    dim = charges.shape[1]
    rng = np.random.default_rng(0)
    x = z_max * rng.normal(size=(1000, dim)) / np.abs(rng.normal(size=(1000, 1)))
    squared = ((x[:, None] - charges) ** 2).sum(-1) + z_max**2
    of_prior = (x**2).sum(-1) + z_max**2
    return np.abs(((of_prior[:, None] / squared) ** ((dim + 1) / 2)).mean(1) - 1).mean()


@pytest.mark.parametrize("dim", [1, 2, 5, 20, 63])
def test_the_prior_of_few_dimensions_is_off_by_the_share_that_the_formula_is_made_for(dim):
    rng = np.random.default_rng(dim)
    charges = rng.choice([-0.5, 0.5], (500, dim))
    charges -= charges.mean(0)
    found = hyper_parameters(np.linalg.norm(charges, axis=1).mean(), dim)
    assert error_of_the_prior(charges, found.z_max) < 1 / 128
    paper = math.sqrt(2 / math.pi) * 0.01 * (0.25 * dim / (2 * math.sqrt(dim) * 0.01**2)) ** 0.75
    if dim < 5:
        assert error_of_the_prior(charges, paper) > 1 / 40
    # The outermost perturbation is as high as the prior.
    assert found.z_max == pytest.approx(math.sqrt(2 / math.pi) * 0.01 * 1.03**found.M)


def test_few_draws_of_few_dimensions_are_clipped():
    found = hyper_parameters(0.7, 2)
    # In the plane the share beyond a norm R is z / sqrt(R² + z²).
    of_plane = lambda norm: found.z_max / math.hypot(norm, found.z_max)
    assert of_plane(found.upper_norm) == pytest.approx(1e-3) == share_beyond(found.upper_norm, found.z_max, 2)
    assert prior_norm(0.3, 5.0, 2) == pytest.approx(5.0 * math.sqrt(1 / 0.09 - 1))


def careless_network(charges, error):
    """The exact field near the charges; beyond ten times their extent off by a share of its components."""

    def net(x, z, context=None):
        flat = x.reshape(len(x), -1)
        v = normalize_field(poisson_field(flat, z, charges), 0.2)
        far = jnp.sum(flat**2, axis=1) + z**2 > 100
        return jnp.where(far[:, None], v * (1 + error * jnp.sin(jnp.arange(1.0, 1 + v.shape[1])))[None], v)[
            :, None, None
        ]

    return net


def test_samples_arrive_though_the_network_is_careless_far_away():
    charges = jax.random.uniform(jax.random.key(2), (16, 2), minval=-0.7, maxval=0.7)
    found = hyper_parameters(0.6, 2)
    numbers = {**found._asdict(), "gamma": 0.2, "exact_substitution": True, "z_min": 1e-5}
    method = Poisson(shape=(1, 1, 2), data_radius=1.0, **numbers)
    unbound = Poisson(shape=(1, 1, 2), data_radius=1e9, **numbers)
    net, solver = careless_network(charges, -0.05), create_sampler("rk45", rtol=1e-4, atol=1e-5)

    def distances(method):
        draw = jax.jit(lambda keys: sampling.sample(method, net, solver, keys))
        x = np.asarray(draw(sample_keys(jax.random.key(0), 300)).x)[:, 0, 0]
        return np.linalg.norm(x[:, None] - np.asarray(charges), axis=2).min(1)

    assert np.mean(~(distances(unbound) < 0.1)) > 0.05
    assert (distances(method) < 0.1).all()


@pytest.mark.parametrize("z", [1e-4, 0.1, 3.0, 8.0])
def test_the_exact_field_is_never_changed(z):
    charges = jax.random.uniform(jax.random.key(3), (50, 3), minval=-0.7, maxval=0.7)
    net, radius = careless_network(charges, 0.0), float(jnp.linalg.norm(charges, axis=1).max())
    directions = jax.random.normal(jax.random.key(4), (200, 1, 1, 3))
    x = directions * jnp.geomspace(1e-3, 30, 200)[:, None, None, None]
    method = lambda radius: Poisson(shape=(1, 1, 3), gamma=0.2, z_exp=0.0, data_radius=radius)
    # Of the exact D one component in float32 is all that may be beyond.
    bound, free = (method(r).velocity(net, x, math.log(z)) for r in (radius * (1 + 1e-5), 1e9))
    np.testing.assert_allclose(bound, free, rtol=1e-4, atol=1e-5)


def test_the_radius_is_the_largest_norm_of_vectors_and_of_all_images():
    vectors = np.random.default_rng(0).normal(size=(30_000, 1, 1, 3)).astype(np.float32)
    scaling = Scaling(0, shift=(0.1, 0.2, 0.3), scale=2.0)
    largest = np.linalg.norm((vectors[:, 0, 0].astype(np.float64) - [0.1, 0.2, 0.3]) / 2, axis=1).max()
    statistics = DataStatistics(scaling, datasets.Split(vectors))
    assert statistics.largest_norm == pytest.approx(largest, rel=1e-6)
    fitted = Poisson(shape=(1, 1, 3), M=0, z_max=0, upper_norm=0).fit(statistics)
    assert fitted.data_radius == pytest.approx(largest, rel=1e-6) and not fitted.unfitted

    images = datasets.Split(np.zeros((10, 4, 4, 1), np.uint8))
    assert DataStatistics(Scaling(256), images).largest_norm == 4.0  # white everywhere: sixteen pixels of 1
    digits = datasets.Split(np.zeros((10, 8, 8, 1), np.uint8))
    assert Poisson(shape=(8, 8, 1)).fit(DataStatistics(Scaling(256), digits)).data_radius == 0


def test_sliced_wasserstein_of_a_shift_is_its_mean_projection():
    a = np.random.default_rng(0).normal(size=(500, 2))
    directions = np.stack([np.cos(angles := np.linspace(0, np.pi, 1000, endpoint=False)), np.sin(angles)])
    shifted = metrics.sliced_wasserstein(a, a + np.array([3.0, 0.0]), directions)
    assert shifted == pytest.approx(3 * 2 / math.pi, rel=1e-4)  # mean of |cos|


def test_samples_of_the_data_have_a_ratio_of_one_and_others_not():
    rng = np.random.default_rng(0)
    train, test, same = rng.normal(size=(8000, 2)), rng.normal(size=(2000, 2)), rng.normal(size=(8000, 2))
    assert against_data(same, train, test)["sliced_wasserstein_ratio"] == pytest.approx(1, abs=0.25)
    wider = against_data(1.2 * same, train, test)
    # In one dimension the distance of N(0, 1) from N(0, 1.2²) is 0.2 sqrt(2/pi).
    assert wider["sliced_wasserstein"] == pytest.approx(0.2 * math.sqrt(2 / math.pi), rel=0.2)
    assert wider["sliced_wasserstein_ratio"] > 3


def test_outliers_are_farther_than_every_held_out_point():
    train, test = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 0.5], [1.0, 0.25]])
    samples = np.array([[0.5, 0.0], [0.0, 0.51], [1.0, -0.49], [30.0, 0.0]])
    found, limit = metrics.outliers(samples, train, test)
    assert limit == 0.5 and found.tolist() == [False, True, False, True]
    assert metrics.evaluate_vectors(samples, train, test)["outliers"] == 0.5
