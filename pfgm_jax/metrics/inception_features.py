"""Computes features and logits of the Inception network."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from pfgm_jax import pictures
from pfgm_jax.errors import InputError
from pfgm_jax.metrics import inception
from pfgm_jax.metrics.features import ExtractorOptions, Features, check_images
from pfgm_jax.metrics.front_ends import preprocess
from pfgm_jax.metrics.weights import load_weights, obtain_weights
from pfgm_jax.registry import FRONT_ENDS


@dataclasses.dataclass(frozen=True)
class InceptionExtractor:
    """An `Extractor` of the Inception network's features and logits, `batch_size` images at a time.

    Attributes:
      params: parameters of `Inception`; see `weights`.
      weights: SHA-256 of the file that the parameters came from.
      front_end: see `front_ends`.
      levels: number of grey levels of the images, 0 .. levels - 1.
      window: see `ExtractorOptions`.
      batch_size: number of images per batch; the last batch is padded.
      place: moves a batch uint8 [batch_size, H, W, C] to the devices.
    """

    params: PyTree
    weights: str
    front_end: str = "tensorflow"
    levels: int = 256
    window: tuple[float, float] | None = None
    batch_size: int = 64
    place: Callable[[np.ndarray], Array] = jnp.asarray

    @property
    def record(self) -> dict[str, Any]:
        made = {"features": "inception", "front_end": self.front_end, "weights": self.weights}
        return {**made, "levels": self.levels, **({"window": list(self.window)} if self.window else {})}

    def __call__(self, images: np.ndarray) -> Features:
        if self.window:
            images = pictures.to_pixels(images, self.window)
        else:
            check_images(images, self.levels)
        if images.shape[-1] not in (1, 3):
            raise InputError(
                f"the images have {images.shape[-1]} channels, and Inception takes 1 (grey) or 3 (RGB); convert them"
            )
        if self.levels != 256 and not self.window:
            images = pictures.to_pixels(images, (0, self.levels - 1))
        features = np.empty((len(images), inception.FEATURES), np.float32)
        logits = np.empty((len(images), inception.CLASSES), np.float32)
        # While the devices compute a batch, the next one is sent to them and the last results are fetched.
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


def create(options: ExtractorOptions) -> InceptionExtractor:
    """Creates the extractor; see `features.create_extractor`."""
    if options.front_end not in FRONT_ENDS:
        raise InputError(f"the front end is {options.front_end!r}; choose one of {', '.join(FRONT_ENDS)}")
    params, digest = load_weights(options.weights or obtain_weights(options.directory))
    place, devices = jnp.asarray, options.devices
    if devices is not None:
        params, place = jax.device_put(params, devices.whole), lambda batch: jax.device_put(batch, devices.rows)
    made_with = options.front_end, options.levels, options.window
    return InceptionExtractor(params, digest, *made_with, options.batch_size, place)


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


# Compiled separately from the front end, so that all image sizes share it.
@jax.jit
def _network(params: PyTree, x: Float[Array, "B 299 299 3"]) -> inception.InceptionOutput:
    output = inception.Inception().apply({"params": params}, x)
    assert isinstance(output, inception.InceptionOutput)
    return output
