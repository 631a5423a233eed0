"""Improved precision and recall (Kynkäänniemi et al. 2019), which measure fidelity and coverage separately."""

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.statistics import Statistics

# Size of the neighbourhoods, as in the paper.
NEIGHBOURS = 3

_ROUNDING = 16 * np.finfo(np.float64).eps


def precision_recall(
    samples: Num[np.ndarray, "n d"], reference: Num[np.ndarray, "m _"], neighbours: int = 3, block: int = 2500
) -> tuple[float, float]:
    """Computes the share of samples in the reference's manifold, and of the reference in the samples' (section 2).

    The manifold of a set is the union of balls around its points, each reaching to the k-th nearest other point.
    Distances are computed in float64, `block` x `block` at a time.

    Args:
      samples, reference: features, one row per example.
      neighbours: k.
      block: number of rows of each set that are compared at a time; the result does not depend on it.

    Returns:
      Precision and recall.

    Raises:
      InputError: a set has fewer than k + 1 rows, or the sets differ in their number of features.
    """
    if min(len(samples), len(reference)) <= neighbours or samples.shape[1:] != reference.shape[1:]:
        raise InputError(
            f"the sets have shapes {samples.shape} and {reference.shape}; give at least {neighbours + 1} rows each, "
            "of equal length"
        )
    sample_radii, reference_radii = (_squared_radii(x, neighbours, block) for x in (samples, reference))
    precise, recalled = np.zeros(len(samples), bool), np.zeros(len(reference), bool)
    for rows in _blocks(len(samples), block):
        for columns in _blocks(len(reference), block):
            squared = _squared_distances(samples[rows], reference[columns])
            precise[rows] |= (squared <= reference_radii[columns]).any(axis=1)
            recalled[columns] |= (squared <= sample_radii[rows, None]).any(axis=0)
    return float(precise.mean()), float(recalled.mean())


def _squared_radii(x: Num[np.ndarray, "n d"], neighbours: int, block: int) -> Float[np.ndarray, " n"]:
    """Computes the squared distance of each point to its k-th nearest other point."""
    radii = np.empty(len(x))
    for rows in _blocks(len(x), block):
        # The nearest point is the point itself.
        nearest = np.full((len(x[rows]), neighbours + 1), np.inf)
        for columns in _blocks(len(x), block):
            candidates = np.concatenate([nearest, _squared_distances(x[rows], x[columns])], axis=1)
            nearest = np.partition(candidates, neighbours, axis=1)[:, : neighbours + 1]
        radii[rows] = nearest[:, neighbours]
    return radii


def nearest_distances(
    x: Num[np.ndarray, "n d"], reference: Num[np.ndarray, "m d"], block: int = 2500
) -> Float[np.ndarray, " n"]:
    """Computes the Euclidean distance of each row to the nearest row of a reference, in float64.

    Args:
      x, reference: features, one row per example.
      block: number of rows of each set that are compared at a time; the result does not depend on it.
    """
    squared = np.full(len(x), np.inf)
    for rows in _blocks(len(x), block):
        for columns in _blocks(len(reference), block):
            found = _squared_distances(x[rows], reference[columns]).min(axis=1)
            squared[rows] = np.minimum(squared[rows], found)
    return np.sqrt(squared)


def _blocks(count: int, block: int) -> list[slice]:
    return [slice(start, start + block) for start in range(0, count, block)]


def _squared_distances(x: Num[np.ndarray, "n d"], y: Num[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    x, y = x.astype(np.float64), y.astype(np.float64)
    norms = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)
    squared = norms - 2 * x @ y.T
    # Rounding leaves a remainder between equal points; without this, a ball of radius zero would miss them.
    return np.where(squared <= _ROUNDING * norms, 0, squared)


def precision_and_recall(samples: Features, reference: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes `precision` and `recall` with 3 neighbours; a `Metric`."""
    del options
    ours, theirs = samples.features, reference.features
    if theirs is None or min(len(ours), len(theirs)) <= NEIGHBOURS:
        return {}
    precision, recall = precision_recall(ours, theirs, NEIGHBOURS)
    return {"precision": precision, "recall": recall}
