"""Reads images from a folder of pictures, or from an array in a .npz or .npy file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pfgm_jax import reading
from pfgm_jax.datasets.images import BrokenImageError, Geometry, is_picture, own_shape, read_image
from pfgm_jax.datasets.store import THREADS
from pfgm_jax.errors import InputError, listed

# Possible names of the array in a .npz file, in order of preference.
ARRAYS = ("samples", "images", "arr_0")


class PictureFolder:
    """The pictures in a folder and its subfolders, sorted by path and read when they are sliced.

    Attributes:
      shape: number of pictures, H, W, C; one channel if all are grey, else three, with transparency blended over white.
      files: path of each below the folder.
    """

    def __init__(self, root: Path):
        """Reads the header of each picture.

        Raises:
          InputError: there are no pictures, one cannot be read, or they differ in size.
        """
        paths = sorted(p for p in root.rglob("*") if is_picture(p) and p.is_file())
        self._paths = [p for p in paths if not any(part.startswith(".") for part in p.relative_to(root).parts)]
        if not self._paths:
            raise InputError(f"{root} holds no images (files such as .png and .jpg); name another folder")
        with ThreadPoolExecutor(THREADS) as pool:
            shapes = list(pool.map(self._own_shape, self._paths))
        height, width, _ = shapes[0]
        for path, shape in zip(self._paths, shapes, strict=True):
            if shape[:2] != (height, width):
                raise InputError(
                    f"{path} has {shape[0]} x {shape[1]} pixels, and {self._paths[0]} {height} x {width}; bring all "
                    "images to one size"
                )
        self._geometry = Geometry(height, width, 1 if all(shape[2] == 1 for shape in shapes) else 3)
        self.shape = (len(self._paths), *self._geometry.shape)
        self.files = tuple(path.relative_to(root).as_posix() for path in self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: slice) -> UInt8[np.ndarray, "k H W C"]:
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(self._read, self._paths[key]))
        return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)

    def _own_shape(self, path: Path) -> tuple[int, int, int]:
        try:
            return own_shape(path)
        except BrokenImageError as error:
            raise _broken(path, error) from None

    def _read(self, path: Path) -> UInt8[np.ndarray, "H W C"]:
        try:
            return read_image(path, self._geometry)
        except BrokenImageError as error:
            raise _broken(path, error) from None


def array_names(path: Path) -> list[str]:
    """Lists the names of the arrays in a .npz file.

    Raises:
      InputError: the file cannot be read.
    """
    return reading.array_names(path, str(path), "save it again")


def read_array(path: Path) -> UInt8[np.ndarray, "n H W C"]:
    """Reads images from a .npy file, or from the array `samples`, `images` or `arr_0` of a .npz file.

    Raises:
      InputError: the file cannot be read, or holds no such images.
    """
    content = _load(path)
    if isinstance(content, dict):
        name = next((name for name in ARRAYS if name in content), None)
        if name is None:
            raise InputError(f"{path} holds the arrays {listed(content)}; name one {' or '.join(ARRAYS)}")
        content = content[name]
    if content.ndim and content.dtype.kind == "f" and not (finite := np.isfinite(content)).all():
        bad = np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))
        raise InputError(
            f"{path} holds {len(bad)} images with NaN or infinity, first number {bad[0]}; give uint8 [n, H, W, C]"
        )
    if content.ndim == 3:
        content = content[..., None]
    if content.dtype != np.uint8 or content.ndim != 4 or content.shape[-1] not in (1, 3):
        raise InputError(
            f"{path} holds {content.dtype.name} of shape {content.shape}; give uint8 [n, H, W, C] with 1 or 3 channels"
        )
    return content


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        return reading.read_arrays(path, str(path), "save it again")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a .npy or .npz file") from None


def _broken(path: Path, error: BrokenImageError) -> InputError:
    return InputError(f"{path} cannot be read ({error}); save it again or remove it")
