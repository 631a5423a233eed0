"""Converts stored data to the units that networks work in, and back."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from pfgm_jax.datasets.split import Split

# Standard deviation that vectors are scaled to, about that of pixels in [-1, 1].
VECTOR_STD = 0.5


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The map between stored examples and network units.

    Attributes:
      levels: number of grey levels of images (integers 0 .. levels - 1); 0 for vectors.
      low, high: the interval that grey levels are scaled to.
      dequantize: whether to add uniform noise of one level to each grey level, so that images have a density.
      flip: whether augmentation mirrors images left to right with probability ½.
      shift, scale: a vector v is scaled to (v - shift) / scale.
    """

    levels: int
    low: float = -1.0
    high: float = 1.0
    dequantize: bool = False
    flip: bool = False
    shift: tuple[float, ...] = ()
    scale: float = 1.0

    @property
    def _shift(self) -> Float[Array, "1 1 1 N"]:
        return jnp.array(self.shift, jnp.float32)[None, None, None]

    def to_network(
        self, stored: Num[Array | np.ndarray, "b H W C"], noise: Float[Array, "b H W C"] | None = None
    ) -> Array:
        """Converts stored examples to network units.

        Args:
          stored: grey levels or vectors.
          noise: position within each grey level, in [0, 1); None for the middle. Used if `dequantize` is True.
        """
        if not self.levels:
            return (jnp.asarray(stored, jnp.float32) - self._shift) / self.scale
        grey = jnp.asarray(stored).astype(jnp.float32)
        middle = 0.5 if noise is None else noise
        share = (grey + middle) / self.levels if self.dequantize else grey / (self.levels - 1)
        return self.low + (self.high - self.low) * share

    def to_stored(self, x: Float[Array | np.ndarray, "b H W C"]) -> Array:
        """Converts network units to stored form: the nearest grey level as uint8, or a float32 vector."""
        if not self.levels:
            return jnp.asarray(x) * self.scale + self._shift.astype(x.dtype)
        grey = (x - self.low) / (self.high - self.low)
        grey = jnp.floor(grey * self.levels) if self.dequantize else jnp.round(grey * (self.levels - 1))
        return jnp.clip(grey, 0, self.levels - 1).astype(jnp.uint8)

    def augment(
        self, key: jax.Array, stored: Num[Array | np.ndarray, "b H W C"], index: Int[Array | np.ndarray, " b"]
    ) -> Array:
        """Converts training examples to network units, with random dequantization and flips if enabled.

        The result for an example depends only on the key and its index, not on the other examples in the batch.

        Args:
          key: random key of the step.
          stored: grey levels or vectors.
          index: index of each example in its data set.
        """
        if not self.levels:
            return self.to_network(stored)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(index))
        noise = None
        if self.dequantize:
            noise = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 0), stored.shape[1:]))(keys)
        x = self.to_network(stored, noise)
        if self.flip:
            mirrored = jax.vmap(lambda k: jax.random.bernoulli(jax.random.fold_in(k, 1)))(keys)
            x = jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
        return x


def vector_scaling(vectors: Float[np.ndarray, "n 1 1 N"]) -> tuple[tuple[float, ...], float]:
    """Computes the shift and scale that give vectors mean 0 and standard deviation ½ over all components."""
    vectors = vectors.astype(np.float64).reshape(len(vectors), -1)
    shift = vectors.mean(axis=0)
    std = math.sqrt(((vectors - shift) ** 2).mean())
    return tuple(shift.tolist()), (std / VECTOR_STD) or 1.0


def norms(scaling: Scaling, stored: Split | Num[np.ndarray, "n H W C"]) -> Float[np.ndarray, " n"]:
    """Computes the Euclidean norm of each example in network units."""
    found = []
    for first in range(0, len(stored), 1000):
        x = np.asarray(scaling.to_network(jnp.asarray(stored[first : first + 1000])))
        found.append(np.linalg.norm(x.reshape(len(x), -1).astype(np.float64), axis=1))
    return np.concatenate(found)


def mean_norm(scaling: Scaling, stored: Split | Num[np.ndarray, "n H W C"], most: int = 10_000) -> float:
    """Computes the mean Euclidean norm in network units of at most `most` evenly spaced examples."""
    return float(norms(scaling, stored[:: max(1, len(stored) // most)]).mean())


class DataStatistics:
    """Statistics of the data that methods may use, computed on first access.

    Attributes:
      shape: H, W, C.
    """

    def __init__(self, scaling: Scaling, split: Split):
        self._scaling, self._split = scaling, split
        height, width, channels = split.shape[1:]
        self.shape: tuple[int, int, int] = (height, width, channels)

    @property
    def mean_norm(self) -> float:
        """Returns the mean Euclidean norm of an example, in network units."""
        return self._mean_norm

    @property
    def largest_norm(self) -> float:
        """Returns a Euclidean norm that no example exceeds, in network units."""
        return self._largest_norm

    @functools.cached_property
    def _mean_norm(self) -> float:
        return mean_norm(self._scaling, self._split)

    @functools.cached_property
    def _largest_norm(self) -> float:
        scaling = self._scaling
        if scaling.levels:
            return math.sqrt(math.prod(self.shape)) * max(abs(scaling.low), abs(scaling.high))
        return float(norms(scaling, self._split).max())
