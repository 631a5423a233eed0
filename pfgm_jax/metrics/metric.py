"""What a metric is."""

from typing import NamedTuple, Protocol, runtime_checkable

from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.statistics import Statistics


class MetricOptions(NamedTuple):
    """Options of metrics; the defaults are torch-fidelity's.

    Attributes:
      kid_subsets, kid_subset_size: of the kernel distance, see `kernel_distance`.
      splits: of the Inception score; as many as there are samples if that is less.
      seed: of subsets and splits.
    """

    kid_subsets: int = 100
    kid_subset_size: int = 1000
    splits: int = 10
    seed: int = 2020


@runtime_checkable
class Metric(Protocol):
    """Compares samples with a reference."""

    def __call__(self, samples: Features, reference: Statistics, options: MetricOptions) -> dict[str, float]:
        """Computes numbers, by their names; {} where they cannot be computed of these samples and this reference."""
        ...
