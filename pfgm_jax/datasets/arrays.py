"""Data sets from a user's own array."""

from pathlib import Path

import numpy as np

from pfgm_jax.datasets.source import Request
from pfgm_jax.datasets.split import Dataset, Split, hold_out
from pfgm_jax.errors import InputError, listed
from pfgm_jax.folders import to_path
from pfgm_jax.reading import read_arrays


def _read_array(path: Path, where: str) -> np.ndarray:
    try:
        content = read_arrays(path, f"{where}, which", "save it again")
    except FileNotFoundError:
        raise InputError(f"{where}, and there is no such file; give the path of a .npy or .npz file") from None
    if isinstance(content, np.ndarray):
        return content
    if len(content) != 1:
        raise InputError(f"{where}, which holds the arrays {listed(content)}; save a file with exactly one")
    return next(iter(content.values()))


def read_examples(path: Path, where: str, least: int = 1) -> tuple[np.ndarray, int]:
    """Reads the array of a .npy or .npz file: uint8 images [n, H, W, C], or float vectors [n, N].

    Args:
      path: of the file.
      where: says which field names it; begins the message.
      least: number of examples that are needed.

    Returns:
      uint8 [n, H, W, C] or float32 [n, 1, 1, N], and the number of grey levels, 0 for vectors.

    Raises:
      InputError: the file cannot be read, or does not hold exactly one such array.
    """
    array = _read_array(path, where)
    where = f"{where}, whose array has dtype {array.dtype.name} and shape {array.shape}"
    if array.size == 0 or array.ndim == 0 or len(array) < least:
        needed = "one example is" if least == 1 else "2 examples are"
        why = "" if least == 1 else ", one to train on and one to hold out"
        raise InputError(f"{where}; at least {needed} needed{why}")
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        array, levels = array.reshape(*array.shape[:3], -1), 256
        if not 1 <= array.shape[-1] <= 4:
            raise InputError(f"{where}; images have 1 to 4 channels, which come last")
    elif np.issubdtype(array.dtype, np.floating) and array.ndim == 2:
        with np.errstate(over="ignore"):
            array, levels = array.astype(np.float32)[:, None, None], 0
    else:
        raise InputError(f"{where}; give uint8 images [n, H, W, C] or float vectors [n, N]")
    if levels == 0 and not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2, 3)))
        raise InputError(
            f"{where}; {len(bad)} of its rows hold NaN, infinity or overflow float32, the first is row {bad[0]}"
        )
    return array, levels


def load(request: Request) -> Dataset:
    """Loads the array of a .npy or .npz file; see `read_examples`.

    Raises:
      InputError: the file cannot be read, or does not hold exactly one such array of at least 2 examples.
    """
    path = to_path(request.argument, "data.dataset")
    array, levels = read_examples(path, f"data.dataset names {path}", least=2)
    held_out = hold_out(len(array))
    return Dataset(Split(array[~held_out]), Split(array[held_out]), levels)
