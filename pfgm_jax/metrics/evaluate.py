"""All metrics of a set of samples."""

import logging

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.statistics import Statistics, check_finite
from pfgm_jax.registry import METRICS

log = logging.getLogger("pfgm_jax")


def evaluate(
    samples: Features,
    reference: Statistics,
    *,
    kid_subsets: int = 100,
    kid_subset_size: int = 1000,
    splits: int = 10,
    seed: int = 2020,
) -> dict[str, float]:
    """Computes every metric of `registry.METRICS`; the defaults are torch-fidelity's.

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
    features = samples.features
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

    options = MetricOptions(kid_subsets, kid_subset_size, splits, seed)
    found: dict[str, float] = {}
    for name in METRICS:
        found |= METRICS[name](samples, reference, options)
    return found
