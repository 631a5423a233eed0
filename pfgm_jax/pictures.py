"""Converts images to pictures: pixels, PNG files, grids."""

import math

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

from pfgm_jax.folders import Folder

# Of a grid of samples; of one with a class in each row; and its background.
GRID_IMAGES = 64
GRID_CLASSES, CLASS_IMAGES = 16, 8
GREY = 128


def to_pixels(images: Num[np.ndarray, "n H W C"], window: tuple[float, float]) -> UInt8[np.ndarray, "n H W V"]:
    """Scales values to 0 .. 255; of images that are no pictures, it takes the first channel.

    Args:
      images: of any channels; 1 are grey, 3 are RGB, and a second or fourth of uint8 is opacity.
      window: the values that become black and white; what lies beyond is clipped.
    """
    channels = images.shape[-1]
    if channels not in ((1, 2, 3, 4) if images.dtype == np.uint8 else (1, 3)):
        images = images[..., :1]
    low, high = window
    return np.round(np.clip((images - np.float64(low)) * (255.0 / (high - low)), 0, 255)).astype(np.uint8)


def to_picture(pixels: UInt8[np.ndarray, "H W C"]) -> Image.Image:
    """Creates a picture with 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def save_picture(path: Folder, pixels: UInt8[np.ndarray, "H W C"]) -> None:
    """Writes a picture as a PNG file."""
    with path.open("wb") as file:
        to_picture(pixels).save(file, format="PNG")


def class_grid(images: UInt8[np.ndarray, "n H W C"], labels: Num[np.ndarray, " n"]) -> UInt8[np.ndarray, "H2 W2 C"]:
    """Arranges images in a grid with one class a row, of at most `GRID_CLASSES`, and the first images of each."""
    rows = []
    for label in np.unique(labels)[:GRID_CLASSES]:
        row = images[labels == label][:CLASS_IMAGES]
        rows.append(np.pad(row, [(0, CLASS_IMAGES - len(row)), (0, 0), (0, 0), (0, 0)], constant_values=GREY))
    return image_grid(np.concatenate(rows), columns=CLASS_IMAGES)


def image_grid(
    images: UInt8[np.ndarray, "n H W C"], shortest: int = 32, gap: int = 4, columns: int = 0
) -> UInt8[np.ndarray, "H2 W2 C"]:
    """Arranges images in a grid on a grey background.

    Args:
      images: 8-bit pixels.
      shortest: each image is enlarged, pixel by pixel, until its shorter side has at least this length.
      gap: number of pixels around each image.
      columns: number of columns; 0 for a grid that is nearly square.
    """
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    zoom = max(1, math.ceil(shortest / min(h, w)))
    images = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    framed = np.pad(images, [(0, 0), (gap, 0), (gap, 0), (0, 0)], constant_values=GREY)
    cells = np.full((rows * columns, *framed.shape[1:]), GREY, np.uint8)
    cells[:n] = framed
    grid = cells.reshape(rows, columns, *framed.shape[1:]).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(rows * framed.shape[1], columns * framed.shape[2], c)
    return np.pad(grid, [(0, gap), (0, gap), (0, 0)], constant_values=GREY)
