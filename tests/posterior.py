"""Restoring a small data set without a trained network: images of which the posterior is known."""

import jax
import jax.numpy as jnp
import numpy as np

from pfgm_jax import sampling
from pfgm_jax.context import Context
from pfgm_jax.field import normalize_field, poisson_field
from pfgm_jax.keys import sample_keys
from pfgm_jax.methods import Poisson
from tests import exact
from tests.compiling import thorough_jit

SHAPE = (4, 4, 1)
RNG = np.random.default_rng(0)
# Four upper halves, each with four lower ones.
UPPER = RNG.uniform(-1, 1, (4, 8))
CHARGES = np.array([np.r_[UPPER[j // 4], RNG.uniform(-1, 1, 8)] for j in range(16)], np.float32)
KNOWN = np.zeros(SHAPE, bool)
KNOWN[:2] = True
N = 4096


def method_of(name):
    """A method of these images."""
    if name == "poisson":
        return Poisson(shape=SHAPE, M=200, z_min=1e-3, z_max=40.0, upper_norm=1e6, z_exp=0.0, data_radius=10.0)
    if name == "pfgmpp":
        return exact.METHODS["pfgmpp"](shape=SHAPE, D=128)
    return exact.METHODS[name](shape=SHAPE)


def network_of(method):
    """The network that knows them."""
    if not isinstance(method, Poisson):
        return exact.network_of_charges(method, CHARGES)

    def net(x, z, context):
        E = normalize_field(poisson_field(x.reshape(len(x), -1), z, jnp.asarray(CHARGES)), method.gamma)
        of_z = jnp.broadcast_to(E[:, -1][:, None, None, None], (len(x), *SHAPE))
        return jnp.concatenate([E[:, :-1].reshape(len(x), *SHAPE), of_z], axis=-1)

    return net


def context_of(image, n=N):
    """What is given where the upper half of an image is known."""
    y = np.where(KNOWN, image.reshape(SHAPE), 0).astype(np.float32)
    rows = lambda a: jnp.asarray(np.repeat(a[None], n, axis=0))
    return Context(known=rows(y), mask=rows(KNOWN))


def drawn(method, sampler, context, net=None, n=N):
    """Samples of a method as rows of numbers."""
    draw = thorough_jit(lambda keys, rows: sampling.sample(method, net or network_of(method), sampler, keys, rows))
    found = draw(sample_keys(jax.random.key(1), n), context)
    assert np.asarray(found.ok).all()
    return np.asarray(found.x).reshape(n, -1)


def posterior(y, std):
    """The probability of each image, given its upper half with noise."""
    if not std:
        same = np.abs(CHARGES[:, :8] - y.ravel()[:8]).max(axis=1) == 0
        return same / same.sum()
    logs = -((CHARGES[:, :8] - y.ravel()[:8]).astype(np.float64) ** 2).sum(axis=1) / (2 * std**2)
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def shares(x):
    """How many come nearest to each image, and how far each is from it."""
    away = np.linalg.norm(x[:, None] - CHARGES[None], axis=2)
    return np.bincount(away.argmin(axis=1), minlength=len(CHARGES)) / len(x), away.min(axis=1)
