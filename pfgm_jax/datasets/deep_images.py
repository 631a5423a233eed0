"""Reads images of 16 bits and of real numbers without loss: TIFF by tifffile, PNG in grey by Pillow."""

import logging
import math
import os
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from pfgm_jax.datasets.images import BrokenImageError, Geometry, open_image, upright

TIFF = (".tif", ".tiff")
# Height and width, with channels first or last.
_AXES = ("YX", "YXS", "SYX")
# Of an image, so that a small file does not fill the memory.
MOST_NUMBERS = 1 << 29
# Of a directory of TIFF, which has a few dozen.
MOST_TAGS = 500
# It reports damages in lines of its own.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def read_deep_image(path: Path, geometry: Geometry) -> np.ndarray:
    """Returns the pixels of an image file, cropped and resized: uint16 [H, W, C] of 16 bits, float32 of 32.

    Of 16 bits, images of 8 are stretched to the same range. As real numbers, integers keep their values.

    Raises:
      BrokenImageError: the file cannot be read completely, has values or channels that are not asked for, or is smaller
        than the crop.
    """
    pixels = _pixels(path)
    kind = pixels.dtype.name
    if geometry.bits == 16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * 257
    if geometry.bits == 16 and pixels.dtype != np.uint16:
        raise BrokenImageError(f"its pixels are {kind}; read such images with data.bits=32")
    if pixels.shape[2] != geometry.channels:
        raise BrokenImageError(f"it has {pixels.shape[2]} channels, and not {geometry.channels}")
    left, top, right, bottom = geometry.box(*pixels.shape[:2])
    if left < 0 or top < 0:
        raise BrokenImageError(f"it has {pixels.shape[1]} x {pixels.shape[0]} pixels, fewer than are cropped from it")
    pixels = _resized(pixels[top:bottom, left:right], geometry)
    if not np.isfinite(pixels).all():
        raise BrokenImageError("it holds NaN, infinity, or numbers beyond float32")
    return pixels


def own_deep_shape(path: Path) -> tuple[int, int, int]:
    """Returns the height, width and number of channels of an image.

    Raises:
      BrokenImageError: it cannot be read as an image.
    """
    height, width, channels = _pixels(path).shape
    return height, width, channels


def _pixels(path: Path) -> np.ndarray:
    """Returns the pixels of an image, [H, W, C]."""
    if path.suffix.lower() not in TIFF:
        with open_image(path) as image:
            return _of_pillow(image)
    try:
        return _of_tiff(path)
    except BrokenImageError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        if "imagecodecs" not in str(error):
            raise BrokenImageError("its content is damaged") from None
    # Of compressions that tifffile leaves to another package Pillow reads some.
    with open_image(path) as image:
        return _of_pillow(image)


def _check_single(path: Path) -> None:
    """Checks that a TIFF file has one directory, and of a length as directories have: others may have no end."""
    with path.open("rb") as file:
        order = "little" if file.read(2) == b"II" else "big"
        number = lambda length: int.from_bytes(file.read(length), order)
        # Of TIFF, and of BigTIFF.
        wide = number(2) == 43
        if wide:
            file.seek(8)
        file.seek(number(8 if wide else 4))
        tags = number(8 if wide else 2)
        if not 0 < tags <= MOST_TAGS:
            raise BrokenImageError("its content is damaged")
        file.seek(tags * (20 if wide else 12), os.SEEK_CUR)
        if number(8 if wide else 4):
            raise BrokenImageError("it holds several pictures; save one a file, and channels as the last axis of one")


def _of_tiff(path: Path) -> np.ndarray:
    _check_single(path)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        axes, shape, kind = page.axes, page.shape, page.dtype
        if axes not in _AXES or len(axes) != len(shape):
            raise BrokenImageError(f"it is no single picture, but has the axes {axes} of {shape}; save channels last")
        if kind is None or kind.kind not in "uif":
            raise BrokenImageError(f"its pixels are {kind}, and not real numbers")
        if math.prod(shape) > MOST_NUMBERS:
            raise BrokenImageError(f"it has more than {MOST_NUMBERS:,} numbers; make it smaller")
        tags = page.tags
        if "ColorMap" in tags:
            raise BrokenImageError("its pixels are indices of a palette, whose values say nothing by themselves")
        if "Orientation" in tags and tags["Orientation"].value != 1:
            raise BrokenImageError("it is stored turned or mirrored; save it upright")
        pixels = np.asarray(page.asarray())
    if pixels.shape != shape:
        raise BrokenImageError("its content is damaged")
    if kind.kind in "ui" and kind.itemsize > 2 and pixels.size and np.abs(pixels.astype(np.float64)).max() > 2**24:
        raise BrokenImageError("its integers are larger than 2^24, from where on float32 has not all of them")
    return pixels[..., None] if axes == "YX" else pixels if axes == "YXS" else np.moveaxis(pixels, 0, -1)


def _of_pillow(image: Image.Image) -> np.ndarray:
    tiles = getattr(image, "tile", [])  # how the pixels are packed; gone once they are read
    packed = str(tiles[0][3]) if tiles else ""
    image = upright(image)
    if image.mode in ("RGB", "RGBA") and "16" in packed:
        raise BrokenImageError("its colours have 16 bits, which only TIFF is read with")
    pixels = np.asarray(image)
    if image.mode.startswith("I"):
        pixels = pixels.astype(np.uint16 if 0 <= pixels.min() <= pixels.max() < 65536 else np.int32)
    if image.mode not in ("L", "LA", "RGB", "RGBA", "F") and not image.mode.startswith("I"):
        raise BrokenImageError(f"its pixels are of the kind {image.mode}, whose values say nothing by themselves")
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _resized(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    with np.errstate(over="ignore"):
        if pixels.shape[:2] == (geometry.height, geometry.width):
            return pixels.astype(geometry.dtype)
        size = (geometry.width, geometry.height)
        resampling = Image.Resampling[geometry.filter.upper()]
        channels = [
            np.asarray(Image.fromarray(np.ascontiguousarray(channel, np.float32)).resize(size, resampling))
            for channel in np.moveaxis(pixels, -1, 0)
        ]
    found = np.stack(channels, axis=-1)
    return np.round(np.clip(found, 0, 65535)).astype(np.uint16) if geometry.bits == 16 else found
