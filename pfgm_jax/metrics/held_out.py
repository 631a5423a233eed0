"""Comparison with images that were held out of training, which tells whether samples are new or copies.

A model that repeats its training images has the smallest distance to them. So each distance to the training images is
reported beside that to held-out images, and for each sample the distance to its nearest training image is measured. If
the model has learned the distribution and not the images, these distances are no smaller than those of held-out images
(Meehan, Chaudhuri & Dasgupta 2020, "A non-parametric test to detect data-copying in generative models").
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.frechet import fid
from pfgm_jax.metrics.kernel import kid
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.neighbours import nearest_distances
from pfgm_jax.metrics.statistics import Statistics

# Beside fewer held-out examples, new ones would often pass for copies.
FEWEST = 50


class Copying(NamedTuple):
    """How much nearer to training examples samples are than held-out examples.

    Samples that are smoother or of less contrast than the data come nearer without being copies.

    Attributes:
      memorized: by how much the share of samples that have a training example within some distance exceeds the share of
        held-out examples that do, at the distance where this is most; the one-sided Kolmogorov-Smirnov statistic. 0 for
        the held-out examples, 1 for copies of training examples; for n new examples, with k that were held out, by
        chance up to about 1.2 √(1/n + 1/k).
      nearer: share of the samples that are nearer to a training example than the median held-out example is; about 1/2
        for examples that are new. Of those that are as near one half counts.
    """

    memorized: float
    nearer: float

    @classmethod
    def of_distances(cls, near: Float[np.ndarray, " n"], far: Float[np.ndarray, " k"]) -> "Copying":
        """Compares distances to the nearest training example: those of samples, and those of held-out examples."""
        near, far = np.sort(near), np.sort(far)
        share = lambda distances: np.searchsorted(distances, near, side="right") / len(distances)
        excess = float(np.max(share(near) - share(far)))
        median = np.median(far)
        return cls(max(0.0, excess), float(np.mean(near < median) + np.mean(near == median) / 2))


def copying(samples: Num[np.ndarray, "n d"], train: Num[np.ndarray, "m d"], test: Num[np.ndarray, "k d"]) -> Copying:
    """Computes how much nearer to training examples samples are than held-out examples.

    Args:
      samples: features of samples, one row per example.
      train, test: of all training examples, and of held-out examples.

    Raises:
      InputError: a set is empty, or the sets differ in their number of features.
    """
    shapes = samples.shape, train.shape, test.shape
    if not all(len(x) for x in (samples, train, test)) or len({shape[1:] for shape in shapes}) > 1:
        raise InputError(
            "samples, training and held-out examples have shapes {}, {} and {}; give at least one row each, of equal "
            "length".format(*shapes)
        )
    return Copying.of_distances(nearest_distances(samples, train), nearest_distances(test, train))


def distances(samples: Features, train: Statistics, test: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes the Fréchet distance `fid_test` and kernel distance `kid_test` to held-out images; a `HeldOutMetric`."""
    del train
    found = fid(samples, test, options) | kid(samples, test, options)
    return {f"{name}_test": found[name] for name in ("fid", "kid") if name in found}


def memorization(samples: Features, train: Statistics, test: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes `memorized` and `nearer_than_test`, see `Copying`; a `HeldOutMetric`.

    Copies are found only among all training images, so {} if not all features are kept, as of large data sets.
    """
    del options
    if train.features is None or test.features is None or train.count > len(train.features):
        return {}
    return _values(samples.features, train.features, test.features)


def memorization_of_vectors(
    samples: Float[np.ndarray, "n N"], train: Float[np.ndarray, "m N"], test: Float[np.ndarray, "k N"]
) -> dict[str, float]:
    """Computes `memorized` and `nearer_than_test`, see `Copying`; a `VectorMetric`."""
    return _values(samples, train, test)


def _values(
    samples: Num[np.ndarray, "n d"], train: Num[np.ndarray, "m d"], test: Num[np.ndarray, "k d"]
) -> dict[str, float]:
    if len(test) < FEWEST:
        return {}
    found = copying(samples, train, test)
    return {"memorized": found.memorized, "nearer_than_test": found.nearer}
