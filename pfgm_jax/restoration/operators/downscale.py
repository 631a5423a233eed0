"""Images of fewer pixels: block means, or bicubic."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax import ranges
from pfgm_jax.errors import FieldError
from pfgm_jax.restoration.operators.base import Images, Measured, Number, Operator

FILTERS = ("area", "bicubic")
# Of the cubic convolution kernel, as programs have it that resize pictures (Keys 1981).
SHARPNESS = -0.5


@dataclasses.dataclass(frozen=True)
class Downscale(Operator):
    """Sides that are `factor` times as short.

    A = R ⊗ C, one matrix for the rows and one for the columns of an image. With R = U S Vᵀ and that of C, U ⊗ U
    diagonalizes A Aᵀ.

    Attributes:
      factor: an integer that divides both sides.
      filter: 'area', means of blocks; 'bicubic', without aliasing, as Pillow has it.
    """

    fields: ClassVar[Mapping[str, str]] = {"factor": "restore.factor", "filter": "restore.filter"}

    factor: int = 2
    filter: str = "area"

    def __post_init__(self):
        ranges.check(self, factor=ranges.at_least(2), filter=ranges.one_of(FILTERS))
        height, width, _ = self.shape
        if height % self.factor or width % self.factor:
            raise FieldError("factor", self.factor, f"it does not divide {height} x {width}, the size of the images")

    @property
    def measured_shape(self) -> tuple[int, ...]:
        """H / factor, W / factor, C."""
        height, width, channels = self.shape
        return height // self.factor, width // self.factor, channels

    def apply(self, x: Images) -> Measured:
        """Downscales."""
        return self._on_both_sides(x, *self._matrices)

    def transpose(self, y: Measured) -> Images:
        """Spreads each pixel over those that it was made of."""
        rows, columns = self._matrices
        return self._on_both_sides(y, rows.T, columns.T)

    def inverse(self, y: Measured, a: Number, b: Number) -> Measured:
        """Computes (a A Aᵀ + b)⁻¹ y; see `Operator`."""
        (of_rows, rows), (of_columns, columns) = (np.linalg.eigh(m @ m.T) for m in self._matrices)
        squares = jnp.asarray(of_rows[:, None] * of_columns, jnp.float32)[None, ..., None]
        turned = self._on_both_sides(y, rows.T, columns.T)
        return self._on_both_sides(turned / (a * squares + b), rows, columns)

    def picture(self, y: Measured) -> Images:
        """Repeats pixels."""
        return jnp.repeat(jnp.repeat(y, self.factor, axis=1), self.factor, axis=2)

    @property
    def _matrices(self) -> tuple[Float[np.ndarray, "h H"], Float[np.ndarray, "w W"]]:
        height, width, _ = self.shape
        return matrix(height, self.factor, self.filter), matrix(width, self.factor, self.filter)

    def _on_both_sides(
        self, x: Float[Array, "b H W C"], rows: Float[np.ndarray, "h H"], columns: Float[np.ndarray, "w W"]
    ) -> Float[Array, "b h w C"]:
        of = lambda m: jnp.asarray(m, x.dtype)
        return jnp.einsum("hH,bHWC,wW->bhwC", of(rows), x, of(columns), precision=jax.lax.Precision.HIGHEST)


@functools.cache
def matrix(size: int, factor: int, filter: str) -> Float[np.ndarray, "h H"]:
    """Returns the matrix that makes `size` pixels in a row `size / factor`; its rows have the sum 1."""
    if filter == "area":
        return np.kron(np.eye(size // factor), np.full((1, factor), 1 / factor))
    centres = (np.arange(size // factor)[:, None] + 0.5) * factor
    weights = cubic((np.arange(size) + 0.5 - centres) / factor)
    return weights / weights.sum(axis=1, keepdims=True)


def cubic(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Computes the cubic convolution kernel (Keys 1981), of support 2."""
    a, x = SHARPNESS, np.abs(x)
    inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
    outer = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))
