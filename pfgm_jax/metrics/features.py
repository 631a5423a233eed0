"""From images to features: those of the Inception network, or the pixels themselves."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8
from tqdm import tqdm

from pfgm_jax import writers
from pfgm_jax.errors import InputError
from pfgm_jax.metrics import inception
from pfgm_jax.metrics.front_ends import FRONT_ENDS, preprocess
from pfgm_jax.metrics.weights import load_weights, obtain_weights

KINDS = ("inception", "pixels")
# A covariance of more takes gigabytes, and more images than there are.
MOST_PIXELS = 4096
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


@dataclasses.dataclass(frozen=True)
class PixelExtractor:
    """Pixels in [0, 1] as features, for tiny images.

    Attributes:
      levels: grey levels of the images, 0 .. levels - 1.
    """

    levels: int = 256

    @property
    def record(self) -> dict[str, str | int]:
        return {"features": "pixels", "levels": self.levels}

    def __call__(self, images: np.ndarray) -> Features:
        _check(images, self.levels)
        dim = math.prod(images.shape[1:])
        if dim > MOST_PIXELS:
            raise InputError(
                f"the images have {dim} numbers each, and pixels are features for at most {MOST_PIXELS}; choose the "
                "features 'inception'"
            )
        return Features(images.reshape(len(images), dim) / (self.levels - 1.0), None)


@dataclasses.dataclass(frozen=True)
class InceptionExtractor:
    """Features and logits of the Inception network, `batch_size` images at a time.

    To use several devices, give `place`, which puts a batch on them divided by its first axis, and replicate `params`:

        dataclasses.replace(extractor, params=jax.device_put(extractor.params, replicated),
                            place=lambda batch: jax.device_put(batch, by_batch))

    Attributes:
      params: of `Inception`, see `weights`.
      weights: SHA-256 of the file that they came from.
      front_end: see `front_ends`.
      levels: grey levels of the images, 0 .. levels - 1.
      batch_size: images that the network sees at a time; the last batch is padded.
      place: uint8 [batch_size, H, W, C] -> the same on the devices.
    """

    params: PyTree
    weights: str
    front_end: str = "tensorflow"
    levels: int = 256
    batch_size: int = 64
    place: Callable[[np.ndarray], Array] = jnp.asarray

    @property
    def record(self) -> dict[str, str | int]:
        made = {"features": "inception", "front_end": self.front_end, "weights": self.weights}
        return {**made, "levels": self.levels}

    def __call__(self, images: np.ndarray) -> Features:
        _check(images, self.levels)
        if images.shape[-1] not in (1, 3):
            raise InputError(
                f"the images have {images.shape[-1]} channels, and Inception takes 1 (grey) or 3 (RGB); convert them"
            )
        if self.levels != 256:
            images = writers.to_pixels(images, self.levels)
        features = np.empty((len(images), inception.FEATURES), np.float32)
        logits = np.empty((len(images), inception.CLASSES), np.float32)
        # While the devices compute a batch, the next is put on them and the one before is taken from them.
        ahead: tuple[slice, inception.InceptionOutput] | None = None
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            rows = slice(start, start + len(batch))
            padded = np.pad(batch, [(0, self.batch_size - len(batch)), (0, 0), (0, 0), (0, 0)])
            output = _network(self.params, _preprocess(self.place(padded), self.front_end))
            if ahead:
                _take(ahead, features, logits)
            ahead = rows, output
        if ahead:
            _take(ahead, features, logits)
        return Features(features, logits)


def create_extractor(
    kind: str,
    directory: Path,
    front_end: str = "tensorflow",
    weights: Path | None = None,
    levels: int = 256,
    batch_size: int = 64,
) -> Extractor:
    """The extractor of a name.

    Args:
      kind: one of `KINDS`.
      directory: of data sets; Inception's weights are downloaded there at the first call.
      front_end: one of `FRONT_ENDS`.
      weights: path of Inception's weights; None for the published ones.
      levels: grey levels of the images.
      batch_size: images that the Inception network sees at a time.

    Raises:
      InputError: there is no such kind or front end, or the weights cannot be had.
    """
    if kind not in KINDS:
        raise InputError(f"features are {kind!r}; choose one of {', '.join(KINDS)}")
    if front_end not in FRONT_ENDS:
        raise InputError(f"the front end is {front_end!r}; choose one of {', '.join(FRONT_ENDS)}")
    if kind == "pixels":
        return PixelExtractor(levels)
    params, digest = load_weights(weights or obtain_weights(directory))
    return InceptionExtractor(params, digest, front_end, levels, batch_size)


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


def _check(images: np.ndarray, levels: int) -> None:
    """Refuses what is not images with so many grey levels."""
    if images.dtype != np.uint8 or images.ndim != 4:
        unfit = "" if images.dtype.kind != "f" or np.isfinite(images).all() else ", with NaN or infinity among them"
        raise InputError(
            f"the images are {images.dtype} of shape {images.shape}{unfit}; give uint8 [n, H, W, C], grey levels from 0"
        )
    if (highest := images.max(initial=0)) >= levels:
        raise InputError(
            f"an image has a pixel of {highest}, and {levels} grey levels end at {levels - 1}; set the number of levels"
        )


def _take(
    ahead: tuple[slice, inception.InceptionOutput],
    features: Float[np.ndarray, "n 2048"],
    logits: Float[np.ndarray, "n 1008"],
) -> None:
    rows, output = ahead
    count = rows.stop - rows.start
    features[rows] = np.asarray(output.features)[:count]
    logits[rows] = np.asarray(output.unbiased_logits)[:count]


@functools.partial(jax.jit, static_argnames="front_end")
def _preprocess(images: UInt8[Array, "B H W C"], front_end: str) -> Float[Array, "B 299 299 3"]:
    return preprocess(images, front_end)


# Compiled apart from the front end, once for images of all sizes.
@jax.jit
def _network(params: PyTree, x: Float[Array, "B 299 299 3"]) -> inception.InceptionOutput:
    output = inception.Inception().apply({"params": params}, x)
    assert isinstance(output, inception.InceptionOutput)
    return output
