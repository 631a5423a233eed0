"""The kernel distance between two sets of features; KID, if these are Inception's."""

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.statistics import Statistics


def kernel_distance(
    a: Num[np.ndarray, "n d"], b: Num[np.ndarray, "m _"], subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Estimates the squared maximum mean discrepancy of the kernel (x·y/d + 1)³ (Bińkowski et al. 2018, section 4).

    The estimate is unbiased. It is computed in float64 over random subsets, drawn without replacement in the same order
    and with the same generator as in torch-fidelity.

    Args:
      a, b: features, one row per example; the set to be judged comes first.
      subsets: number of subsets.
      subset_size: size of each subset, at most that of the smaller set.
      seed: seed of the subsets.

    Returns:
      Mean and standard deviation over subsets.

    Raises:
      InputError: a set has fewer than 2 rows, or the sets differ in their number of features.
    """
    size = min(subset_size, len(a), len(b))
    if size < 2 or a.shape[1:] != b.shape[1:]:
        raise InputError(f"the sets have shapes {a.shape} and {b.shape}; give at least 2 rows each, of equal length")
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x = a[random.choice(len(a), size, replace=False)].astype(np.float64)
        y = b[random.choice(len(b), size, replace=False)].astype(np.float64)
        within = sum((k.sum() - np.trace(k)) / (size * (size - 1)) for k in (_kernel(x, x), _kernel(y, y)))
        values.append(within - 2 * _kernel(x, y).mean())
    return float(np.mean(values)), float(np.std(values))


def _kernel(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    k = x @ y.T / x.shape[1] + 1
    return k * k * k  # many times faster than a power


def kid(samples: Features, reference: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes `kid` and its standard deviation over subsets `kid_std`; a `Metric`."""
    ours, theirs = samples.features, reference.features
    if theirs is None or min(len(ours), len(theirs)) < 2:
        return {}
    mean, std = kernel_distance(ours, theirs, options.kid_subsets, options.kid_subset_size, options.seed)
    return {"kid": mean, "kid_std": std}
