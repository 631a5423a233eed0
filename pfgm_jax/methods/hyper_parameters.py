"""The numbers of a PFGM that the size of a data set decides."""

import math
from typing import NamedTuple

from pfgm_jax.errors import FieldError
from pfgm_jax.methods import kernel

# Below this dimension the paper's formula, made for thousands of dimensions, has the ODE start so near to data of
# standard deviation ½ (the crossing is where it gives 8) that their shape would show in the prior.
LOW_DIMENSION = 64
# The prior of data with standard deviation s per component is off by about (s / z_max)² of its density: 1 / 256.
FARTHEST = 16.0
# In few dimensions the prior has heavy tails, and draws that are clipped land elsewhere in the data. So few are.
SHARE_CLIPPED = 1e-3


class HyperParameters(NamedTuple):
    """What a data set's size decides (Xu et al. 2022, appendix B)."""

    M: int
    z_max: float
    upper_norm: float


def hyper_parameters(mean_norm: float, dim: int, sigma: float = 0.01, tau: float = 0.03) -> HyperParameters:
    """Computes M, z_max and upper_norm for a data set.

    From 64 dimensions on they are the paper's (Xu et al. 2022, appendix B). In fewer, z_max is at least 16 standard
    deviations of the data. On the plane of the prior, the charges' second moments change the density by a share of
    (N+1)s²/(2r²) (3 - (N+3)z²/r²), and typical draws have r² = (N+1)z²: so that is s²/z² in every dimension. The
    paper's formula gives 1/400 for digits and 1/8,000 for CIFAR-10, but 1/20 in the plane.

    Args:
      mean_norm: mean Euclidean norm of the data, in network units.
      dim: N, the dimension of the data.
      sigma: standard deviation of the smallest perturbation, in network units.
      tau: growth of the perturbation from one exponent to the next.

    Returns:
      The largest exponent M, the height z_max of the prior's plane, and the norm at which the prior is clipped.

    Raises:
      FieldError: the data are too small for sigma, so that M would not be positive.
    """
    ratio = mean_norm**2 / (2 * math.sqrt(dim) * sigma**2)
    M = math.floor(0.75 * math.log(ratio) / math.log(1 + tau)) + 1 if ratio > 0 else 0
    height = math.sqrt(2 / math.pi) * sigma  # mean of z, for an exponent of 0
    low = dim < LOW_DIMENSION
    if low and mean_norm > 0:
        least = FARTHEST * mean_norm / math.sqrt(dim)
        M = max(M, math.ceil(math.log(least / height) / math.log(1 + tau)))
    if M < 1:
        raise FieldError(
            "sigma",
            sigma,
            f"that is too large for data of mean norm {mean_norm:.3g}, since M would be {M}: choose a smaller one, or "
            "give `M`, `z_max` and `upper_norm` yourself",
        )
    growth = (1 + tau) ** M
    z_max = height * growth
    return HyperParameters(M, z_max, prior_norm(SHARE_CLIPPED, z_max, dim) if low else math.sqrt(dim) * sigma * growth)


def share_beyond(norm: float, z_max: float, dim: int) -> float:
    """Computes the prior's probability of a norm above a given one."""
    return float(kernel.share_beyond(norm / z_max, dim, D=1))


def prior_norm(share: float, z_max: float, dim: int) -> float:
    """Computes the norm that so large a share of the prior exceeds; the inverse of `share_beyond`."""
    return z_max * float(kernel.norm_beyond(share, dim, D=1))
