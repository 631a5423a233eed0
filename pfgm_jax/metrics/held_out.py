"""Comparison with images that were held out of training, which tells whether samples are new or copies.

A model that repeats its training images has the smallest distance to them. So each distance to the training images is
reported beside that to held-out images, and samples are asked how near their nearest training image is: no nearer, if
the model has learned the distribution and not the images, than that of images that were held out. Meehan, Chaudhuri and
Dasgupta 2020 ("A non-parametric test to detect data-copying in generative models") compare the same distances.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.frechet import fid
from pfgm_jax.metrics.kernel import kid
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.neighbours import nearest_distances
from pfgm_jax.metrics.statistics import Statistics


class Copying(NamedTuple):
    """How much nearer to training examples samples are than held-out examples.

    Attributes:
      memorized: by how much the share of samples that have a training example within a distance exceeds the share of
        held-out examples that do, at the distance where this is most; the one-sided Kolmogorov-Smirnov statistic. 0 for
        held-out examples, 1 for copies of training examples.
      nearer: share of the samples that are nearer to a training example than the median held-out example is; about 1/2
        for examples that are new.
    """

    memorized: float
    nearer: float


def copying(samples: Num[np.ndarray, "n d"], train: Num[np.ndarray, "m d"], test: Num[np.ndarray, "k d"]) -> Copying:
    """Computes how much nearer to training examples samples are than held-out examples.

    Args:
      samples: features of samples, one row per example.
      train, test: of training and held-out examples; at least one each.
    """
    near, far = (np.sort(nearest_distances(x, train)) for x in (samples, test))
    share = lambda distances: np.searchsorted(distances, near, side="right") / len(distances)
    excess = float(np.max(share(near) - share(far)))
    return Copying(max(0.0, excess), float(np.mean(near < np.median(far))))


def distances(samples: Features, train: Statistics, test: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes the Fréchet distance `fid_test` and kernel distance `kid_test` to held-out images; a `HeldOutMetric`."""
    del train
    found = fid(samples, test, options) | kid(samples, test, options)
    return {f"{name}_test": found[name] for name in ("fid", "kid") if name in found}


def memorization(samples: Features, train: Statistics, test: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes `memorized` and `nearer_than_test`, see `Copying`; a `HeldOutMetric`."""
    del options
    if train.features is None or test.features is None:
        return {}
    found = copying(samples.features, train.features, test.features)
    return {"memorized": found.memorized, "nearer_than_test": found.nearer}


def memorization_of_vectors(
    samples: Float[np.ndarray, "n N"], train: Float[np.ndarray, "m N"], test: Float[np.ndarray, "k N"]
) -> dict[str, float]:
    """Computes `memorized` and `nearer_than_test`, see `Copying`; a `VectorMetric`."""
    found = copying(samples, train, test)
    return {"memorized": found.memorized, "nearer_than_test": found.nearer}
