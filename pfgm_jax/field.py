"""The mean of a set of charges as seen from a point, and the empirical Poisson field, as pure functions.

The data are charges on the plane where D additional coordinates are 0. From (x, r), at distance r of that plane, a
charge at distance d = √(|x - y|² + r²) has the weight d^-(N+D) (Xu et al. 2023, arXiv:2302.04265, section 3). With
D = 1 this is the Green's function of the Laplacian in N + 1 dimensions (Xu et al. 2022, equation 4). With r = σ√D and
D → ∞ it becomes exp(-|x - y|² / 2σ²), so that the weighted mean of the charges is then the posterior mean of the data
given x = y + σ ε, which every diffusion learns.

How means are computed exactly, and in little memory, is in `partial_means`.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from pfgm_jax.partial_means import Decode, Mean, partial_mean, total_mean


def mean_of_charges(
    x: Float[Array, "b N"],
    sigma: Float[Array, " b"],
    charges: Num[Array, "R ..."],
    *,
    D: float,
    chunk_size: int = 4096,
    decode: Decode | None = None,
    labels: Int[Array, " b"] | None = None,
    charge_labels: Int[Array, " R"] | None = None,
) -> Mean:
    """Computes the mean of the charges, and its difference from x; see `posterior_mean`."""
    options = {"chunk_size": chunk_size, "decode": decode, "labels": labels, "charge_labels": charge_labels}
    return total_mean(x, partial_mean(x, sigma, charges, D=D, **options))


def posterior_mean(
    x: Float[Array, "b N"],
    sigma: Float[Array, " b"],
    charges: Num[Array, "R ..."],
    *,
    D: float = math.inf,
    chunk_size: int = 4096,
    decode: Decode | None = None,
    labels: Int[Array, " b"] | None = None,
    charge_labels: Int[Array, " R"] | None = None,
) -> Float[Array, "b N"]:
    """Computes the mean of the charges as seen from x at noise level sigma.

    D(x) = Σ_j w_j y_j with w_j ∝ (|x - y_j|² + σ²D)^(-(N+D)/2) and Σ_j w_j = 1 (Xu et al. 2023, arXiv:2302.04265,
    equation 4); for D = ∞, w_j ∝ exp(-|x - y_j|² / 2σ²).

    Args:
      x: points, in the units of the decoded charges.
      sigma: noise level of each point, > 0, in the same units.
      charges: one charge per row: positions [R, N], or anything that `decode` turns into positions.
      D: number of additional dimensions, in [1, ∞]; ∞ for Gaussian noise.
      chunk_size: number of charges read at a time; memory is O(b·chunk_size + b·N).
      decode: (rows of `charges`, their indices) -> positions [r, N] in x's dtype; None if rows are positions.
      labels, charge_labels: label of each point, and of each charge; charges of other labels than a point's are not
        counted. From a point of a negative label all are. None for no labels.

    Returns:
      The means [b, N]; NaN at a point for which no charge is counted.

    Raises:
      ValueError: there is no charge, chunk_size is not positive, or D is below 1.
    """
    options = {"chunk_size": chunk_size, "decode": decode, "labels": labels, "charge_labels": charge_labels}
    return mean_of_charges(x, sigma, charges, D=D, **options).mean


def poisson_field(
    x: Float[Array, "b N"],
    z: Float[Array, " b"],
    charges: Num[Array, "R ..."],
    *,
    chunk_size: int = 4096,
    decode: Decode | None = None,
    labels: Int[Array, " b"] | None = None,
    charge_labels: Int[Array, " R"] | None = None,
) -> Float[Array, "b N+1"]:
    """Computes the empirical Poisson field of `charges` at the points (x, z), pointing towards the charges.

    E(x, z) = Σ_j w_j (y_j - x, -z) with w_j ∝ (|x - y_j|² + z²)^(-(N+1)/2) and Σ_j w_j = 1, as in Algorithm 1 of Xu et
    al. 2022 (there with the opposite sign). On a charge it is zero.

    Args:
      x: data part of the points, in the units of the decoded charges.
      z: additional coordinate of each point, >= 0, in the same units.
      charges, chunk_size, decode, labels, charge_labels: see `posterior_mean`.

    Returns:
      The field [b, N+1]; its last component is exactly -z.

    Raises:
      ValueError: there is no charge, or chunk_size is not positive.
    """
    options = {"chunk_size": chunk_size, "decode": decode, "labels": labels, "charge_labels": charge_labels}
    return augmented(mean_of_charges(x, z, charges, D=1, **options).towards, z)


def augmented(towards: Float[Array, "b N"], z: Float[Array, " b"]) -> Float[Array, "b N+1"]:
    """Appends the z component of the Poisson field, -z."""
    return jnp.concatenate([towards, -z[:, None]], axis=1)


def normalize_field(E: Float[Array, "b d"], gamma: float) -> Float[Array, "b d"]:
    """Computes the regression target √N · E / (|E| + γ) (Xu et al. 2022, section 3.2 and appendix B.1); 0 where E is 0.

    Args:
      E: field vectors with d = N + 1 components, the z component last.
      gamma: γ, in the units of E.
    """
    dim = E.shape[-1] - 1
    return jnp.sqrt(1.0 * dim) * E / (jnp.linalg.norm(E, axis=-1, keepdims=True) + gamma)
