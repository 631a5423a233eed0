"""Pixels that are missing: each image has a mask of those that are known."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from pfgm_jax import ranges
from pfgm_jax.context import Context
from pfgm_jax.errors import FieldError
from pfgm_jax.folders import to_path
from pfgm_jax.restoration.operators.base import Images, Measured, Operator
from pfgm_jax.restoration.operators.crop import check_rectangle
from pfgm_jax.restoration.operators.files import read_plane

# Grey levels from which on a mask's picture says that a pixel is known.
WHITE = 128


@dataclasses.dataclass(frozen=True)
class Inpaint(Operator):
    """Missing pixels are 0. The mask of each image, which is 1 where it is known, comes with its context.

    Attributes:
      mask: what is missing: the share of pixels, at random in each image; a rectangle (top, left, height, width); or
        the file of a mask, a picture that is white, or an array that is 1, where images are known.
      known: the mask of each image, in place of `mask`.
    """

    fields: ClassVar[Mapping[str, str]] = {"mask": "restore.mask"}
    keeps_values: ClassVar[bool] = True

    mask: Any = 0.5
    known: Bool[Array, "b H W 1"] | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self):
        mask = self.mask
        if ranges.is_number(mask):
            if not 0 < mask < 1:
                raise FieldError("mask", mask, "give the share of pixels that are missing, above 0 and below 1")
        elif isinstance(mask, bytes):
            return  # of a file that was read before
        elif isinstance(mask, tuple | list):
            object.__setattr__(self, "mask", tuple(mask))
            check_rectangle("mask", tuple(mask), self.shape)
            if not mask:
                raise FieldError("mask", mask, "give a share, (top, left, height, width) or a file")
        elif not isinstance(mask, str) or not mask:
            raise FieldError("mask", mask, "give a share, (top, left, height, width) or a file")
        else:
            # Bytes, so that operators can be compared.
            object.__setattr__(self, "mask", np.packbits(self._read(mask)).tobytes())

    def apply(self, x: Images) -> Measured:
        """Sets what is missing to 0."""
        return jnp.where(self._known, x, 0)

    def transpose(self, y: Measured) -> Images:
        """Sets what is missing to 0."""
        return self.apply(y)

    def of(self, context: Context) -> "Inpaint":
        """Returns the operator with the masks of some images."""
        if context.mask is None:
            raise ValueError("the context has no mask, of which an image is to be inpainted; give one of each image")
        return dataclasses.replace(self, known=jnp.asarray(context.mask).astype(bool))

    @property
    def _known(self) -> Bool[Array, "b H W 1"]:
        if self.known is None:
            raise ValueError("this operator has no masks yet; see `of`")
        return self.known

    def record(self) -> dict[str, str]:
        """Returns the hash of the mask, if it is a file's."""
        return {"mask_hash": hashlib.sha256(self.mask).hexdigest()} if isinstance(self.mask, bytes) else {}

    def _read(self, name: str) -> Bool[np.ndarray, "H W"]:
        path, (height, width, _) = to_path(name, "mask"), self.shape
        plane = read_plane(path, "mask")
        known = plane > 0 if path.suffix == ".npy" else plane >= WHITE
        if known.shape != (height, width):
            size = " x ".join(map(str, known.shape))
            raise FieldError("mask", name, f"it has {size} pixels, and the images {height} x {width}")
        if known.all() or not known.any():
            all_is = "known" if known.any() else "missing"
            raise FieldError("mask", name, f"all of it is {all_is}: give another mask")
        return known

    def draw_masks(self, seed: int, first: int, n: int) -> Bool[np.ndarray, "n H W 1"]:
        """Returns the masks of images number `first` to `first + n`; each depends on the seed and its number alone."""
        height, width, _ = self.shape
        if isinstance(self.mask, bytes):
            known = np.unpackbits(np.frombuffer(self.mask, np.uint8), count=height * width).astype(bool)
            return np.repeat(known.reshape(1, height, width, 1), n, axis=0)
        if isinstance(self.mask, tuple):
            top, left, tall, wide = self.mask
            known = np.ones((n, height, width, 1), bool)
            known[:, top : top + tall, left : left + wide] = False
            return known
        draw = lambda k: np.random.default_rng([seed, k, 1]).permutation(height * width)
        missing = round(self.mask * height * width)
        return np.stack([(draw(k) >= missing).reshape(height, width, 1) for k in range(first, first + n)])
