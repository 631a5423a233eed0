"""All metrics of a set of samples."""

import logging

import numpy as np
from jaxtyping import Num

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.frechet import Gaussian
from pfgm_jax.metrics.kernel import kernel_distance
from pfgm_jax.metrics.neighbours import precision_recall
from pfgm_jax.metrics.score import inception_score
from pfgm_jax.metrics.statistics import ROWS, Moments, Statistics, check_finite

log = logging.getLogger("pfgm_jax")

NEIGHBOURS = 3


def evaluate(
    samples: Features,
    reference: Statistics,
    *,
    kid_subsets: int = 100,
    kid_subset_size: int = 1000,
    splits: int = 10,
    seed: int = 2020,
) -> dict[str, float]:
    """What can be said of samples beside a reference; the defaults are torch-fidelity's.

    Args:
      samples: their features and, for the Inception score, logits.
      reference: statistics of the reference and, for the other metrics than FID, its features.
      kid_subsets, kid_subset_size: of the kernel distance, see `kernel_distance`.
      splits: of the Inception score; as many as there are samples if that is less.
      seed: of subsets and splits.

    Returns:
      `fid`; `kid` and `kid_std`, its standard deviation over subsets; `inception_score` and `inception_score_std`, over
      splits; `precision` and `recall`, of 3 neighbours.

    Raises:
      InputError: there are fewer than 2 samples, their features are of another kind than the reference's, or some are
        not finite.
    """
    features, logits = samples
    count, dim = features.shape
    if count < 2:
        raise InputError(f"there are {count} samples, and a covariance needs at least 2; give more")
    if dim != len(reference.mean):
        raise InputError(
            f"the samples have {dim} features each and the reference {len(reference.mean)}: it is of images of another "
            "size or number of channels, or of other features; choose its match"
        )
    check_finite(features, "sample")
    for what, n in (("samples", count), ("reference images", reference.count)):
        if 0 < n <= dim:
            log.warning("%d %s are too few for the covariance of %d features: FID is too high", n, what, dim)

    result = {"fid": _sample_gaussian(features).distance(_reference_gaussian(reference))}
    if reference.features is not None and min(count, len(reference.features)) >= 2:
        result["kid"], result["kid_std"] = kernel_distance(
            features, reference.features, kid_subsets, kid_subset_size, seed
        )
    if logits is not None:
        result["inception_score"], result["inception_score_std"] = inception_score(logits, min(splits, count), seed)
    if reference.features is not None and min(count, len(reference.features)) > NEIGHBOURS:
        result["precision"], result["recall"] = precision_recall(features, reference.features, NEIGHBOURS)
    return result


def _sample_gaussian(features: Num[np.ndarray, "n d"]) -> Gaussian:
    if len(features) <= features.shape[1]:
        return Gaussian.of_features(features)
    moments = Moments()
    for part in np.array_split(features, 1 + len(features) // ROWS):
        moments.add(part)
    return Gaussian.of_moments(moments.mean, moments.covariance)


def _reference_gaussian(reference: Statistics) -> Gaussian:
    # Where features are few and all of them were kept, their own factor is the smaller and the more exact.
    if reference.features is not None and reference.count == len(reference.features) <= len(reference.mean):
        return Gaussian.of_features(reference.features)
    return Gaussian.of_moments(reference.mean, reference.covariance)
