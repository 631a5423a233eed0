"""The mean of a set of charges as seen from a point, and the empirical Poisson field, as pure functions.

The data are charges on the plane where D additional coordinates are 0. From (x, r), at distance r of that plane, a
charge at distance d = √(|x - y|² + r²) has the weight d^-(N+D) (Xu et al. 2023, arXiv:2302.04265, section 3). With
D = 1 this is the Green's function of the Laplacian in N + 1 dimensions (Xu et al. 2022, equation 4). With r = σ√D and
D → ∞ it becomes exp(-|x - y|² / 2σ²), so that the weighted mean of the charges is then the posterior mean of the data
given x = y + σ ε, which every diffusion learns.

Two things make it exact in float32 and small in memory:

* Only differences of squared distances are used, relative to the nearest charge k of the point:
  w_j / w_k = exp(-(N+D)/2 · log1p((d²_j - d²_k) / d²_k)). For the next few charges they are computed from vectors,
  as (y_j - y_k)·(y_j + y_k - 2x): near a charge, |x|² + |y|² - 2 x·y would lose them to rounding, and far from all
  charges so would |x - y_j|² - |x - y_k|².
* The differences d²_j - d²_k come from one matrix product, and the sum over charges from another, so nothing of size
  b·R·N is ever stored. Charges are read in chunks, and the partial means of the chunks are merged one after another.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

# In few dimensions many charges compete at every distance, so rounding in a matrix product would affect the weights;
# there individual differences are cheap. In many dimensions one product is far faster. The weights are then so sharp
# that near a charge only the few nearest charges matter, and the differences to those are computed exactly.
DIRECT_DIMENSIONS = 16
EXACT_NEIGHBOURS = 8

Decode = Callable[[Num[Array, "r ..."], Int[Array, " r"]], Float[Array, "r N"]]


class Mean(NamedTuple):
    """The weighted mean of charges, twice, since either loses digits where the other does not."""

    mean: Float[Array, "b N"]
    towards: Float[Array, "b N"]  # the mean - x


class PartialMean(NamedTuple):
    """What some charges add to the mean at each point; weights are relative to the nearest, which has 1."""

    nearest: Float[Array, "b N"]  # position of the nearest charge
    order: Float[Array, " b"]  # |x - y|² to the nearest charge
    spread: Float[Array, " b"]  # |x - y|² + r² to the nearest charge; of the Gaussian 2σ²
    weight: Float[Array, " b"]  # sum of the weights of all other charges
    moment: Float[Array, "b N"]  # weighted sum of (charge - nearest) over all other charges


class _Kernel(NamedTuple):
    """How weights fall off with distance, at points [b] and their noise levels."""

    dim: int  # N
    extra: float  # D, in [1, ∞]

    def spread(self, order: Float[Array, " b"], sigma: Float[Array, " b"]) -> Float[Array, " b"]:
        tiny = jnp.finfo(order.dtype).tiny  # for a point on a charge; all other charges then get no weight
        if math.isinf(self.extra):
            return jnp.maximum(2 * sigma**2, tiny)
        return jnp.maximum(order + self.extra * sigma**2, tiny)

    def weight(self, excess: Float[Array, "..."], spread: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes the weight of a charge whose squared distance is larger than the nearest one's by `excess`."""
        if math.isinf(self.extra):
            return jnp.exp(-excess / spread)
        return jnp.exp(-0.5 * (self.dim + self.extra) * jnp.log1p(excess / spread))


