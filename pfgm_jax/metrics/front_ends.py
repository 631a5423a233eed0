"""Resizes images of any size for the Inception network, in the two ways used for published results.

`tensorflow`: as TensorFlow 1's ResizeBilinear, TF-GAN and torch-fidelity. Pixel i of the result lies at i · (old size /
new size) of the image, and v becomes (v - 128) / 128.

`pytorch-fid`: as that program. Pixels are squares, and the middle of pixel i of the result lies at
(i + ½) · (old size / new size) - ½; v becomes 2 v / 255 - 1.

Both interpolate between the four nearest pixels, even when they shrink an image, so both alias. Results of different
front ends are not comparable.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from pfgm_jax.metrics.inception import SIDE


def preprocess(images: UInt8[Array | np.ndarray, "B H W C"], front_end: str) -> Float[Array, "B 299 299 3"]:
    """Converts images to the network's input.

    Args:
      images: images with 3 channels, or with one, which is repeated.
      front_end: one of `registry.FRONT_ENDS`.
    """
    x = jnp.asarray(images).astype(jnp.float32)
    if front_end == "pytorch-fid":
        x = x / 255
    x = _interpolate(x, axis=2, half_pixels=front_end == "pytorch-fid")
    x = _interpolate(x, axis=1, half_pixels=front_end == "pytorch-fid")
    x = 2 * x - 1 if front_end == "pytorch-fid" else (x - 128) / 128
    return jnp.broadcast_to(x, (*x.shape[:3], 3))


def _interpolate(x: Float[Array, "B H W C"], axis: int, half_pixels: bool) -> Float[Array, "B H2 W2 C"]:
    below, above, share = _neighbours(x.shape[axis], half_pixels)
    shape = [1, 1, 1, 1]
    shape[axis] = SIDE
    low = jnp.take(x, below, axis)
    return low + (jnp.take(x, above, axis) - low) * share.reshape(shape)


def _neighbours(
    size: int, half_pixels: bool
) -> tuple[Int[np.ndarray, " S"], Int[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """Returns the two pixels of the image around each pixel of the result, and the weight of the second.

    Positions are rounded to float32, as in both programs: exact positions would change features by up to 5e-5.
    """
    offset = np.float32(0.5 if half_pixels else 0)
    step = np.float32(size) / np.float32(SIDE)
    position = np.maximum((np.arange(SIDE, dtype=np.float32) + offset) * step - offset, 0)
    below = np.floor(position).astype(np.int32)
    return below, np.minimum(below + 1, size - 1), position - below.astype(np.float32)
