"""The backward ODE with the exact field of a small data set, without a network."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pfgm_jax import sampling
from pfgm_jax.field import normalize_field, poisson_field
from pfgm_jax.keys import sample_keys
from pfgm_jax.latents import decode
from pfgm_jax.methods import Poisson
from pfgm_jax.samplers import create_sampler
from tests.compiling import thorough_jit
from tests.test_samplers import SOLVERS


def _exact_network(charges):
    def net(x, z, context=None):
        return normalize_field(poisson_field(x.reshape(len(x), -1), z, charges), 5.0)[:, None, None]

    return net


@pytest.mark.parametrize("dim", [2, 16, 192])
def test_exact_field_carries_the_prior_to_the_charges_in_equal_shares(dim):
    charges = jax.random.uniform(jax.random.key(dim), (16, dim), minval=-1, maxval=1)
    # The paper's formula below z_exp takes |E_x| for |E|, which shows in these distances: hence the exact one.
    method = Poisson(shape=(1, 1, dim), z_max=100.0, upper_norm=1e30, exact_substitution=True)
    solver = create_sampler("rk45", rtol=1e-5, atol=1e-6)
    draw = thorough_jit(lambda keys: sampling.sample(method, _exact_network(charges), solver, keys))
    count = 2048 if dim < 100 else 512
    x = np.asarray(draw(sample_keys(jax.random.key(0), count)).check().x, np.float64)[:, 0, 0]

    squared = ((x[:, None] - np.asarray(charges, np.float64)) ** 2).sum(-1)
    assert stats.chisquare(np.bincount(squared.argmin(1), minlength=16)).pvalue > 1e-3
    # What one charge's field implies of the distance at z_min.
    law = stats.betaprime(dim / 2, 0.5)
    assert stats.kstest(squared.min(1) / method.z_min**2, law.cdf).pvalue > 1e-3


def test_one_charge_attracts_in_a_straight_line():
    y = jnp.linspace(-0.9, 0.7, 12).reshape(1, 1, 1, 12)
    method = Poisson(shape=(1, 1, 12), exact_substitution=True)
    keys = sample_keys(jax.random.key(0), 50)
    x = method.prior_sample(keys)
    solver = create_sampler("rk45", rtol=1e-6, atol=1e-6)
    end = sampling.sample(method, _exact_network(y.reshape(1, 12)), solver, keys).check().x
    straight = y + (x - y) * (method.z_min / method.z_max)
    np.testing.assert_allclose(end, straight, atol=2e-4)


def test_sample_k_depends_on_key_and_k_alone():
    charges = jax.random.uniform(jax.random.key(1), (16, 5), minval=-1, maxval=1)
    method = Poisson(shape=(1, 1, 5))
    draw = jax.jit(
        lambda n, first: sampling.sample(
            method, _exact_network(charges), create_sampler("rk45"), sample_keys(jax.random.key(0), n, first)
        ),
        static_argnums=0,
    )
    one_batch = draw(10, 0)
    x, evaluations, _ = (np.concatenate(parts)[:10] for parts in zip(draw(4, 0), draw(4, 4), draw(4, 8), strict=True))
    np.testing.assert_allclose(x, one_batch.x, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(evaluations, one_batch.evaluations)


@pytest.mark.parametrize(
    "solver",
    [*map(create_sampler, SOLVERS), create_sampler("rk45", shared_step=True)],
    ids=repr,
)
def test_a_solve_does_not_wait_for_the_host(solver):
    asks_host = re.compile(r"callback|infeed|outfeed|send\(|recv\(")
    method, charges = Poisson(shape=(1, 1, 3)), jnp.eye(3)
    compiled = lambda solve: str(jax.jit(solve).lower(jnp.ones((2, 1, 1, 3))).compile().as_text())
    assert not asks_host.search(compiled(lambda x: decode(method, _exact_network(charges), x, solver)))

    def told(x, z, context=None):
        jax.debug.callback(lambda _: None, x)
        return _exact_network(charges)(x, z)

    assert asks_host.search(compiled(lambda x: decode(method, told, x, solver)))
