"""From images to features: what an extractor is, and how it is run over many images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from pfgm_jax.errors import InputError
from pfgm_jax.registry import FEATURES
from pfgm_jax.sharding import Devices

# Images that are decoded at a time.
CHUNK = 512


class Features(NamedTuple):
    """Features of images, one row an image.

    Attributes:
      features: float32 of Inception, float64 of pixels.
      unbiased_logits: of Inception's classes, for the Inception score; None for pixels.
    """

    features: Float[np.ndarray, "n d"]
    unbiased_logits: Float[np.ndarray, "n c"] | None


@runtime_checkable
class Images(Protocol):
    """Images uint8 [n, H, W, C]: an array, or what gives one when it is sliced."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> Any: ...


@runtime_checkable
class Extractor(Protocol):
    """Makes features of images; any number of them."""

    @property
    def record(self) -> dict[str, str | int]:
        """What makes its features different from others'."""
        ...

    def __call__(self, images: np.ndarray) -> Features:
        """Features of images uint8 [n, H, W, C].

        Raises:
          InputError: the images are not what it takes.
        """
        ...


class ExtractorOptions(NamedTuple):
    """What an extractor is made with.

    Attributes:
      directory: of data sets; published weights are downloaded there at the first call.
      levels: grey levels of the images, 0 .. levels - 1.
      front_end: how images come to the size of a network, see `front_ends`.
      weights: path of a network's weights; None for the published ones.
      batch_size: images that a network sees at a time; a multiple of the number of devices.
      devices: that share the images of a batch; None for JAX's default.
    """

    directory: Path
    levels: int = 256
    front_end: str = "tensorflow"
    weights: Path | None = None
    batch_size: int = 64
    devices: Devices | None = None


def create_extractor(kind: str, options: ExtractorOptions) -> Extractor:
    """Creates the extractor of a name.

    Args:
      kind: one of `registry.FEATURES`.
      options: what it is made with.

    Raises:
      InputError: there is no such kind or front end, or the weights cannot be had.
    """
    return FEATURES[kind](options)


def feature_chunks(images: Images, extractor: Extractor, what: str) -> Iterator[Features]:
    """Features of images, `CHUNK` of them at a time, with a progress bar.

    Args:
      images: any number.
      extractor: of the features.
      what: they are, for the bar.
    """
    with tqdm(total=len(images), desc=f"features of {what}", unit="image", dynamic_ncols=True) as bar:
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            yield extractor(chunk)
            bar.update(len(chunk))


def extract(images: Images, extractor: Extractor, what: str = "samples") -> Features:
    """Features of all images; arguments as those of `feature_chunks`.

    Raises:
      InputError: there are no images, or they are not what the extractor takes.
    """
    if not len(images):
        raise InputError(f"there are no {what}; give at least 2")
    features, logits = zip(*feature_chunks(images, extractor, what), strict=True)
    return Features(np.concatenate(features), None if logits[0] is None else np.concatenate(logits))


def check_images(images: np.ndarray, levels: int) -> None:
    """Checks that images have so many grey levels.

    Raises:
      InputError: they are not, or they are not images.
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
