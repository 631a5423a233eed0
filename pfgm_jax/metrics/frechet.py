"""The Fréchet distance between Gaussians fitted to two sets of features (FID, where these are Inception's).

|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½) in float64 (Heusel et al. 2017, equation 6). With Σ_a = AᵀA and Σ_b = BᵀB,
the trace of (Σ_a Σ_b)^½ is the sum of the singular values of A Bᵀ: this needs no square root of a matrix that is not
symmetric, and holds for covariances without full rank.
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
      factor: A with AᵀA = Σ, of any number of rows.
    """

    mean: Float[np.ndarray, " d"]
    factor: Float[np.ndarray, "r d"]

    @classmethod
    def of_features(cls, features: Num[np.ndarray, "n d"]) -> "Gaussian":
        """Fitted to features; no covariance is formed, so that rank and width do not matter."""
        x = features.astype(np.float64)
        mean = x.mean(axis=0)
        return cls(mean, np.asarray(np.linalg.qr((x - mean) / np.sqrt(len(x) - 1), mode="r")))

    @classmethod
    def of_moments(cls, mean: Float[np.ndarray, " d"], covariance: Float[np.ndarray, "d d"]) -> "Gaussian":
        """Of a mean and a covariance.

        A covariance without full rank has eigenvalues that are zero but for rounding. Their roots would not be
        negligible; they are left out.
        """
        values, vectors = np.linalg.eigh(covariance.astype(np.float64))
        kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
        return cls(mean.astype(np.float64), np.sqrt(values[kept])[:, None] * vectors[:, kept].T)

    def distance(self, other: "Gaussian") -> float:
        """The Fréchet distance."""
        cross = np.linalg.svd(self.factor @ other.factor.T, compute_uv=False).sum()
        spread = (self.factor**2).sum() + (other.factor**2).sum()
        # Between equal distributions, rounding can leave less than nothing.
        return max(0.0, float(((self.mean - other.mean) ** 2).sum() + spread - 2 * cross))


def frechet_distance(a: Num[np.ndarray, "n d"], b: Num[np.ndarray, "m _"]) -> float:
    """The distance between Gaussians fitted to features.

    Args:
      a, b: one row of features an example; at least 2 each.

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
    # Where features are few and all of them were kept, their own factor is the smaller and the more exact.
    if reference.features is not None and reference.count == len(reference.features) <= len(reference.mean):
        return Gaussian.of_features(reference.features)
    return Gaussian.of_moments(reference.mean, reference.covariance)
