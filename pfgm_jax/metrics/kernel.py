"""The kernel distance between two sets of features; KID, if these are Inception's."""

from collections.abc import Sequence

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
    drawn = [[random.choice(len(rows), size, replace=False) for rows in (a, b)] for _ in range(subsets)]
    in_a, in_b = zip(*drawn, strict=True)
    # Of a row with itself, which would not be of two independent rows.
    own = lambda x, subset: np.array([_own_kernel(x[i]).sum() for i in subset])
    within = [_sums(x, x, subset, subset) - own(x, subset) for x, subset in ((a, in_a), (b, in_b))]
    values = sum(within) / (size * (size - 1)) - 2 * _sums(a, b, in_a, in_b) / size**2
    return float(np.mean(values)), float(np.std(values))


def _sums(
    x: Num[np.ndarray, "n d"], y: Num[np.ndarray, "m d"], rows: Sequence[np.ndarray], columns: Sequence[np.ndarray]
) -> Float[np.ndarray, " s"]:
    """Sums the kernel over pairs of subsets of two sets.

    The kernel of all rows is computed once, if that is less work and fits in memory.

    Args:
      x, y: the sets.
      rows, columns: indices of each subset's rows.
    """
    if len(x) * len(y) <= min(sum(len(i) * len(j) for i, j in zip(rows, columns, strict=True)), LARGEST):
        chosen, others = (
            np.stack([np.bincount(i, minlength=n) for i in subsets]).astype(np.float64)
            for subsets, n in ((rows, len(x)), (columns, len(y)))
        )
        return np.sum(chosen @ _kernel(x, y) * others, axis=1)
    return np.array([_kernel(x[i], y[j]).sum() for i, j in zip(rows, columns, strict=True)])


def _kernel(x: Num[np.ndarray, "n d"], y: Num[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    k = x.astype(np.float64) @ y.astype(np.float64).T / x.shape[1] + 1
    return k * k * k  # many times faster than a power


def _own_kernel(x: Num[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    return (np.mean(np.square(x.astype(np.float64)), axis=1) + 1) ** 3


def kid(samples: Features, reference: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes `kid` and its standard deviation over subsets `kid_std`; a `Metric`."""
    ours, theirs = samples.features, reference.features
    if theirs is None or min(len(ours), len(theirs)) < 2:
        return {}
    mean, std = kernel_distance(ours, theirs, options.kid_subsets, options.kid_subset_size, options.seed)
    return {"kid": mean, "kid_std": std}
