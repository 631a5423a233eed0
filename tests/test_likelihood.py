"""Likelihoods of data whose field is known in closed form, without a network, and those of the release's digits."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from pfgm_jax.datasets import Scaling
from pfgm_jax.errors import SolveError
from pfgm_jax.likelihood import (
    BitsPerDim,
    Divergence,
    bits_per_dim,
    estimated_divergence,
    exact_divergence,
    log_prob,
    stored_unit,
    to_bits_per_dim,
)
from pfgm_jax.samplers import create_sampler
from tests.compiling import thorough_jit
from tests.networks import exact_method, gaussian_network

TIGHT = create_sampler("rk45", rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize(("x", "z"), [([0.4], 0.3), ([-1.5], 0.01), ([0.3, -0.8], 0.2), ([2.0, 1.0], 3.0)])
def test_field_of_gaussian_data_is_that_of_its_definition(x, z):
    scale, dim = 0.5, len(x)

    def kernel(moment):
        def integrand(*y):
            squared = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
            density = math.exp(-sum(b * b for b in y) / (2 * scale**2))
            return density * moment(y) / (squared + z * z) ** ((dim + 1) / 2)

        # In pieces about the point, where the kernel is sharp.
        options = [{"points": [a - z, a, a + z], "limit": 200, "epsabs": 1e-9, "epsrel": 1e-6} for a in x]
        return integrate.nquad(integrand, [(-5, 5)] * dim, opts=options)[0]

    total = kernel(lambda y: 1.0)
    E_x = [kernel(lambda y, i=i: y[i] - x[i]) / total for i in range(dim)]
    v = gaussian_network(np.zeros((1, dim)), scale)(jnp.array([[[x]]]), jnp.array([z]))[0, 0, 0]
    np.testing.assert_allclose(-z * v[:-1] / v[-1], E_x, rtol=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 16, 191])
def test_bits_of_gaussian_data_are_the_true_ones(dim):
    method = exact_method(dim)

    @(jax.jit if dim < 100 else thorough_jit)
    def bits(x, scale):
        found = log_prob(method, gaussian_network(np.zeros((1, dim)), scale), x, TIGHT)
        return found, to_bits_per_dim(found.log_prob, dim, 2 / 256)

    normal = np.random.default_rng(dim).normal(size=(3, 1, 1, dim))
    for scale in (0.1, 0.5, 2.0):
        x = jnp.asarray(scale * normal, jnp.float32)
        found, ours = bits(x, scale)
        found.check()
        truth = np.sum(stats.norm.logpdf(np.asarray(x, np.float64), scale=scale), axis=(1, 2, 3))
        np.testing.assert_allclose(ours, 7 - truth / (dim * math.log(2)), rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.log_prob, found.prior + found.volume, rtol=1e-5, atol=1e-5)
        # The field is radial, so its lines are straight in direction.
        direction = lambda a: a[:, 0, 0] / np.linalg.norm(a[:, 0, 0], axis=1, keepdims=True)
        np.testing.assert_allclose(direction(found.latent), direction(x), atol=1e-5)


def test_density_of_two_gaussians_in_the_plane_integrates_to_one():
    means, scale, step = np.array([[-0.6, 0.2], [0.7, -0.3]]), 0.3, 0.25
    method = exact_method(2)
    # A sum over a grid finer than a Gaussian is wide is its integral to many digits.
    axis = np.arange(-2.1, 2.1, step, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 1, 2)
    net = gaussian_network(means, scale)
    found = jax.jit(lambda x: log_prob(method, net, x, create_sampler("rk45", rtol=1e-5, atol=1e-5)))(grid).check()
    density = np.exp(np.asarray(found.log_prob, np.float64))
    assert abs(density.sum() * step**2 - 1) < 1e-3
    normal: Any = stats.multivariate_normal
    truth = np.mean([normal.pdf(grid[:, 0, 0], mean, scale**2) for mean in means], axis=0)
    np.testing.assert_allclose(density, truth, rtol=2e-3, atol=1e-4)


class _Field:
    """tanh(W x + b), of which the Jacobian is known."""

    def __init__(self, dim):
        rng = np.random.default_rng(0)
        self.W, self.b = rng.normal(size=(dim, dim)), rng.normal(size=dim)

    def __call__(self, x):
        return jnp.tanh(x @ jnp.float32(self.W.T) + jnp.float32(self.b)[None])

    def jacobian(self, x):
        return (1 - np.tanh(self.W @ x + self.b) ** 2)[:, None] * self.W


@pytest.mark.parametrize("unit_vectors", [1, 5, 100])
def test_exact_divergence_is_the_trace_of_the_jacobian(unit_vectors):
    field = _Field(12)
    x = np.random.default_rng(1).normal(size=(4, 12)).astype(np.float32)
    value, divergence = exact_divergence(field, jnp.asarray(x), unit_vectors)
    np.testing.assert_allclose(value, field(x), rtol=1e-6)
    np.testing.assert_allclose(divergence, [np.trace(field.jacobian(row)) for row in x], rtol=1e-4)


@pytest.mark.parametrize("name", ["rademacher", "gaussian"])
@pytest.mark.parametrize("probes", [1, 3])
def test_hutchinson_has_the_mean_and_the_variance_of_theory(name, probes):
    field, n = _Field(12), 20_000
    x = np.random.default_rng(1).normal(size=12).astype(np.float32)
    # Every row has a key, and so a probe, of its own.
    drawn = Divergence(name, probes).draw(jax.random.split(jax.random.key(0), n), (1, 1, 12))
    assert drawn is not None
    drawn = drawn.reshape(probes, n, 12)
    _, estimates = jax.jit(lambda x, e: estimated_divergence(field, x, e))(np.broadcast_to(x, (n, 12)), drawn)
    estimates = np.asarray(estimates, np.float64)

    J = field.jacobian(x.astype(np.float64))
    symmetric = (J + J.T) / 2
    counted = symmetric - np.diag(np.diag(symmetric)) if name == "rademacher" else symmetric
    variance = 2 * (counted**2).sum() / probes
    assert abs(estimates.mean() - np.trace(J)) < 3 * math.sqrt(variance / n)
    assert abs(estimates.var() / variance - 1) < 0.1


def test_estimated_bits_of_vectors_are_unbiased_and_in_their_own_units():
    dim, draws = 16, 32
    scaling = Scaling(levels=0, shift=tuple(np.linspace(-3, 5, dim).tolist()), scale=8.0)
    stored = np.random.default_rng(0).normal(size=(4, 1, 1, dim)) * 4.0 + np.array(scaling.shift)
    estimate = jax.jit(
        lambda stored, index: bits_per_dim(
            exact_method(dim), gaussian_network(np.zeros((1, dim)), 0.5), jax.random.key(0), stored, index, scaling,
            create_sampler("rk45", rtol=1e-5, atol=1e-5), Divergence("gaussian"), draws=draws,
        )
    )  # fmt: skip
    found = estimate(jnp.asarray(stored, jnp.float32), jnp.arange(4)).check()
    assert found.bits.shape == found.evaluations.shape == (4, draws)
    truth = -np.mean(stats.norm.logpdf(stored, np.array(scaling.shift), 4.0), axis=(1, 2, 3)) / math.log(2)
    assert np.all(np.asarray(found.standard_error) > 1e-4)
    assert np.all(np.abs(found.mean - truth) < 3 * found.standard_error)


def test_bits_of_grey_levels_are_the_mean_over_dequantization():
    levels, scale, draws = 17, 0.5, 40
    # Images in [0, 1] of a network that never saw noise: likelihoods are dequantized all the same.
    scaling = Scaling(levels=levels, low=0.0, high=1.0, dequantize=False)
    stored = np.random.default_rng(0).integers(0, levels, (3, 1, 2, 1)).astype(np.uint8)
    method = exact_method(2, shape=(1, 2, 1))
    net = gaussian_network(np.zeros((1, 2)), scale)

    def exact_network(x, z, context=None):
        v = net(x, z)[:, 0, 0]
        return jnp.stack([v[:, :2], jnp.broadcast_to(v[:, 2:], (len(x), 2))], axis=-1)[:, None]

    estimate = jax.jit(
        lambda stored: bits_per_dim(
            method, exact_network, jax.random.key(1), stored, jnp.arange(3), scaling,
            create_sampler("rk45", rtol=1e-4, atol=1e-4), Divergence("exact"), draws=draws,
        )
    )  # fmt: skip
    found = estimate(stored).check()
    # The mean of x² over a level is that at its middle plus a twelfth of its width squared.
    second_moment = ((stored + 0.5) / levels) ** 2 + 1 / (12 * levels**2)
    nats = 0.5 * math.log(2 * math.pi * scale**2) + second_moment.mean((1, 2, 3)) / (2 * scale**2)
    truth = nats / math.log(2) + math.log2(levels)
    assert np.all(np.asarray(found.standard_error) < 0.03)
    assert np.all(np.abs(found.mean - truth) < 3 * found.standard_error)


@pytest.mark.parametrize(
    ("scaling", "unit", "bits"),
    [
        (Scaling(levels=256), 2 / 256, 7.0),
        (Scaling(levels=17, low=0.0), 1 / 17, math.log2(17)),
        (Scaling(levels=0, scale=4.0), 1 / 4, 2.0),
    ],
)
def test_bits_count_levels_of_images_and_units_of_vectors(scaling, unit, bits):
    assert stored_unit(scaling) == pytest.approx(unit)
    # A density of 1 in network units.
    np.testing.assert_allclose(to_bits_per_dim(jnp.zeros(2), 5, stored_unit(scaling)), bits, rtol=1e-6)
    np.testing.assert_allclose(to_bits_per_dim(jnp.full(2, -5.0 * math.log(2)), 5, unit), bits + 1, rtol=1e-6)


def test_noise_and_probes_of_an_image_depend_on_key_index_and_draw_alone():
    method = exact_method(4, shape=(2, 2, 1), z_exp=5.0)
    net = lambda x, z, _=None: jnp.concatenate([jnp.sin(3 * x) + 2.0, -jnp.ones_like(x)], axis=-1)
    stored = np.random.default_rng(0).integers(0, 17, (6, 2, 2, 1)).astype(np.uint8)

    @functools.partial(jax.jit, static_argnums=3)
    def bits(key, stored, index, draws, first):
        arguments = (Scaling(levels=17), create_sampler("euler", steps=3), Divergence())
        return bits_per_dim(method, net, key, stored, index, *arguments, draws=draws, first_draw=first).bits

    key, index = jax.random.key(3), jnp.array([7, 1, 90, 4, 5, 6])
    all_of_them = bits(key, stored, index, 3, 0)
    assert len(set(np.asarray(all_of_them).ravel().tolist())) == 18
    np.testing.assert_allclose(bits(key, stored[2:4], index[2:4], 2, 1), all_of_them[2:4, 1:], rtol=1e-5)
    again = np.broadcast_to(stored[:1], stored.shape)
    assert len(set(np.asarray(bits(key, again, index, 3, 0)).ravel().tolist())) == 18
    assert np.all(bits(jax.random.key(4), stored, index, 3, 0) != all_of_them)


def test_a_failure_is_reported_and_leaves_the_other_images_alone():
    method, net = exact_method(1), gaussian_network(np.zeros((1, 1)), 0.5)
    solver = create_sampler("rk45", rtol=1e-4, atol=1e-4, max_steps=80)
    # Two images are not finite, and from one the field is out of float32's reach.
    x = jnp.array([0.3, jnp.nan, jnp.inf, -0.4, 1e30]).reshape(5, 1, 1, 1)
    found = jax.jit(lambda x: log_prob(method, net, x, solver))(x)
    assert found.ok.tolist() == [True, False, False, True, False]
    assert np.isnan(found.log_prob).tolist() == [False, True, True, False, True]
    with pytest.raises(SolveError, match="failed for 3 of 5 samples \\(the first is number 11,"):
        found.check(first=10)


def test_mean_and_standard_error_over_draws():
    bits = np.array([[1.0, 2.0, 6.0], [3.0, 3.0, 3.0]], np.float32)
    found = BitsPerDim(bits, np.full((2, 3), 50, np.int32), np.ones((2, 3), bool)).check()
    np.testing.assert_allclose(found.mean, [3, 3])
    np.testing.assert_allclose(found.standard_error, [math.sqrt((4 + 1 + 9) / 2 / 3), 0], rtol=1e-6)
    one = BitsPerDim(bits[:, :1], np.full((2, 1), 50, np.int32), np.ones((2, 1), bool))
    assert np.all(np.isnan(one.standard_error))
    failed = found._replace(ok=np.array([[True, True, True], [True, False, True]]))
    with pytest.raises(SolveError, match="failed for 1 of 2 samples \\(the first is number 1, after 50 evaluations\\)"):
        failed.check()


@pytest.mark.parametrize(
    ("arguments", "message"), [(("cosine",), "name is 'cosine'; choose one of"), (("gaussian", 0), "probes is 0")]
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Divergence(*arguments)