def _mean_of_chunk(
    kernel: _Kernel,
    x: Float[Array, "b N"],
    sigma: Float[Array, " b"],
    charges: Float[Array, "R N"],
    counted: Array | None,
) -> PartialMean:
    """Computes the partial mean of one chunk of charges, leaving out those with `counted` False."""
    if counted is None:
        counted = jnp.ones(len(charges), bool)
    if x.shape[-1] <= DIRECT_DIMENSIONS:
        squared = jnp.where(counted[None], jnp.sum((x[:, None] - charges[None]) ** 2, axis=-1), jnp.inf)
        k = jnp.argmin(squared, axis=1)[:, None]
        excess = squared - jnp.take_along_axis(squared, k, axis=1)
        everywhere = jnp.broadcast_to(charges[None], (len(x), *charges.shape))
        return _direct_sum(kernel, sigma, everywhere, squared, k, excess)

    # Squared distances without |x|². Centring removes what is common to all charges, which would only cost digits.
    centre = jnp.mean(charges, axis=0, keepdims=True)
    from_centre = charges - centre
    product = jnp.matmul(x - centre, from_centre.T, precision=jax.lax.Precision.HIGHEST)
    order = jnp.where(counted[None], jnp.sum(from_centre**2, axis=-1)[None] - 2.0 * product, jnp.inf)

    # The few nearest charges, exactly.
    approximate, few = jax.lax.top_k(-order, min(EXACT_NEIGHBOURS, len(charges)))
    neighbours = charges[few]
    away = neighbours - x[:, None]
    squared = jnp.where(jnp.isinf(approximate), jnp.inf, jnp.sum(away**2, axis=-1))
    k = jnp.argmin(squared, axis=1)[:, None]
    near_by = lambda a: jnp.take_along_axis(a, k[:, :, None], axis=1)
    excess = jnp.sum((neighbours - near_by(neighbours)) * (away + near_by(away)), axis=-1)
    # Of squares that are equal but for rounding, another may be the nearest.
    excess = jnp.where(jnp.isinf(approximate), jnp.inf, excess)
    k = jnp.argmin(excess, axis=1)[:, None]
    excess = excess - jnp.take_along_axis(excess, k, axis=1)
    near = _direct_sum(kernel, sigma, neighbours, squared, k, excess)

    # All others, relative to the nearest.
    reference = -jnp.take_along_axis(approximate, k, axis=1)
    excess = jnp.maximum(order - reference, 0.0)
    others = kernel.weight(excess, near.spread[:, None])
    others = others.at[jnp.arange(len(x))[:, None], few].set(0.0)
    weight = jnp.sum(others, axis=1)
    from_nearest = near.nearest - centre
    moment = jnp.matmul(others, from_centre, precision=jax.lax.Precision.HIGHEST) - weight[:, None] * from_nearest
    return near._replace(weight=near.weight + weight, moment=near.moment + moment)


def _direct_sum(
    kernel: _Kernel,
    sigma: Float[Array, " b"],
    charges: Float[Array, "b c N"],
    squared: Float[Array, "b c"],
    k: Int[Array, "b 1"],
    excess: Float[Array, "b c"],
) -> PartialMean:
    """Computes the partial mean of a few charges for each point.

    `squared` is |x - y|², inf for what is not counted; `excess` by how much it exceeds that of the nearest, `k`.
    """
    nearest = jnp.take_along_axis(charges, k[:, :, None], axis=1)[:, 0]
    order = jnp.take_along_axis(squared, k, axis=1)[:, 0]
    spread = kernel.spread(order, sigma)
    counted = jnp.isfinite(squared) & (jnp.arange(charges.shape[1])[None] != k)
    others = jnp.where(counted, kernel.weight(excess, spread[:, None]), 0.0)
    moment = jnp.sum(others[:, :, None] * (charges - nearest[:, None]), axis=1)
    return PartialMean(nearest, order, spread, jnp.sum(others, axis=1), moment)


def merge_means(a: PartialMean, b: PartialMean, x: Float[Array, "b N"], D: float) -> PartialMean:
    """Merges two partial means, as seen from x, into that of all their charges."""
    kernel = _Kernel(a.nearest.shape[-1], D)
    shift = b.nearest - a.nearest
    excess = jnp.sum(shift * ((b.nearest - x) + (a.nearest - x)), axis=1)
    a_is_near = jnp.isfinite(a.order) & (jnp.isinf(b.order) | (excess >= 0))
    near, far = (
        jax.tree.map(lambda p, q: jnp.where(a_is_near.reshape(-1, *[1] * (p.ndim - 1)), p, q), *pair)
        for pair in ((a, b), (b, a))
    )
    scale = jnp.where(jnp.isinf(far.order), 0.0, kernel.weight(jnp.abs(excess), near.spread))
    weight = near.weight + scale * (1.0 + far.weight)
    from_near = far.nearest - near.nearest
    moment = near.moment + scale[:, None] * (far.moment + (1.0 + far.weight)[:, None] * from_near)
    return near._replace(weight=weight, moment=moment)


