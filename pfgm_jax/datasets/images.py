"""Reads image files as arrays. All reading, cropping and resizing of images happens here."""

import dataclasses
import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

# The formats that are read. All hold pixels; for others, such as EPS, Pillow would start programs.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA")
# Pillow refuses more than twice this. From here on it would warn, with a line of its source.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class BrokenImageError(Exception):
    """The reason why a file is not an image or cannot be read completely."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A crop about the centre, followed by resizing without aliasing, which gives images one size.

    Attributes:
      height, width: size of the result.
      channels: 1 (grey), 2 (grey and opacity), 3 (RGB) or 4 (RGB and opacity).
      crop: side of the square that is cropped first; None for the largest part with the result's aspect ratio.
      filter: resampling filter, 'bicubic' or 'bilinear'.
      bits: of a value: 8; 16, or 32 for real numbers, which `deep_images` reads.
    """

    height: int
    width: int
    channels: int
    crop: int | None = None
    filter: str = "bicubic"
    bits: int = 8

    @property
    def dtype(self) -> np.dtype:
        """The type of the pixels."""
        return np.dtype({8: np.uint8, 16: np.uint16, 32: np.float32}[self.bits])

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Returns the left, top, right and bottom of the part of an image that is kept."""
        if self.crop:
            h = w = self.crop
        elif height * self.width > width * self.height:
            h, w = max(1, round(width * self.height / self.width)), width
        else:
            h, w = height, max(1, round(height * self.width / self.height))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h

    def apply(self, image: Image.Image) -> UInt8[np.ndarray, "H W C"]:
        """Returns the pixels of an image, cropped and resized.

        Raises:
          BrokenImageError: the range of its pixel values is unknown, or it is smaller than the crop.
        """
        image = _with_channels(image, self.channels)
        box = self.box(image.height, image.width)
        if box[0] < 0 or box[1] < 0:
            raise BrokenImageError(f"it has {image.width} x {image.height} pixels, fewer than are cropped from it")
        if box != (0, 0, image.width, image.height):
            image = image.crop(box)
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling[self.filter.upper()])
        return np.asarray(image, np.uint8).reshape(self.shape)


def is_picture(path: Path) -> bool:
    """Says whether a file has a name of one of `FORMATS`."""
    return Image.registered_extensions().get(path.suffix.lower()) in FORMATS


def open_image(content: bytes | Path) -> Image.Image:
    """Opens an image and reads its header; of an animation, the first frame.

    Raises:
      BrokenImageError: Pillow cannot read it as an image.
    """
    try:
        return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS)
    except Exception as error:  # Pillow's plugins raise all kinds of exceptions
        raise BrokenImageError(_reason(error)) from None


def read_image(content: bytes | Path, geometry: Geometry) -> UInt8[np.ndarray, "H W C"]:
    """Returns the pixels of an image file, upright, cropped and resized.

    Raises:
      BrokenImageError: the file cannot be read completely, or `Geometry.apply` raises it.
    """
    with open_image(content) as image:
        return geometry.apply(upright(image))


def upright(image: Image.Image) -> Image.Image:
    """Returns an open image with all its pixels, turned as its camera was held.

    Raises:
      BrokenImageError: it cannot be read completely.
    """
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's plugins raise all kinds of exceptions
        raise BrokenImageError(_reason(error)) from None


def own_shape(content: bytes | Path) -> tuple[int, int, int]:
    """Returns the height and width of an upright image and the number of channels that it needs: 1, 3 or 4.

    Raises:
      BrokenImageError: Pillow cannot read it as an image.
    """
    with open_image(content) as image:
        try:
            turned = image.getexif().get(0x0112, 1) >= 5  # by 90 degrees
        except Exception as error:
            raise BrokenImageError(_reason(error)) from None
        width, height = image.size[::-1] if turned else image.size
        grey = image.mode in ("1", "L", "I") or image.mode.startswith("I;16")
        return height, width, 4 if _has_opacity(image) else 1 if grey else 3


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; make it smaller"
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image"
    # Of other kinds of errors the text is in words of Python.
    return " ".join(str(error).split()) if type(error) is OSError and str(error) else "its content is damaged"


def _has_opacity(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        # 16 bits. Pillow's own conversion would clip everything above 255.
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise BrokenImageError("its pixels have 32 bits, and their range is unknown")
        image = Image.fromarray(np.round(pixels / 257).astype(np.uint8))
    if image.mode == "F":
        raise BrokenImageError("its pixels are floating-point numbers, and their range is unknown")
    try:
        if _has_opacity(image) and channels in (1, 3):
            opaque = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque).convert("RGB")
        return image if image.mode == _MODES[channels] else image.convert(_MODES[channels])
    except ValueError as error:
        raise BrokenImageError(_reason(error)) from None
