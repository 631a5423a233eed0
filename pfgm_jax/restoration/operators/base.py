"""The interface of linear operators: what became of an image x that is to be restored, y = A x + noise.

Images [b, H, W, C] and what is measured of them, usually [b, h, w, c], are in network units.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Array, Float

from pfgm_jax.context import Context

Images = Float[Array, "b H W C"]
Measured = Float[Array, "b *measured"]
# A number for all, or what broadcasts over what is measured.
Number = float | Float[Array, "..."]


@dataclasses.dataclass(frozen=True)
class Operator(abc.ABC):
    """A linear operator A.

    Rules know it by A, Aᵀ and the inverse of a A Aᵀ + b, which `inverse` computes. Where A Aᵀ is the same multiple of
    the identity for all that can be measured, an operator has but to say which, by `gain`.

    Attributes:
      shape: H, W, C of the images.
    """

    # The config field of each attribute but `shape`.
    fields: ClassVar[Mapping[str, str]] = {}
    # Whether it is of images alone, and not of vectors.
    of_images: ClassVar[bool] = True
    # Whether each value of what is measured is one of the image, in its units; so that rounded ones are exact.
    keeps_values: ClassVar[bool] = False
    # Whether a value of what is measured is made of several channels.
    mixes_channels: ClassVar[bool] = False

    shape: tuple[int, int, int]

    @property
    def measured_shape(self) -> tuple[int, ...]:
        """The shape of what is measured of an image; by default its own."""
        return self.shape

    @property
    def gain(self) -> float:
        """The number of which A Aᵀ is the multiple; 1 unless an operator says otherwise."""
        return 1.0

    @abc.abstractmethod
    def apply(self, x: Images) -> Measured:
        """Computes A x."""

    @abc.abstractmethod
    def transpose(self, y: Measured) -> Images:
        """Computes Aᵀ y."""

    def inverse(self, y: Measured, a: Number, b: Number) -> Measured:
        """Computes (a A Aᵀ + b)⁻¹ y of what can be measured; where b is 0, its pseudo-inverse.

        Args:
          y: what is measured.
          a: not negative, positive where b is 0.
          b: not negative.
        """
        return y / (a * self.gain + b)

    def pseudo_inverse(self, y: Measured) -> Images:
        """Computes A⁺ y = Aᵀ (A Aᵀ)⁺ y, the shortest image of which y is measured."""
        return self.transpose(self.inverse(y, 1.0, 0.0))

    def picture(self, y: Measured) -> Images:
        """Returns an image that shows what was measured, as a start; by default A⁺ y."""
        return self.pseudo_inverse(y)

    def record(self) -> dict[str, str]:
        """Returns what decides the operator besides its fields, as the content of a file that these name."""
        return {}

    def of(self, context: Context) -> "Operator":
        """Returns the operator of some images, of which each may have been damaged otherwise."""
        del context
        return self
