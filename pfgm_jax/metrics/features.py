"""Features of images: the interface of extractors, and functions that run them over many images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from pfgm_jax.errors import InputError
from pfgm_jax.registry import FEATURES
from pfgm_jax.sharding import Devices

# Number of images decoded at a time.
CHUNK = 512


class Features(NamedTuple):
    """Features of images, one row per image.

    Attributes:
      features: float32 of a network, float64 for pixels.
      unbiased_logits: logits of Inception's classes, for the Inception score; None of other features.
    """

    features: Float[np.ndarray, "n d"]
    unbiased_logits: Float[np.ndarray, "n c"] | None


@runtime_checkable
class Images(Protocol):
    """Images uint8 [n, H, W, C]: an array, or an object that returns one when it is sliced."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> Any: ...


@runtime_checkable
class Extractor(Protocol):
    """A function that computes features of any number of images."""

    @property
    def record(self) -> dict[str, Any]:
        """Returns the settings that determine the features."""
        ...

    def __call__(self, images: np.ndarray) -> Features:
        """Computes features of images [n, H, W, C], uint8 unless there is a window.

        Raises:
          InputError: the images have a wrong type, shape or number of grey levels.
        """
        ...


class ExtractorOptions(NamedTuple):
    """Options of extractors.

    Attributes:
      directory: folder of data sets; published weights are downloaded there at the first call.
      levels: number of grey levels of the images, 0 .. levels - 1.
      window: values that are black and white, of images of more than 8 bits or of real numbers; None for the others.
      front_end: how images are resized for a network; see `front_ends`.
      weights: path of a network's weights; None for the published ones.
      batch_size: number of images per batch; a multiple of the number of devices.
      devices: devices that share the images of a batch; None for JAX's default.
    """

    directory: Path
    levels: int = 256
    window: tuple[float, float] | None = None
    front_end: str = "tensorflow"
    weights: Path | None = None
    batch_size: int = 64
    devices: Devices | None = None


def create_extractor(kind: str, options: ExtractorOptions) -> Extractor:
    """Creates the extractor with a given name.

    Args:
      kind: one of `registry.FEATURES`.
      options: options of the extractor.

    Raises:
      InputError: there is no such kind or front end, or the weights cannot be obtained.
    """
    return FEATURES[kind](options)


def feature_chunks(images: Images, extractor: Extractor, what: str) -> Iterator[Features]:
    """Computes features of images, `CHUNK` images at a time, with a progress bar.

    Args:
      images: any number of images.
      extractor: computes the features.
      what: description of the images, for the bar.
    """
    with tqdm(total=len(images), desc=f"features of {what}", unit="image", dynamic_ncols=True) as bar:
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            yield extractor(chunk)
            bar.update(len(chunk))


def extract(images: Images, extractor: Extractor, what: str = "samples") -> Features:
    """Computes features of all images; for the arguments see `feature_chunks`.

    Raises:
      InputError: there are no images, or the extractor does not accept them.
    """
    if not len(images):
        raise InputError(f"there are no {what}; give at least 2")
    features, logits = zip(*feature_chunks(images, extractor, what), strict=True)
    return Features(np.concatenate(features), None if logits[0] is None else np.concatenate(logits))


def check_images(images: np.ndarray, levels: int) -> None:
    """Checks that an array holds images with at most `levels` grey levels.

    Raises:
      InputError: a pixel is out of range, or the array is not uint8 [n, H, W, C].
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        unfit = "" if images.dtype.kind != "f" or np.isfinite(images).all() else ", with NaN or infinity among them"
        raise InputError(
            f"the images are {images.dtype} of shape {images.shape}{unfit}; give uint8 [n, H, W, C], grey levels from 0"
        )
    if (highest := images.max(initial=0)) >= levels:
        raise InputError(
            f"an image has a pixel of {highest}, and {levels} grey levels end at {levels - 1}; set the number of levels"
        )
