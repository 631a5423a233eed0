"""Pixels as features, for tiny images."""

import dataclasses
import math
from typing import Any

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
      window: see `ExtractorOptions`; values beyond it become features below 0 and above 1.
    """

    levels: int = 256
    window: tuple[float, float] | None = None

    @property
    def record(self) -> dict[str, Any]:
        return {"features": "pixels", "levels": self.levels, **({"window": list(self.window)} if self.window else {})}

    def __call__(self, images: np.ndarray) -> Features:
        if not self.window:
            check_images(images, self.levels)
        dim = math.prod(images.shape[1:])
        if dim > MOST_PIXELS:
            raise InputError(
                f"the images have {dim} numbers each, and pixels are features for at most {MOST_PIXELS}; choose the "
                "features 'inception' or 'efficientnet'"
            )
        low, high = self.window or (0.0, self.levels - 1.0)
        return Features((images.reshape(len(images), dim) - np.float64(low)) / (high - low), None)


def create(options: ExtractorOptions) -> PixelExtractor:
    """Creates the extractor; see `features.create_extractor`."""
    return PixelExtractor(options.levels, options.window)
