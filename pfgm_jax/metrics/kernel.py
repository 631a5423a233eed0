"""The kernel distance between two sets of features; KID, if these are Inception's."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.statistics import Statistics

# Numbers in a kernel of all rows of two sets that is computed at once, 256 MB.
LARGEST = 1 << 25


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
    of_a, of_b, of_both = (_kernel_of_rows(*sets, subsets * size**2) for sets in ((a, a), (b, b), (a, b)))
    values = []
    for _ in range(subsets):
        x = random.choice(len(a), size, replace=False)
        y = random.choice(len(b), size, replace=False)
        within = sum((k.sum() - np.trace(k)) / (size * (size - 1)) for k in (of_a(x, x), of_b(y, y)))
        values.append(within - 2 * of_both(x, y).mean())
    return float(np.mean(values)), float(np.std(values))


def _kernel_of_rows(x: Num[np.ndarray, "n d"], y: Num[np.ndarray, "m d"], most: int) -> Callable[..., np.ndarray]:
    """Returns a function from indices of rows of two sets to the kernel of these rows.

    It computes that of all rows once, if that is less work than `most` numbers and fits in memory.
    """
    if len(x) * len(y) <= min(most, LARGEST):
        whole = _kernel(x.astype(np.float64), y.astype(np.float64))
        return lambda i, j: whole[np.ix_(i, j)]
    return lambda i, j: _kernel(x[i].astype(np.float64), y[j].astype(np.float64))


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
