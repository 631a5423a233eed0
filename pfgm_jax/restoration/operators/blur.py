"""Blurred images: convolved with a kernel."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from pfgm_jax import ranges
from pfgm_jax.errors import FieldError
from pfgm_jax.folders import to_path
from pfgm_jax.restoration.operators.base import Images, Measured, Number, Operator
from pfgm_jax.restoration.operators.files import read_plane

KERNELS = ("gaussian", "motion")
# Frequencies of which a kernel lets less than this pass are taken for lost, in A too: nothing can bring them back.
LEAST = 1e-3
ANGLE = ranges.Range(math.isfinite, "give a number of degrees")
# A Gaussian is cut off at so many standard deviations; points a pixel of a line.
REACH, POINTS = 3, 64


@dataclasses.dataclass(frozen=True)
class Blur(Operator):
    """Convolution with a kernel of sum 1. Images are continued beyond each edge by what is at the opposite one.

    So the Fourier transform diagonalizes A.

    Attributes:
      kernel: 'gaussian', 'motion' (along a line), the file of one (a picture or an array), or its rows.
      extent: the standard deviation of 'gaussian', or the length of 'motion', in pixels.
      angle: of 'motion', in degrees from the horizontal, counter-clockwise.
    """

    fields: ClassVar[Mapping[str, str]] = {
        "kernel": "restore.kernel",
        "extent": "restore.extent",
        "angle": "restore.angle",
    }

    kernel: Any = "gaussian"
    extent: float = 1.0
    angle: float = 0.0

    def __post_init__(self):
        ranges.check(self, extent=ranges.above(0), angle=ANGLE)
        kernel = self.kernel
        if isinstance(kernel, str):
            if kernel in KERNELS:
                if self.extent > max(self.shape[:2]):
                    cure = f"the images have {self.shape[0]} x {self.shape[1]} pixels: give at most their longer side"
                    raise FieldError("extent", self.extent, cure)
                return
            kernel = read_plane(to_path(kernel, "kernel"), "kernel")
        try:
            rows = np.asarray(kernel, np.float64)
        except (ValueError, TypeError):
            rows = np.empty(0)
        if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all() or not 0 < rows.sum() < math.inf:
            cure = "give gaussian, motion, a file, or rows of finite numbers with a positive sum"
            raise FieldError("kernel", self.kernel, cure)
        # Tuples, so that operators can be compared.
        object.__setattr__(self, "kernel", tuple(map(tuple, (rows / rows.sum()).tolist())))
        self._check_size(rows.shape)

    def _check_size(self, size: tuple[int, ...]) -> None:
        height, width, _ = self.shape
        if size[0] > height or size[1] > width:
            name = self.kernel if isinstance(self.kernel, str) else f"{size[0]} x {size[1]} pixels"
            raise FieldError("kernel", name, f"it is larger than the images, which have {height} x {width}")

    def record(self) -> dict[str, str]:
        """Returns the hash of a kernel's rows."""
        return {} if isinstance(self.kernel, str) else {"kernel_hash": hashlib.sha256(self.rows.tobytes()).hexdigest()}

    @property
    def rows(self) -> Float[np.ndarray, "h w"]:
        """The kernel."""
        if not isinstance(self.kernel, str):
            return np.array(self.kernel)
        return gaussian(self.extent) if self.kernel == "gaussian" else line(self.extent, self.angle)

    @property
    def _transfer(self) -> np.ndarray:
        """What becomes of each frequency: complex [H, W/2+1]."""
        rows = self.rows
        height, width, _ = self.shape
        spread = np.zeros((height, width))
        # A kernel may reach around small images several times.
        y = (np.arange(rows.shape[0]) - rows.shape[0] // 2) % height
        x = (np.arange(rows.shape[1]) - rows.shape[1] // 2) % width
        np.add.at(spread, (y[:, None], x[None]), rows)
        found = np.fft.rfft2(spread)
        return np.where(np.abs(found) < LEAST, 0, found)

    def _filtered(self, x: Float[Array, "b H W C"], factor: Inexact[Array, "..."]) -> Float[Array, "b H W C"]:
        height, width, _ = self.shape
        return jnp.fft.irfft2(
            jnp.fft.rfft2(x, axes=(1, 2)) * factor.astype(jnp.complex64), s=(height, width), axes=(1, 2)
        ).astype(x.dtype)

    def apply(self, x: Images) -> Measured:
        """Blurs."""
        return self._filtered(x, jnp.asarray(self._transfer, jnp.complex64)[None, ..., None])

    def transpose(self, y: Measured) -> Images:
        """Blurs with the kernel turned by 180 degrees."""
        return self._filtered(y, jnp.asarray(self._transfer.conj(), jnp.complex64)[None, ..., None])

    def inverse(self, y: Measured, a: Number, b: Number) -> Measured:
        """Computes (a A Aᵀ + b)⁻¹ y of the frequencies that pass; see `Operator`."""
        squares = jnp.asarray(np.abs(self._transfer) ** 2, jnp.float32)[None, ..., None]
        whole = a * squares + b
        return self._filtered(y, jnp.where(squares > 0, 1 / jnp.where(squares > 0, whole, 1), 0))

    def picture(self, y: Measured) -> Images:
        """Returns the blurred images."""
        return y


def gaussian(std: float) -> Float[np.ndarray, "h w"]:
    """Returns a Gaussian kernel with a standard deviation in pixels."""
    reach = math.ceil(REACH * std)
    one = np.exp(-0.5 * (np.arange(-reach, reach + 1) / std) ** 2)
    both = np.outer(one, one)
    return both / both.sum()


def line(length: float, angle: float) -> Float[np.ndarray, "h w"]:
    """Returns the kernel of a motion: a line through the middle, each point shared out among the pixels around it."""
    reach = math.ceil(length / 2) + 1
    found = np.zeros((2 * reach + 1, 2 * reach + 1))
    along = (np.linspace(-0.5, 0.5, max(2, math.ceil(length * POINTS))) * length)[:, None]
    points = along * np.array([[-math.sin(math.radians(angle)), math.cos(math.radians(angle))]]) + reach
    low = np.floor(points).astype(int)
    share = points - low
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weights = np.abs(1 - dy - share[:, 0]) * np.abs(1 - dx - share[:, 1])
        np.add.at(found, (low[:, 0] + dy, low[:, 1] + dx), weights)
    return found / found.sum()
