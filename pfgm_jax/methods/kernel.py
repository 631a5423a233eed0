"""The law of the noise that has D additional dimensions (PFGM++; Xu et al. 2023, arXiv:2302.04265).

The data are charges on the plane where D additional coordinates are 0. At distance r = σ√D of it, the share of a charge
in the field falls off with the distance |n|σ to it as (|n|²σ² + r²)^(-(N+D)/2). As the law of the noise n this is
Student's multivariate t distribution with D degrees of freedom,

    p(n) ∝ (1 + |n|²/D)^(-(N+D)/2),        n = g √(D/χ²_D) with g ~ N(0, I_N),

so that |n|²/(|n|² + D) follows the beta law with parameters N/2 and D/2 (section 3.1). D = 1 is PFGM, whose noise g/|h|
has no variance. D → ∞ is Gaussian noise.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy import special

from pfgm_jax import ranges

# Beyond, noise is Gaussian to all digits of float32.
MOST = 1e9
# Of a method's D, of which 0 is the usual.
DIMENSIONS = ranges.Range(
    lambda v: v == 0 or 1 <= v <= MOST or v == math.inf,
    f"give a number from 1 to {MOST:g}, inf, or 0 for the method's usual",
)

# What the noise is stretched by follows from another key than its direction.
_STRETCH = 0x73747265


def stretch(key: Key[Array, ""], shape: tuple[int, ...], D: float) -> Float[Array, "..."]:
    """Draws √(D/χ²_D); 1 for D = ∞."""
    if math.isinf(D):
        return jnp.ones(shape)
    # The logarithm, because a χ² of few degrees of freedom may be too small for float32.
    log_chi2 = math.log(2) + jax.random.loggamma(key, 0.5 * D, shape)
    return jnp.exp(0.5 * (math.log(D) - log_chi2))


def noise(key: Key[Array, ""], shape: tuple[int, ...], D: float) -> Float[Array, "*shape"]:
    """Draws the noise n of one example."""
    return stretch(jax.random.fold_in(key, _STRETCH), (), D) * jax.random.normal(key, shape)


def noises(key: Key[Array, ""], shape: tuple[int, ...], D: float) -> Float[Array, "b *shape"]:
    """Draws the noise n of a batch of examples; `shape` is that of the batch."""
    each = stretch(jax.random.fold_in(key, _STRETCH), shape[:1], D)
    return each.reshape(-1, *[1] * (len(shape) - 1)) * jax.random.normal(key, shape)


def log_density(x: Float[Array, "b N"], scale: float, D: float) -> Float[Array, " b"]:
    """Computes the log density of scale·n at x, in nats."""
    dim = x.shape[1]
    squares = jnp.sum((x / scale) ** 2, axis=1)
    if math.isinf(D):
        return -0.5 * squares - dim * math.log(scale * math.sqrt(2 * math.pi))
    # Γ((N+D)/2) / Γ(D/2), without a difference of large logarithms.
    ratio = float(special.gammaln(0.5 * dim) - special.betaln(0.5 * D, 0.5 * dim))
    return ratio - dim * math.log(scale * math.sqrt(math.pi * D)) - 0.5 * (dim + D) * jnp.log1p(squares / D)


def share_beyond(norm: Float[np.ndarray, "..."] | float, dim: int, D: float) -> Float[np.ndarray, "..."]:
    """Computes the probability that |n| exceeds a norm."""
    norm = np.asarray(norm, np.float64)
    if math.isinf(D):
        return np.asarray(special.gammaincc(0.5 * dim, 0.5 * norm**2))
    return np.asarray(special.betainc(0.5 * D, 0.5 * dim, 1 / (1 + norm**2 / D)))


def norm_beyond(share: Float[np.ndarray, "..."] | float, dim: int, D: float) -> Float[np.ndarray, "..."]:
    """Computes the norm that |n| exceeds with a given probability; the inverse of `share_beyond`."""
    share = np.asarray(share, np.float64)
    if math.isinf(D):
        return np.asarray(np.sqrt(2 * special.gammainccinv(0.5 * dim, share)))
    return np.asarray(np.sqrt(D * (1 / special.betaincinv(0.5 * D, 0.5 * dim, share) - 1)))


def to_normal(
    n: Float[np.ndarray, "b *shape"], D: float, beyond: Float[np.ndarray, " b"] | None = None
) -> Float[np.ndarray, "b *shape"]:
    """Maps noise to standard normal noise, one to one: it keeps directions, and the quantiles of norms.

    Args:
      n: noise.
      D: of its law.
      beyond: probability that a norm exceeds that of each row, where it is not the law's.
    """
    if math.isinf(D):
        return n.astype(np.float32)
    flat = n.reshape(len(n), -1).astype(np.float64)
    norm, dim = np.linalg.norm(flat, axis=1), flat.shape[1]
    wanted = norm_beyond(share_beyond(norm, dim, D) if beyond is None else beyond, dim, math.inf)
    return (flat * (wanted / norm)[:, None]).reshape(n.shape).astype(np.float32)