def partial_mean(
    x: Float[Array, "b N"],
    sigma: Float[Array, " b"],
    charges: Num[Array, "R ..."],
    *,
    D: float,
    chunk_size: int = 4096,
    decode: Decode | None = None,
    count: int | Int[Array, ""] | None = None,
) -> PartialMean:
    """Computes the partial mean of some charges, to be merged with that of the others.

    Args:
      x, sigma, charges, D, chunk_size, decode: see `posterior_mean`.
      count: number of rows of `charges` that are charges, at least 1; None for all.

    Raises:
      ValueError: there is no charge, chunk_size is not positive, or D is below 1.
    """
    rows = charges.shape[0]
    if rows == 0:
        raise ValueError("charges is empty, and no charges make no field; pass at least one")
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; it must be at least 1")
    if not D >= 1:
        raise ValueError(f"D is {D}; it must be at least 1")
    kernel = _Kernel(x.shape[-1], D)
    size = min(chunk_size, rows)
    number = jnp.arange(size)

    def read(start):
        chunk = jax.lax.dynamic_slice_in_dim(charges, start, size)
        return chunk.astype(x.dtype) if decode is None else decode(chunk, start + number)

    def add_chunk(partial, i):
        # The last slice starts early enough to be complete; rows that it repeats are not counted again.
        start = jnp.minimum(i * size, rows - size)
        counted = start + number >= i * size
        if count is None:
            return merge_means(partial, _mean_of_chunk(kernel, x, sigma, read(start), counted), x, D), None
        counted &= start + number < count
        merged = merge_means(partial, _mean_of_chunk(kernel, x, sigma, read(start), counted), x, D)
        return jax.tree.map(functools.partial(jnp.where, counted.any()), merged, partial), None

    partial = _mean_of_chunk(kernel, x, sigma, read(0), None if count is None else number < count)
    chunks = -(-rows // size)
    if chunks > 1:
        partial, _ = jax.lax.scan(add_chunk, partial, jnp.arange(1, chunks))
    return partial


def total_mean(x: Float[Array, "b N"], partial: PartialMean) -> Mean:
    """Computes the mean of all charges from their partial mean; see `posterior_mean`."""
    from_nearest = partial.moment / (1.0 + partial.weight)[:, None]
    return Mean(partial.nearest + from_nearest, (partial.nearest - x) + from_nearest)


def mean_of_charges(
    x: Float[Array, "b N"],
    sigma: Float[Array, " b"],
    charges: Num[Array, "R ..."],
    *,
    D: float,
    chunk_size: int = 4096,
    decode: Decode | None = None,
) -> Mean:
    """Computes the mean of the charges, and its difference from x; see `posterior_mean`."""
    return total_mean(x, partial_mean(x, sigma, charges, D=D, chunk_size=chunk_size, decode=decode))


def posterior_mean(
    x: Float[Array, "b N"],
    sigma: Float[Array, " b"],
    charges: Num[Array, "R ..."],
    *,
    D: float = math.inf,
    chunk_size: int = 4096,
    decode: Decode | None = None,
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

    Returns:
      The means [b, N].

    Raises:
      ValueError: there is no charge, chunk_size is not positive, or D is below 1.
    """
    return mean_of_charges(x, sigma, charges, D=D, chunk_size=chunk_size, decode=decode).mean


def poisson_field(
    x: Float[Array, "b N"],
    z: Float[Array, " b"],
    charges: Num[Array, "R ..."],
    *,
    chunk_size: int = 4096,
    decode: Decode | None = None,
) -> Float[Array, "b N+1"]:
    """Computes the empirical Poisson field of `charges` at the points (x, z), pointing towards the charges.

    E(x, z) = Σ_j w_j (y_j - x, -z) with w_j ∝ (|x - y_j|² + z²)^(-(N+1)/2) and Σ_j w_j = 1, as in Algorithm 1 of Xu et
    al. 2022 (there with the opposite sign). On a charge it is zero.

    Args:
      x: data part of the points, in the units of the decoded charges.
      z: additional coordinate of each point, >= 0, in the same units.
      charges, chunk_size, decode: see `posterior_mean`.

    Returns:
      The field [b, N+1]; its last component is exactly -z.

    Raises:
      ValueError: there is no charge, or chunk_size is not positive.
    """
    return augmented(mean_of_charges(x, z, charges, D=1, chunk_size=chunk_size, decode=decode).towards, z)


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
