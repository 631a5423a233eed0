"""Converts stored data to the units that networks work in, and back."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from pfgm_jax.datasets.split import Split, portions

# Standard deviation that real numbers are scaled to, about that of pixels in [-1, 1].
VECTOR_STD = 0.5
# Examples that statistics are computed from, evenly spaced.
MOST_EXAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The map between stored examples and network units.

    Attributes:
      levels: number of grey levels of images (integers lowest .. lowest + levels - 1); 0 for real numbers.
      low, high: the interval that grey levels are scaled to.
      dequantize: whether to add uniform noise of one level to each grey level, so that images have a density.
      flip: whether augmentation mirrors images left to right with probability ½.
      shift, scale: real numbers v are scaled to (v - shift) / scale, of one shift for each channel, and one scale for
        all or for each.
      lowest: the lowest grey level.
      dtype: of stored integers of 16 bits; '' for uint8, or what the grey levels need.
    """

    levels: int
    low: float = -1.0
    high: float = 1.0
    dequantize: bool = False
    flip: bool = False
    shift: tuple[float, ...] = ()
    scale: float | tuple[float, ...] = 1.0
    lowest: int = 0
    dtype: str = ""

    @property
    def _shift(self) -> Float[Array, "1 1 1 N"]:
        return jnp.array(self.shift, jnp.float32)[None, None, None]

    @property
    def _scale(self) -> float | Float[Array, "1 1 1 N"]:
        return jnp.array(self.scale, jnp.float32)[None, None, None] if isinstance(self.scale, tuple) else self.scale

    @property
    def stored_dtype(self) -> np.dtype:
        """The type of stored examples."""
        if not self.levels:
            return np.dtype(np.float32)
        if self.dtype:
            return np.dtype(self.dtype)
        if self.lowest < 0:
            return np.dtype(np.int16)
        return np.dtype(np.uint8 if self.lowest + self.levels <= 256 else np.uint16)

    def to_network(
        self, stored: Num[Array | np.ndarray, "b H W C"], noise: Float[Array, "b H W C"] | None = None
    ) -> Array:
        """Converts stored examples to network units.

        Args:
          stored: grey levels or real numbers.
          noise: position within each grey level, in [0, 1); None for the middle. Used if `dequantize` is True.
        """
        if not self.levels:
            return (jnp.asarray(stored, jnp.float32) - self._shift) / self._scale
        grey = jnp.asarray(stored).astype(jnp.float32) - self.lowest
        middle = 0.5 if noise is None else noise
        share = (grey + middle) / self.levels if self.dequantize else grey / (self.levels - 1)
        return self.low + (self.high - self.low) * share

    def to_stored(self, x: Float[Array | np.ndarray, "b H W C"]) -> Array:
        """Converts network units to stored form: the nearest grey level as an integer, or a float32 number."""
        if not self.levels:
            return jnp.asarray(x) * self._scale + self._shift.astype(x.dtype)
        grey = (x - self.low) / (self.high - self.low)
        grey = jnp.floor(grey * self.levels) if self.dequantize else jnp.round(grey * (self.levels - 1))
        return (jnp.clip(grey, 0, self.levels - 1) + self.lowest).astype(self.stored_dtype)

    @property
    def units(self) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " k"]]:
        """The zero and the unit of network units in those of stored data, one for all channels or for each."""
        if not self.levels:
            shift = np.array(self.shift or (0.0,), np.float32)
            return shift, np.array(self.scale, np.float32).reshape(-1)
        unit = (self.levels - (not self.dequantize)) / (self.high - self.low)
        zero = self.lowest - self.low * unit - 0.5 * self.dequantize
        return np.array([zero], np.float32), np.array([unit], np.float32)

    def augment(
        self, key: jax.Array, stored: Num[Array | np.ndarray, "b H W C"], index: Int[Array | np.ndarray, " b"]
    ) -> Array:
        """Converts training examples to network units, with random dequantization and flips if enabled.

        The result for an example depends only on the key and its index, not on the other examples in the batch.

        Args:
          key: random key of the step.
          stored: grey levels or real numbers.
          index: index of each example in its data set.
        """
        return self.dequantized(key, self.flipped(key, jnp.asarray(stored), index), index)

    def dequantized(
        self, key: jax.Array, flipped: Num[Array, "b H W C"], index: Int[Array | np.ndarray, " b"]
    ) -> Array:
        """Converts training examples that are mirrored already to network units; the second half of `augment`."""
        noise = None
        if self.levels and self.dequantize:
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(index))
            noise = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 0), flipped.shape[1:]))(keys)
            noise = self.flipped(key, noise, index)
        return self.to_network(flipped, noise)

    def flipped(
        self, key: jax.Array, x: Num[Array, "b H W C"], index: Int[Array | np.ndarray, " b"]
    ) -> Num[Array, "b H W C"]:
        """Mirrors what belongs to training examples as `augment` mirrors these; for the arguments see there."""
        if not self.flip or x.shape[2] == 1:
            return x
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(index))
        mirrored = jax.vmap(lambda k: jax.random.bernoulli(jax.random.fold_in(k, 1)))(keys)
        return jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)


def vector_scaling(vectors: Float[np.ndarray, "n 1 1 N"]) -> tuple[tuple[float, ...], float]:
    """Computes the shift and scale that give vectors mean 0 and standard deviation ½ over all components."""
    vectors = vectors.astype(np.float64).reshape(len(vectors), -1)
    shift = vectors.mean(axis=0)
    std = math.sqrt(((vectors - shift) ** 2).mean())
    return tuple(shift.tolist()), (std / VECTOR_STD) or 1.0


def channel_scaling(
    read: Callable[[slice], Num[np.ndarray, "k H W C"]], count: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Computes the shift and scale of each channel that give images mean 0 and standard deviation ½.

    Args:
      read: reads some of the images.
      count: of images; at most `MOST_EXAMPLES` of them, evenly spaced, are read.
    """
    sums: dict[str, Any] = {"pixels": 0, "first": 0.0, "second": 0.0}
    centre: Any = None
    for _, part in portions(read, count, max(1, count // MOST_EXAMPLES)):
        pixels = part.reshape(-1, part.shape[-1]).astype(np.float64)
        # About a value of the data, so that a large mean costs no digits of the deviation.
        centre = pixels.mean(axis=0) if centre is None else centre
        sums["pixels"] += len(pixels)
        sums["first"] += (pixels - centre).sum(axis=0)
        sums["second"] += ((pixels - centre) ** 2).sum(axis=0)
    first = sums["first"] / sums["pixels"]
    std = np.sqrt(np.maximum(sums["second"] / sums["pixels"] - first**2, 0.0))
    return tuple((centre + first).tolist()), tuple(np.where(std > 0, std / VECTOR_STD, 1.0).tolist())


def norms(
    scaling: Scaling, stored: Split | Num[np.ndarray, "n H W C"], most: int | None = None
) -> Float[np.ndarray, " n"]:
    """Computes the Euclidean norm in network units of each example, or of about `most` evenly spaced ones."""
    found = []
    for _, part in portions(stored.__getitem__, len(stored), max(1, len(stored) // (most or len(stored)))):
        x = np.asarray(scaling.to_network(jnp.asarray(part)))
        found.append(np.linalg.norm(x.reshape(len(x), -1).astype(np.float64), axis=1))
    return np.concatenate(found)


def mean_norm(scaling: Scaling, stored: Split | Num[np.ndarray, "n H W C"], most: int = MOST_EXAMPLES) -> float:
    """Computes the mean Euclidean norm in network units of about `most` evenly spaced examples."""
    return float(norms(scaling, stored, most).mean())


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
