"""The Fréchet distance between Gaussians fitted to two sets of features; FID, if these are Inception's.

|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½) in float64 (Heusel et al. 2017, equation 6). With Σ_a = AᵀA and Σ_b = BᵀB,
the trace of (Σ_a Σ_b)^½ is the sum of the singular values of A Bᵀ. This avoids the square root of a non-symmetric
matrix and also holds for rank-deficient covariances.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.statistics import ROWS, Moments, Statistics


class Gaussian(NamedTuple):
    """A normal distribution.

    Attributes:
      mean: μ.
      factor: A with AᵀA = Σ and any number of rows.
    """

    mean: Float[np.ndarray, " d"]
    factor: Float[np.ndarray, "r d"]

    @classmethod
    def of_features(cls, features: Num[np.ndarray, "n d"]) -> "Gaussian":
        """Fits a Gaussian to features of any rank and width, without forming the covariance."""
        x = features.astype(np.float64)
        mean = x.mean(axis=0)
        return cls(mean, np.asarray(np.linalg.qr((x - mean) / np.sqrt(len(x) - 1), mode="r")))

    @classmethod
    def of_moments(cls, mean: Float[np.ndarray, " d"], covariance: Float[np.ndarray, "d d"]) -> "Gaussian":
        """Creates a Gaussian from a mean and a covariance.

        A rank-deficient covariance has eigenvalues that are zero up to rounding. Their square roots would not be
        negligible, so they are dropped.
        """
        values, vectors = np.linalg.eigh(covariance.astype(np.float64))
        kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
        return cls(mean.astype(np.float64), np.sqrt(values[kept])[:, None] * vectors[:, kept].T)

    def distance(self, other: "Gaussian") -> float:
        """Computes the Fréchet distance."""
        cross = np.linalg.svd(self.factor @ other.factor.T, compute_uv=False).sum()
        spread = (self.factor**2).sum() + (other.factor**2).sum()
        # For equal distributions, rounding can make the sum negative.
        return max(0.0, float(((self.mean - other.mean) ** 2).sum() + spread - 2 * cross))


def frechet_distance(a: Num[np.ndarray, "n d"], b: Num[np.ndarray, "m _"]) -> float:
    """Computes the Fréchet distance between Gaussians fitted to features.

    Args:
      a, b: features, one row per example; at least 2 rows each.

    Raises:
      InputError: a set has fewer than 2 rows, or the sets differ in their number of features.
    """
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise InputError(f"the sets have shapes {a.shape} and {b.shape}; give at least 2 rows each, of equal length")
    return Gaussian.of_features(a).distance(Gaussian.of_features(b))


def fid(samples: Features, reference: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes `fid`; a `Metric`."""
    del options
    return {"fid": _sample_gaussian(samples.features).distance(_reference_gaussian(reference))}


def _sample_gaussian(features: Num[np.ndarray, "n d"]) -> Gaussian:
    if len(features) <= features.shape[1]:
        return Gaussian.of_features(features)
    moments = Moments()
    for part in np.array_split(features, 1 + len(features) // ROWS):
        moments.add(part)
    return Gaussian.of_moments(moments.mean, moments.covariance)


def _reference_gaussian(reference: Statistics) -> Gaussian:
    # With few features, all of them kept, a factor of the features is smaller and more exact.
    if reference.features is not None and reference.count == len(reference.features) <= len(reference.mean):
        return Gaussian.of_features(reference.features)
    return Gaussian.of_moments(reference.mean, reference.covariance)
