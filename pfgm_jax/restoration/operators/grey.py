"""Colour that was lost: each pixel is the weighted sum of its channels."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.errors import FieldError
from pfgm_jax.restoration.operators.base import Images, Measured, Operator

# Of red, green and blue, as in the pictures that programs turn grey (ITU-R BT.601).
LUMINANCE = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class Grey(Operator):
    """The luminance of three channels, or the mean of another number of them."""

    mixes_channels: ClassVar[bool] = True

    def __post_init__(self):
        if self.shape[2] < 2:
            raise FieldError("operator", "grey", "the images have one channel, and no colour to be restored")

    @property
    def measured_shape(self) -> tuple[int, ...]:
        """H, W, 1."""
        return (*self.shape[:2], 1)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the channels."""
        channels = self.shape[2]
        return LUMINANCE if channels == 3 else (1 / channels,) * channels

    @property
    def gain(self) -> float:
        """The sum of the squared weights."""
        return sum(weight**2 for weight in self.weights)

    def apply(self, x: Images) -> Measured:
        """Sums channels up."""
        return jnp.sum(x * self._weights(x), axis=-1, keepdims=True)

    def transpose(self, y: Measured) -> Images:
        """Gives each channel its weight."""
        return y * self._weights(y)

    def picture(self, y: Measured) -> Images:
        """Returns a grey picture."""
        return jnp.broadcast_to(y, (len(y), *self.shape))

    def _weights(self, like: Float[Array, "..."]) -> Float[Array, "1 1 1 C"]:
        return jnp.array(self.weights, like.dtype)[None, None, None]
