"""The Fréchet distance between Gaussians fitted to two sets of features."""

import numpy as np
from jaxtyping import Float, Num


def frechet_distance(a: Num[np.ndarray, "n d"], b: Num[np.ndarray, "m d"]) -> float:
    """|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½) in float64 (Heusel et al. 2017, equation 6).

    tr (Σ_a Σ_b)^½ is the sum of the singular values of Σ_a^½ Σ_b^½, which needs no square root of a matrix that is not
    symmetric and holds for covariances without full rank.

    Args:
      a, b: one row of features an example; at least 2 each.

    Raises:
      ValueError: a set has fewer than 2 rows, or the sets differ in their number of features.
    """
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"the sets have shapes {a.shape} and {b.shape}; give at least 2 rows each, of equal length")
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = (np.atleast_2d(np.cov(s, rowvar=False)) for s in (a, b))
    cross = np.linalg.svd(_root(cov_a) @ _root(cov_b), compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def _root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
