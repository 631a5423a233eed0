"""A part of an image that is to be continued beyond its edges (outpainting)."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp

from pfgm_jax import ranges
from pfgm_jax.errors import FieldError
from pfgm_jax.restoration.operators.base import Images, Measured, Operator


@dataclasses.dataclass(frozen=True)
class Crop(Operator):
    """A rectangle of an image.

    Attributes:
      part: (top, left, height, width) of it in pixels; () for the middle half.
    """

    fields: ClassVar[Mapping[str, str]] = {"part": "restore.part"}
    keeps_values: ClassVar[bool] = True

    part: tuple[int, ...] = ()

    def __post_init__(self):
        check_rectangle("part", self.part, self.shape)

    @property
    def _part(self) -> tuple[int, ...]:
        height, width, _ = self.shape
        return self.part or (height // 4, width // 4, max(1, height // 2), max(1, width // 2))

    @property
    def measured_shape(self) -> tuple[int, ...]:
        """Height and width of the part, and C."""
        return (*self._part[2:], self.shape[2])

    def apply(self, x: Images) -> Measured:
        """Cuts the part out."""
        top, left, height, width = self._part
        return x[:, top : top + height, left : left + width]

    def transpose(self, y: Measured) -> Images:
        """Surrounds the part with zeros."""
        top, left, height, width = self._part
        below, right = self.shape[0] - top - height, self.shape[1] - left - width
        return jnp.pad(y, [(0, 0), (top, below), (left, right), (0, 0)])


def check_rectangle(name: str, rectangle: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    """Checks that a rectangle lies in images.

    Args:
      name: of the attribute, for the message.
      rectangle: (top, left, height, width), or ().
      shape: H, W, C of the images.

    Raises:
      FieldError: it does not.
    """
    whole = ranges.integers(rectangle) and len(rectangle) in (0, 4)
    if whole and len(rectangle) == 4:
        top, left, height, width = rectangle
        whole = min(top, left) >= 0 and min(height, width) >= 1
        whole = whole and top + height <= shape[0] and left + width <= shape[1]
    if not whole:
        cure = f"give (top, left, height, width) of a part of the images, which have {shape[0]} x {shape[1]} pixels"
        raise FieldError(name, rectangle, cure)
