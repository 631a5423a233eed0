"""Computes all metrics of a set of samples."""

import logging

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.statistics import Statistics, check_finite
from pfgm_jax.registry import HELD_OUT_METRICS, METRICS, PAIRED_METRICS, VECTOR_METRICS

log = logging.getLogger("pfgm_jax")


def evaluate(
    samples: Features,
    reference: Statistics,
    held_out: Statistics | None = None,
    *,
    kid_subsets: int = 100,
    kid_subset_size: int = 1000,
    splits: int = 10,
    seed: int = 2020,
) -> dict[str, float]:
    """Computes every metric of `registry.METRICS` and `registry.HELD_OUT_METRICS`; the defaults are torch-fidelity's.

    Args:
      samples: features of the samples and, for the Inception score, logits.
      reference: statistics of the reference and, for all metrics but FID, its features.
      held_out: the same of images that were held out of training; None to leave out what is compared with them.
      kid_subsets, kid_subset_size: number and size of the subsets of the kernel distance; see `kernel_distance`.
      splits: number of splits of the Inception score, at most the number of samples.
      seed: seed of subsets and splits.

    Returns:
      `fid`; `kid` and its standard deviation over subsets `kid_std`; `inception_score` and its standard deviation over
      splits `inception_score_std`; `precision` and `recall` with 3 neighbours. With held-out images the distances to
      these, `fid_test` and `kid_test`, and `memorized` and `nearer_than_test`; see `held_out.Copying`.

    Raises:
      InputError: there are fewer than 2 samples, their features do not match the reference's, or some features are not
        finite.
    """
    features = samples.features
    count, dim = features.shape
    if count < 2:
        raise InputError(f"there are {count} samples, and a covariance needs at least 2; give more")
    check_dimension(dim, reference)
    check_finite(features, "sample")
    counts = [("samples", count, "FID"), ("reference images", reference.count, "FID")]
    if held_out is not None:
        check_dimension(dim, held_out)
        counts.append(("held-out images", held_out.count, "fid_test"))
    for what, n, distance in counts:
        if 0 < n <= dim:
            log.warning("%d %s are too few for the covariance of %d features: %s is too high", n, what, dim, distance)

    options = MetricOptions(kid_subsets, kid_subset_size, splits, seed)
    found: dict[str, float] = {}
    for name in METRICS:
        found |= METRICS[name](samples, reference, options)
    for name in HELD_OUT_METRICS if held_out is not None else ():
        found |= HELD_OUT_METRICS[name](samples, reference, held_out, options)
    return found


def evaluate_vectors(
    samples: Float[np.ndarray, "n *shape"], train: Float[np.ndarray, "m *shape"], test: Float[np.ndarray, "k *shape"]
) -> dict[str, float]:
    """Computes every metric of `registry.VECTOR_METRICS`.

    Args:
      samples: vectors of a model.
      train, test: what it learned from, and what was held out.

    Raises:
      InputError: some samples are not finite.
    """
    rows = [vectors.reshape(len(vectors), -1) for vectors in (samples, train, test)]
    check_finite(rows[0], "sample")
    found: dict[str, float] = {}
    for name in VECTOR_METRICS:
        found |= VECTOR_METRICS[name](*rows)
    return found


def evaluate_paired(
    images: Num[np.ndarray, "n H W C"], targets: Num[np.ndarray, "n H W C"], span: float
) -> dict[str, float]:
    """Computes every metric of `registry.PAIRED_METRICS`.

    Args:
      images: of a model.
      targets: what each should be.
      span: of the values of images, the highest less the lowest.
    """
    found: dict[str, float] = {}
    for name in PAIRED_METRICS:
        found |= PAIRED_METRICS[name](images, targets, span)
    return found


def check_dimension(dim: int, reference: Statistics) -> None:
    """Checks that a reference has as many features as samples.

    Raises:
      InputError: it has not.
    """
    if dim != len(reference.mean):
        raise InputError(
            f"the samples have {dim} features each and the reference {len(reference.mean)}: it has images of another "
            "size or number of channels, or other features; choose a matching reference"
        )
