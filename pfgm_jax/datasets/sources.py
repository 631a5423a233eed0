"""Data sets by the name they have in `data.dataset`."""

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pfgm_jax.datasets import prepared
from pfgm_jax.datasets.folder import load_folder
from pfgm_jax.datasets.split import Dataset, Split, hold_out
from pfgm_jax.errors import InputError

# Sizes and seed of the 2-D sets, which are drawn once and for all.
PLANE_TRAIN, PLANE_TEST, PLANE_SEED = 20_000, 2_000, 0


def _digits() -> Dataset:
    import sklearn.datasets  # takes seconds, and most data sets do without

    vectors, labels = sklearn.datasets.load_digits(return_X_y=True)
    images = np.asarray(vectors, np.uint8).reshape(-1, 8, 8, 1)
    order = np.random.RandomState(0).permutation(len(images))
    train, test = (Split(images[part], np.asarray(labels)[part]) for part in (order[:1437], order[1437:]))
    return Dataset(train, test, levels=17)


def _heart(rng: np.random.Generator, n: int) -> np.ndarray:
    t = rng.uniform(0, 2 * np.pi, n)
    outline = np.stack(
        [16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)], axis=1
    )
    return outline / 16 + rng.normal(0, 0.02, (n, 2))


def _two_moons(rng: np.random.Generator, n: int) -> np.ndarray:
    import sklearn.datasets

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
NAMES = ("digits", *PLANE, "arrays:PATH", "folder:PATH", *prepared.NAMES, "tfds:NAME")


def _plane(draw: Callable[[np.random.Generator, int], np.ndarray]) -> Dataset:
    points = draw(np.random.default_rng(PLANE_SEED), PLANE_TRAIN + PLANE_TEST).astype(np.float32)[:, None, None]
    return Dataset(Split(points[:PLANE_TRAIN]), Split(points[PLANE_TRAIN:]), levels=0)


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
    held_out = hold_out(len(array))
    return Dataset(Split(array[~held_out]), Split(array[held_out]), levels)


def data_dir(path: str = "") -> Path:
    """The folder of `data.dir`: what it says, else TFDS_DATA_DIR, else ~/.cache/pfgm_jax."""
    return Path(path or os.environ.get("TFDS_DATA_DIR") or "~/.cache/pfgm_jax").expanduser()


def load_dataset(
    name: str, image_size: int | tuple[int, int] = 0, num_channels: int = 0, directory: Path | None = None
) -> Dataset:
    """The data set of `data.dataset`.

    Args:
      name: 'digits', one of the 2-D sets, 'arrays:PATH', 'folder:PATH', 'cifar10', 'celeba', 'lsun_bedroom' or
        'tfds:NAME'.
      image_size: side of a square, or height and width, that images of files are brought to; 0 for their own.
      num_channels: of images of files; 0 for their own.
      directory: of prepared data sets and of the cache; by default `data_dir()`.

    Returns:
      Its training and test examples. Where there is no test split, it is every 20th example.

    Raises:
      InputError: the name is unknown, or the data are missing, unreadable, or not examples.
    """
    directory = directory or data_dir()
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    size = (height, width) if height else None
    kind, _, rest = name.partition(":")
    if name == "digits":
        return _digits()
    if name in PLANE:
        return _plane(PLANE[name])
    if kind == "arrays" and rest:
        return _arrays(Path(rest).expanduser())
    if kind == "folder" and rest:
        return load_folder(Path(rest).expanduser(), size, num_channels, directory / "cache")
    if name in prepared.NAMES or (kind == "tfds" and rest):
        return prepared.load_prepared(name, size, num_channels, directory)
    raise InputError(f"data.dataset is {name!r}; choose one of {', '.join(NAMES)}")
