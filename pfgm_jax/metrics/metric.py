"""The interface of metrics."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.statistics import Statistics


class MetricOptions(NamedTuple):
    """Options of metrics; the defaults are torch-fidelity's.

    Attributes:
      kid_subsets, kid_subset_size: number and size of the subsets of the kernel distance; see `kernel_distance`.
      splits: number of splits of the Inception score, at most the number of samples.
      seed: seed of subsets and splits.
    """

    kid_subsets: int = 100
    kid_subset_size: int = 1000
    splits: int = 10
    seed: int = 2020


@runtime_checkable
class Metric(Protocol):
    """A function that compares samples with a reference."""

    def __call__(self, samples: Features, reference: Statistics, options: MetricOptions) -> dict[str, float]:
        """Computes values by name; {} if they cannot be computed for these samples and this reference."""
        ...


@runtime_checkable
class HeldOutMetric(Protocol):
    """A function that compares samples with training images and with images that were held out."""

    def __call__(
        self, samples: Features, train: Statistics, test: Statistics, options: MetricOptions
    ) -> dict[str, float]:
        """Computes values by name; {} if they cannot be computed for these samples and statistics."""
        ...


@runtime_checkable
class VectorMetric(Protocol):
    """A function that compares vectors with training and held-out vectors."""

    def __call__(
        self, samples: Float[np.ndarray, "n N"], train: Float[np.ndarray, "m N"], test: Float[np.ndarray, "k N"]
    ) -> dict[str, float]:
        """Computes values by name."""
        ...


@runtime_checkable
class PairedMetric(Protocol):
    """A function that compares images with what each should be."""

    def __call__(
        self, images: Num[np.ndarray, "n H W C"], targets: Num[np.ndarray, "n H W C"], span: float
    ) -> dict[str, float]:
        """Computes values by name; {} if they cannot be computed of such images.

        Args:
          images: what is measured.
          targets: what each should be.
          span: of the values, the highest less the lowest.
        """
        ...
