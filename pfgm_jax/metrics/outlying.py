"""Samples that lie where no data do."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import spatial


def outliers(
    samples: Float[np.ndarray, "n N"], train: Float[np.ndarray, "m N"], test: Float[np.ndarray, "k N"]
) -> tuple[Bool[np.ndarray, " n"], float]:
    """Finds samples that are farther from the training data than every held-out vector is.

    Returns:
      Which samples are, and the distance of the farthest held-out vector from its nearest training vector.
    """
    tree = spatial.KDTree(train)
    limit = float(tree.query(test)[0].max())
    return np.asarray(tree.query(samples)[0] > limit), limit


def share_of_outliers(
    samples: Float[np.ndarray, "n N"], train: Float[np.ndarray, "m N"], test: Float[np.ndarray, "k N"]
) -> dict[str, float]:
    """Computes the share of samples farther from the training data than all held-out ones; a `VectorMetric`."""
    return {"outliers": float(outliers(samples, train, test)[0].mean())}
