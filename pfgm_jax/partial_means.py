"""Partial means: what some of the charges add to the mean of all, exact in float32 and small in memory.

Two things make them so:

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
from jaxtyping import Array, Bool, Float, Int, Num

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
    counted: Bool[Array, "_ R"],
) -> PartialMean:
    """Computes the partial mean of one chunk of charges, leaving out those with `counted` False, for all points or one.

    A point for which none is counted has the order inf, and no weights.
    """
    if x.shape[-1] <= DIRECT_DIMENSIONS:
        # One coordinate after the other: loops over a last axis of two or three numbers would not be vectorized.
        squares = [(x[:, i, None] - charges[None, :, i]) ** 2 for i in range(x.shape[-1])]
        squared = jnp.where(counted, functools.reduce(jnp.add, squares), jnp.inf)
        k = jnp.argmin(squared, axis=1)[:, None]
        excess = squared - jnp.take_along_axis(squared, k, axis=1)
        nearest = charges[k[:, 0]]
        order, spread, others = _weights(kernel, sigma, squared, k, excess)
        from_nearest = (charges[None, :, i] - nearest[:, i, None] for i in range(x.shape[-1]))
        moment = jnp.stack([jnp.sum(others * away, axis=1) for away in from_nearest], axis=1)
        return PartialMean(nearest, order, spread, jnp.sum(others, axis=1), moment)

    # Squared distances without |x|². Centring removes what is common to all charges, which would only cost digits.
    centre = jnp.mean(charges, axis=0, keepdims=True)
    from_centre = charges - centre
    product = jnp.matmul(x - centre, from_centre.T, precision=jax.lax.Precision.HIGHEST)
    order = jnp.where(counted, jnp.sum(from_centre**2, axis=-1)[None] - 2.0 * product, jnp.inf)

    # The few nearest charges, exactly.
    approximate, few = jax.lax.top_k(-order, min(EXACT_NEIGHBOURS, len(charges)))
    neighbours = charges[few]
    away = neighbours - x[:, None]
    squared = jnp.where(jnp.isinf(approximate), jnp.inf, jnp.sum(away**2, axis=-1))
    k = jnp.argmin(squared, axis=1)[:, None]
    near_by = lambda a: jnp.take_along_axis(a, k[:, :, None], axis=1)  # of the k that is current
    excess = jnp.sum((neighbours - near_by(neighbours)) * (away + near_by(away)), axis=-1)
    # Of squares that are equal but for rounding, another may be the nearest.
    excess = jnp.where(jnp.isinf(approximate), jnp.inf, excess)
    k = jnp.argmin(excess, axis=1)[:, None]
    excess = excess - jnp.take_along_axis(excess, k, axis=1)
    nearest = near_by(neighbours)[:, 0]
    order_of_nearest, spread, others = _weights(kernel, sigma, squared, k, excess)
    moment = jnp.sum(others[:, :, None] * (neighbours - nearest[:, None]), axis=1)
    near = PartialMean(nearest, order_of_nearest, spread, jnp.sum(others, axis=1), moment)

    # All others, relative to the nearest.
    reference = -jnp.take_along_axis(approximate, k, axis=1)
    excess = jnp.maximum(order - reference, 0.0)
    others = jnp.where(counted, kernel.weight(excess, near.spread[:, None]), 0.0)
    others = others.at[jnp.arange(len(x))[:, None], few].set(0.0)
    weight = jnp.sum(others, axis=1)
    from_nearest = near.nearest - centre
    moment = jnp.matmul(others, from_centre, precision=jax.lax.Precision.HIGHEST) - weight[:, None] * from_nearest
    return near._replace(weight=near.weight + weight, moment=near.moment + moment)


def _weights(
    kernel: _Kernel,
    sigma: Float[Array, " b"],
    squared: Float[Array, "b c"],
    k: Int[Array, "b 1"],
    excess: Float[Array, "b c"],
) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, "b c"]]:
    """Returns the order and the spread of the nearest charge, `k`, and the weights of all others, where its own is 1.

    `squared` is |x - y|², inf for what is not counted; `excess` by how much it exceeds that of the nearest.
    """
    order = jnp.take_along_axis(squared, k, axis=1)[:, 0]
    spread = kernel.spread(order, sigma)
    counted = jnp.isfinite(squared) & (jnp.arange(squared.shape[1])[None] != k)
    return order, spread, jnp.where(counted, kernel.weight(excess, spread[:, None]), 0.0)


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
    labels: Int[Array, " b"] | None = None,
    charge_labels: Int[Array, " R"] | None = None,
) -> PartialMean:
    """Computes the partial mean of some charges, to be merged with that of the others.

    Args:
      x, sigma, charges, D, chunk_size, decode, labels, charge_labels: see `posterior_mean`.
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

    def mean_of_chunk(start, counted):
        chunk = jax.lax.dynamic_slice_in_dim(charges, start, size)
        positions = chunk.astype(x.dtype) if decode is None else decode(chunk, start + number)
        counted = counted[None]
        if labels is not None and charge_labels is not None:
            of_chunk = jax.lax.dynamic_slice_in_dim(charge_labels, start, size)
            counted &= (labels[:, None] < 0) | (labels[:, None] == of_chunk[None])
        return _mean_of_chunk(kernel, x, sigma, positions, counted)

    def add_chunk(partial, i):
        # The last slice starts early enough to be complete; rows that it repeats are not counted again.
        start = jnp.minimum(i * size, rows - size)
        counted = start + number >= i * size
        if count is None:
            return merge_means(partial, mean_of_chunk(start, counted), x, D), None
        counted &= start + number < count
        merged = merge_means(partial, mean_of_chunk(start, counted), x, D)
        return jax.tree.map(functools.partial(jnp.where, counted.any()), merged, partial), None

    partial = mean_of_chunk(0, jnp.ones(size, bool) if count is None else number < count)
    chunks = -(-rows // size)
    if chunks > 1:
        partial, _ = jax.lax.scan(add_chunk, partial, jnp.arange(1, chunks))
    return partial


def total_mean(x: Float[Array, "b N"], partial: PartialMean) -> Mean:
    """Computes the mean of all charges from their partial mean; see `posterior_mean`."""
    from_nearest = partial.moment / (1.0 + partial.weight)[:, None]
    from_nearest = jnp.where(jnp.isinf(partial.order)[:, None], jnp.nan, from_nearest)
    return Mean(partial.nearest + from_nearest, (partial.nearest - x) + from_nearest)
