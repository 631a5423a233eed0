"""Geometric augmentation of which the network is told (Karras et al. 2022, arXiv:2206.00364, appendix F.2).

Images are flipped, scaled, turned, stretched and moved at random. The network is shown the numbers by which each was,
so that it learns the images of each transformation apart. Shown zeros it answers for images that were not transformed,
so that none of the transformations leaks into samples.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key

# Standard deviation of the logarithm to base 2 of scales, and of stretches; of shifts, in sides of the image.
LOG2_SCALE, SHIFT = 0.2, 0.125


class Transformation(NamedTuple):
    """The random numbers of the transformation of each image; zeros leave it as it is."""

    flip_x: Float[Array, " b"]  # 0 or 1: left to right
    flip_y: Float[Array, " b"]  # 0 or 1: upside down
    scale: Float[Array, " b"]  # N(0, 1): by 2^(0.2 of it)
    turn: Float[Array, " b"]  # U(-π, π)
    axis: Float[Array, " b"]  # U(-π, π): the direction that is stretched
    stretch: Float[Array, " b"]  # N(0, 1): by 2^(0.2 of it), and the other direction by the inverse
    shift_x: Float[Array, " b"]  # N(0, 1): by 1/8 of it
    shift_y: Float[Array, " b"]

    @property
    def numbers(self) -> Float[Array, "b 9"]:
        """What the network is shown."""
        turned = (jnp.cos(self.turn) - 1, jnp.sin(self.turn))
        stretched = (self.stretch * jnp.cos(self.axis), self.stretch * jnp.sin(self.axis))
        return jnp.stack(
            [self.flip_x, self.flip_y, self.scale, *turned, *stretched, self.shift_x, self.shift_y], axis=1
        )

    @property
    def inverse(self) -> Float[Array, "b 2 2"]:
        """The matrix from (x, y) in a transformed image to (x, y) in its original, about their centres."""
        flip = _diagonal(1 - 2 * self.flip_x, 1 - 2 * self.flip_y)
        scale = 2 ** (-LOG2_SCALE * self.scale)
        there = 2 ** (-LOG2_SCALE * self.stretch)
        along = _rotation(self.axis) @ _diagonal(there, 1 / there) @ _rotation(-self.axis)
        return flip @ (scale[:, None, None] * (_rotation(-self.turn) @ along))


def _rotation(angle: Float[Array, " b"]) -> Float[Array, "b 2 2"]:
    rows = [[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]]
    return jnp.moveaxis(jnp.array(rows), 2, 0)


def _diagonal(a: Float[Array, " b"], b: Float[Array, " b"]) -> Float[Array, "b 2 2"]:
    return jnp.moveaxis(jnp.array([[a, jnp.zeros_like(a)], [jnp.zeros_like(b), b]]), 2, 0)


def draw(keys: Key[Array, " b"], probability: float) -> Transformation:
    """Draws a transformation for each key: flips from left to right of half of all, each of the others with a share.

    Args:
      keys: of the images.
      probability: with which an image is flipped upside down (half of them), scaled, turned, stretched or moved.
    """

    def one(key: Key[Array, ""]) -> Transformation:
        bits, takes, normal, angles = jax.random.split(key, 4)
        flips = jax.random.bernoulli(bits, shape=(2,)).astype(jnp.float32)
        flips_y, scales, turns, stretches, shifts = jax.random.bernoulli(takes, probability, (5,)).astype(jnp.float32)
        scale, stretch, shift_x, shift_y = jax.random.normal(normal, (4,))
        turn, axis = jax.random.uniform(angles, (2,), minval=-math.pi, maxval=math.pi)
        return Transformation(
            flips[0], flips_y * flips[1], scales * scale, turns * turn, stretches * axis, stretches * stretch,
            shifts * shift_x, shifts * shift_y,
        )  # fmt: skip

    return jax.vmap(one)(keys)


def transformed(images: Float[Array, "b H W C"], by: Transformation) -> Float[Array, "b H W C"]:
    """Transforms images about their centres; between pixels values are interpolated, beyond the edges mirrored.

    An image that is only flipped keeps its values exactly.
    """
    height, width = images.shape[1:3]
    from_centre = lambda size: jnp.arange(float(size)) - (size - 1) / 2
    y, x = jnp.meshgrid(from_centre(height), from_centre(width), indexing="ij")
    moved = (
        x[None] - (SHIFT * width * by.shift_x)[:, None, None],
        y[None] - (SHIFT * height * by.shift_y)[:, None, None],
    )
    matrix = by.inverse[:, :, :, None, None]
    from_x = matrix[:, 0, 0] * moved[0] + matrix[:, 0, 1] * moved[1] + (width - 1) / 2
    from_y = matrix[:, 1, 0] * moved[0] + matrix[:, 1, 1] * moved[1] + (height - 1) / 2
    of_channel = lambda channel, y, x: map_coordinates(channel, [y, x], order=1, mode="mirror")
    of_image = jax.vmap(of_channel, in_axes=(2, None, None), out_axes=2)
    return jax.vmap(of_image)(images, from_y, from_x)
