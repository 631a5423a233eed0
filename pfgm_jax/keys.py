"""The random keys of a run, and of each sample."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

# The prior splits a sample's key in a few; the noise of a stochastic sampler, and a label, follow from other numbers.
_NOISE, _LABEL = 0x6E6F6973, 0x6C616265
# Samples given an image, and restored ones, have noise of their own: the image may be a sample of the same number.
_GIVEN, _RESTORED = 0x67697665, 0x72657374


class Keys(NamedTuple):
    """The random keys of a run, one for each purpose."""

    init: jax.Array
    train: jax.Array
    held_out: jax.Array
    samples: jax.Array
    likelihood: jax.Array

    @classmethod
    @functools.lru_cache(maxsize=64)
    def from_seed(cls, seed: int, sharding: jax.sharding.Sharding | None = None) -> "Keys":
        """Creates the keys of a seed and places them as a sharding says."""
        return jax.jit(lambda: cls(*jax.random.split(jax.random.key(seed), 5)), out_shardings=sharding)()


def sample_keys(key: Key[Array, ""], n: int, first: int | Int[Array, ""] = 0) -> Key[Array, " n"]:
    """Creates the keys of samples number `first` to `first + n`; key k depends on `key` and on k alone."""
    return jax.vmap(lambda k: jax.random.fold_in(key, k))(first + jnp.arange(n))


def key_of_samples(samples: Key[Array, ""], given: bool, restored: bool) -> Key[Array, ""]:
    """Derives the key of samples that follow from images from that of samples that do not.

    Args:
      samples: see `Keys`.
      given: whether each sample is conditioned on an image.
      restored: whether something of each was measured.
    """
    for constant, holds in ((_GIVEN, given), (_RESTORED, restored)):
        samples = jax.random.fold_in(samples, constant) if holds else samples
    return samples


def noise_keys(keys: Key[Array, " n"]) -> Key[Array, " n"]:
    """Derives keys for the noise that samplers add from the keys that the samples' priors are drawn with."""
    return jax.vmap(lambda key: jax.random.fold_in(key, _NOISE))(keys)


def label_keys(keys: Key[Array, " n"]) -> Key[Array, " n"]:
    """Derives keys for the labels of samples from the keys that their priors are drawn with."""
    return jax.vmap(lambda key: jax.random.fold_in(key, _LABEL))(keys)
