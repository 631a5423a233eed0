"""Data sets by the name they have in `data.dataset`: random-access sources of images or vectors, in memory.

A source answers `source[indices]` with a NumPy array of that many examples: images as uint8 [k, H, W, C] with integer
grey levels, vectors of N numbers as float32 [k, 1, 1, N].
"""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn.datasets

from pfgm_jax.errors import InputError

# Of the user's own arrays, every 20th example is held out of training.
HOLD_OUT_EVERY = 20
# Sizes and seed of the 2-D sets, which are drawn once and for all.
PLANE_TRAIN, PLANE_TEST, PLANE_SEED = 20_000, 2_000, 0


class Dataset(NamedTuple):
    """A data set, split.

    Attributes:
      train, test: uint8 [n, H, W, C] or float32 [n, 1, 1, N].
      levels: number of grey levels of images; 0 for vectors.
    """

    train: np.ndarray
    test: np.ndarray
    levels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        h, w, c = self.train.shape[1:]
        return h, w, c


def _digits() -> Dataset:
    images = np.asarray(sklearn.datasets.load_digits(return_X_y=True)[0], np.uint8).reshape(-1, 8, 8, 1)
    order = np.random.RandomState(0).permutation(len(images))
    return Dataset(images[order[:1437]], images[order[1437:]], levels=17)


def _heart(rng: np.random.Generator, n: int) -> np.ndarray:
    t = rng.uniform(0, 2 * np.pi, n)
    outline = np.stack(
        [16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)], axis=1
    )
    return outline / 16 + rng.normal(0, 0.02, (n, 2))


def _two_moons(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.asarray(sklearn.datasets.make_moons(n, noise=0.05, random_state=int(rng.integers(2**31)))[0])


def _checkerboard(rng: np.random.Generator, n: int) -> np.ndarray:
    column, row = rng.integers(0, 4, n), rng.integers(0, 2, n)
    corner = np.stack([column, 2 * row + column % 2], axis=1)
    return (corner + rng.uniform(0, 1, (n, 2))) / 2 - 1


def _eight_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    angle = rng.integers(0, 8, n) * np.pi / 4
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(0, 0.05, (n, 2))


PLANE: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "heart": _heart,
    "two_moons": _two_moons,
    "checkerboard": _checkerboard,
    "eight_gaussians": _eight_gaussians,
}
NAMES = ("digits", *PLANE, "arrays:PATH")


def _plane(draw: Callable[[np.random.Generator, int], np.ndarray]) -> Dataset:
    points = draw(np.random.default_rng(PLANE_SEED), PLANE_TRAIN + PLANE_TEST).astype(np.float32)[:, None, None]
    return Dataset(points[:PLANE_TRAIN], points[PLANE_TRAIN:], levels=0)


def _read_array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content
            if len(content.files) == 1 and isinstance(array := content[content.files[0]], np.ndarray):
                return array
    except FileNotFoundError:
        raise InputError(f"data.dataset names {path}, and there is no such file; give the path of a .npy or .npz file")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"data.dataset names {path}, which cannot be read as .npy or .npz ({error}); save it anew")
    raise InputError(
        f"data.dataset names {path}, which holds the arrays {', '.join(content.files) or 'none'}; "
        "save a file with exactly one"
    )


def _arrays(path: Path) -> Dataset:
    array = _read_array(path)
    where = f"data.dataset names {path}, whose array has dtype {array.dtype} and shape {array.shape}"
    if array.size == 0 or len(array) < 2:
        raise InputError(f"{where}; at least 2 examples are needed, one to train on and one to hold out")
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
    held_out = np.arange(len(array)) % HOLD_OUT_EVERY == min(HOLD_OUT_EVERY, len(array)) - 1
    return Dataset(array[~held_out], array[held_out], levels)


def load_dataset(name: str) -> Dataset:
    """The data set of `data.dataset`.

    Args:
      name: 'digits', one of the 2-D sets, or 'arrays:PATH'.

    Returns:
      Its training and test examples. Of the user's own arrays every 20th example is the test split.

    Raises:
      InputError: the name is unknown, or the file is missing, unreadable, or not what an array of examples is.
    """
    if name == "digits":
        return _digits()
    if name in PLANE:
        return _plane(PLANE[name])
    if name.startswith("arrays:"):
        return _arrays(Path(name.removeprefix("arrays:")))
    raise InputError(f"data.dataset is {name!r}; choose one of {', '.join(NAMES)}")
