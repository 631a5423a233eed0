"""Halves and doubles images: by averaging and repetition, or with a finite impulse response (FIR) filter.

FIR resampling (Zhang 2019, "Making convolutional networks shift-invariant again") filters an image at its larger size,
so that neither direction aliases. Pixels outside the image count as zero.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def upsample(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C"]:
    """Doubles the size by repeating pixels."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def downsample(x: Float[Array, "B H W C"]) -> Float[Array, "B H/2 W/2 C"]:
    """Halves the size by averaging 2x2 pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def _filter(
    x: Float[Array, "B H W C"], kernel: Sequence[float], gain: float, pad: tuple[int, int], up: int = 1, down: int = 1
) -> Float[Array, "B H2 W2 C"]:
    """Spreads pixels by `up`, filters each axis with the kernel, and keeps every `down`-th pixel."""
    # The kernel is flipped, as in a true convolution. Sums of shifted images replace a depthwise convolution, which is
    # slow in XLA on CPUs.
    taps = math.sqrt(gain) * np.asarray(kernel, np.float64)[::-1] / sum(kernel)
    for axis in (1, 2):
        edges = [(0, 0, 0)] * 4
        # Spreading adds no zeros after the last pixel; the padding adds them.
        edges[axis] = (pad[0], pad[1] + up - 1, up - 1)
        padded = jax.lax.pad(x, jnp.zeros((), x.dtype), edges)
        end = padded.shape[axis] - len(taps) + 1
        shifted = [jax.lax.slice_in_dim(padded, k, k + end, down, axis) for k in range(len(taps))]
        x = jnp.asarray(sum(float(tap) * part for tap, part in zip(taps, shifted, strict=True)))
    return x


def fir_upsample(x: Float[Array, "B H W C"], kernel: Sequence[float]) -> Float[Array, "B 2*H 2*W C"]:
    """Doubles the size with a FIR filter; a constant image keeps its value away from the border."""
    extra = len(kernel) - 2
    return _filter(x, kernel, gain=4.0, pad=((extra + 1) // 2 + 1, extra // 2), up=2)


def fir_downsample(x: Float[Array, "B H W C"], kernel: Sequence[float]) -> Float[Array, "B H/2 W/2 C"]:
    """Halves the size with a FIR filter; a constant image keeps its value away from the border."""
    extra = len(kernel) - 2
    return _filter(x, kernel, gain=1.0, pad=((extra + 1) // 2, extra // 2), down=2)


def fir_blur_before_strided_convolution(
    x: Float[Array, "B H W C"], kernel: Sequence[float], size: int = 3
) -> Float[Array, "B H2 W2 C"]:
    """Filters and pads an image so that a convolution with this kernel size, stride 2 and no padding halves it."""
    extra = len(kernel) - 2 + size - 1
    return _filter(x, kernel, gain=1.0, pad=((extra + 1) // 2, extra // 2))


def fir_blur_after_transposed_convolution(
    x: Float[Array, "B H2 W2 C"], kernel: Sequence[float], size: int = 3
) -> Float[Array, "B H W C"]:
    """Filters the output of a transposed convolution with this kernel size and stride 2, to twice the image's size."""
    extra = len(kernel) - 2 - (size - 1)
    return _filter(x, kernel, gain=4.0, pad=((extra + 1) // 2 + 1, extra // 2 + 1))
