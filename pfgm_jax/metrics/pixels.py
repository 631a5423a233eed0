"""Pixels as features, for tiny images."""

import dataclasses
import math

import numpy as np

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import ExtractorOptions, Features, check_images

# Covariances of more pixels would take gigabytes, and more images than data sets have.
MOST_PIXELS = 4096


@dataclasses.dataclass(frozen=True)
class PixelExtractor:
    """An `Extractor` that uses pixels in [0, 1] as features, for tiny images.

    Attributes:
      levels: number of grey levels of the images, 0 .. levels - 1.
    """

    levels: int = 256

    @property
    def record(self) -> dict[str, str | int]:
        return {"features": "pixels", "levels": self.levels}

    def __call__(self, images: np.ndarray) -> Features:
        check_images(images, self.levels)
        dim = math.prod(images.shape[1:])
        if dim > MOST_PIXELS:
            raise InputError(
                f"the images have {dim} numbers each, and pixels are features for at most {MOST_PIXELS}; choose the "
                "features 'inception'"
            )
        return Features(images.reshape(len(images), dim) / (self.levels - 1.0), None)


def create(options: ExtractorOptions) -> PixelExtractor:
    """Creates the extractor; see `features.create_extractor`."""
    return PixelExtractor(options.levels)
