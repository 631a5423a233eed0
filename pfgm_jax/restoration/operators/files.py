"""Masks and kernels in files: pictures, or arrays."""

from pathlib import Path

import numpy as np
from jaxtyping import Num

from pfgm_jax import reading
from pfgm_jax.datasets.images import BrokenImageError, Geometry, own_shape, read_image
from pfgm_jax.errors import FieldError, InputError


def read_plane(path: Path, field: str) -> Num[np.ndarray, "H W"]:
    """Reads the grey levels of a picture, or an array [H, W] from a .npy file.

    Args:
      path: of the file.
      field: that names it, for messages.

    Raises:
      FieldError: it cannot be read, or holds something else.
    """
    if not path.is_file():
        raise FieldError(field, str(path), "there is no such file: give the path of a picture or a .npy file")
    try:
        if path.suffix != ".npy":
            height, width, _ = own_shape(path)
            return read_image(path, Geometry(height, width, 1))[..., 0]
        found = reading.read_arrays(path, str(path), "save it again")
    except (BrokenImageError, InputError, OSError) as error:
        raise FieldError(field, str(path), f"it cannot be read ({error}): give a picture or a .npy file") from None
    array = np.empty(0) if isinstance(found, dict) else found
    if array.ndim == 2 and array.size and array.dtype.kind in "buif" and np.isfinite(array).all():
        return array
    raise FieldError(field, str(path), "give a file with one array [H, W] of finite numbers")
