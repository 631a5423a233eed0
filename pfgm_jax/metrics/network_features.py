"""Features of images by a network, in batches."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from pfgm_jax import pictures
from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import ExtractorOptions, Features, check_images


class Output(NamedTuple):
    """A network's output for a batch of images.

    Attributes:
      features: one row per image.
      unbiased_logits: logits of the classes, for the Inception score; None of other networks.
    """

    features: Float[Array, "B d"]
    unbiased_logits: Float[Array, "B c"] | None


@dataclasses.dataclass(frozen=True)
class NetworkExtractor(abc.ABC):
    """An `Extractor` of a network's features, `batch_size` images at a time.

    Attributes:
      name: name of the features.
      params: parameters of the network.
      weights: SHA-256 of the file that the parameters came from.
      levels: number of grey levels of the images, 0 .. levels - 1.
      window: see `ExtractorOptions`.
      batch_size: number of images per batch; the last batch is padded.
      place: moves a batch uint8 [batch_size, H, W, C] to the devices.
    """

    name: ClassVar[str]

    params: PyTree
    weights: str
    _: dataclasses.KW_ONLY
    levels: int = 256
    window: tuple[float, float] | None = None
    batch_size: int = 64
    place: Callable[[np.ndarray], Array] = jnp.asarray

    @abc.abstractmethod
    def output(self, images: UInt8[Array, "B H W C"]) -> Output:
        """Computes the network's output for a batch of grey or colour images of 256 levels."""

    @property
    def settings(self) -> dict[str, Any]:
        """Returns the settings of this kind of features, for the record."""
        return {}

    @property
    def record(self) -> dict[str, Any]:
        made = {"features": self.name, **self.settings, "weights": self.weights}
        return {**made, "levels": self.levels, **({"window": list(self.window)} if self.window else {})}

    def __call__(self, images: np.ndarray) -> Features:
        if self.window:
            images = pictures.to_pixels(images, self.window)
        else:
            check_images(images, self.levels)
        if images.shape[-1] not in (1, 3):
            raise InputError(
                f"the images have {images.shape[-1]} channels, and the network of the features {self.name!r} takes "
                "1 (grey) or 3 (RGB); convert them"
            )
        if self.levels != 256 and not self.window:
            images = pictures.to_pixels(images, (0, self.levels - 1))
        # While the devices compute a batch, the next one is sent to them and the last results are fetched.
        parts: list[Output] = []
        ahead: Output | None = None
        for start in range(0, max(1, len(images)), self.batch_size):
            batch = images[start : start + self.batch_size]
            padded = np.pad(batch, [(0, self.batch_size - len(batch)), (0, 0), (0, 0), (0, 0)])
            output = self.output(self.place(padded))
            if ahead is not None:
                parts.append(jax.device_get(ahead))
            ahead = output
        parts.append(jax.device_get(ahead))
        rows = lambda arrays: np.concatenate(arrays)[: len(images)]
        features, logits = zip(*parts, strict=True)
        return Features(rows(features), None if logits[0] is None else rows(logits))


def options_of_network(params: PyTree, options: ExtractorOptions) -> tuple[PyTree, dict[str, Any]]:
    """Returns the parameters, on the devices that the options name, and the options of a `NetworkExtractor`."""
    place, devices = jnp.asarray, options.devices
    if devices is not None:
        params, place = jax.device_put(params, devices.whole), lambda batch: jax.device_put(batch, devices.rows)
    names = ("levels", "window", "batch_size")
    return params, {**{name: getattr(options, name) for name in names}, "place": place}
