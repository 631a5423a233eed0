"""Noise alone: A is the identity."""

import dataclasses
from typing import ClassVar

from pfgm_jax.restoration.operators.base import Images, Measured, Operator


@dataclasses.dataclass(frozen=True)
class Denoise(Operator):
    """The identity."""

    of_images: ClassVar[bool] = False
    keeps_values: ClassVar[bool] = True

    def apply(self, x: Images) -> Measured:
        """Returns the images."""
        return x

    def transpose(self, y: Measured) -> Images:
        """Returns the images."""
        return y
