"""The empirical Poisson field of a set of charges, as pure functions.

The data are unit charges on the plane z = 0 of a space with N + 1 dimensions. The Green's function of the Laplacian
there weighs the charge at distance d by d^-(N+1) (Xu et al. 2022, equation 4), and the field at (x, z) is the weighted
mean of the vectors that point to the charges.

Two things make it exact in float32 and small in memory:

* Only ratios of squared distances enter, always relative to the nearest charge k of the point:
  w_j / w_k = exp(-(N+1)/2 · log1p((d²_j - d²_k) / d²_k)). The distance to k itself is taken from the difference of the
  two vectors; |x|² + |y|² - 2 x·y would round it to nothing near a charge.
* The differences d²_j - d²_k come from one matrix product, and the sum over charges from another, so nothing of size
  b·R·N is ever stored. Charges are read in chunks, and partial fields of chunks are merged as they come.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

# In few dimensions many charges compete at every distance, so that rounding in a matrix product would show in the
# weights; there the differences are cheap to take one by one. In many dimensions one product is far faster, and the
# weights are so sharp that its rounding cannot change which charges matter.
DIRECT_DIMENSIONS = 16


class _PartialField(NamedTuple):
    """What the charges read so far say of each point; weights are relative to the nearest charge, whose own is 1."""

    nearest: Float[Array, "b N"]  # position of the nearest charge
    order: Float[Array, " b"]  # squared distance to it, but for a term that is the same for all charges of the point
    distance2: Float[Array, " b"]  # squared distance to it, z² included
    weight: Float[Array, " b"]  # sum of the weights of all other charges
    moment: Float[Array, "b N"]  # weighted sum of (charge - nearest) over all other charges


def _relative_weight(excess: Float[Array, "..."], distance2: Float[Array, "..."], dim: int) -> Float[Array, "..."]:
    """(d² / (d² + excess))^((N+1)/2): the weight of a charge whose squared distance is larger by `excess`."""
    return jnp.exp(-0.5 * (dim + 1) * jnp.log1p(excess / distance2))


def _field_of_chunk(
    x: Float[Array, "b N"], z: Float[Array, " b"], charges: Float[Array, "R N"], counted: Array | None
) -> _PartialField:
    """The partial field of one chunk of charges, of which those with `counted` False are left out."""
    dim = x.shape[-1]
    if dim <= DIRECT_DIMENSIONS:
        order = jnp.sum((x[:, None] - charges) ** 2, axis=-1)
    else:
        product = jnp.matmul(x, charges.T, precision=jax.lax.Precision.HIGHEST)
        order = jnp.sum(charges**2, axis=-1) - 2.0 * product
    if counted is not None:
        order = jnp.where(counted, order, jnp.inf)

    k = jnp.argmin(order, axis=1)
    nearest = charges[k]
    nearest_order = jnp.take_along_axis(order, k[:, None], axis=1)
    distance2 = jnp.sum((x - nearest) ** 2, axis=-1) + z**2
    # A point on a charge: all other charges get no weight, without dividing by zero.
    distance2 = jnp.maximum(distance2, jnp.finfo(x.dtype).tiny)

    others = _relative_weight(order - nearest_order, distance2[:, None], dim)
    others = jnp.where(jnp.arange(len(charges)) == k[:, None], 0.0, others)
    weight = jnp.sum(others, axis=1)
    if dim <= DIRECT_DIMENSIONS:
        moment = jnp.sum(others[:, :, None] * (charges - nearest[:, None]), axis=1)
    else:
        moment = jnp.matmul(others, charges, precision=jax.lax.Precision.HIGHEST) - weight[:, None] * nearest
    return _PartialField(nearest, nearest_order[:, 0], distance2, weight, moment)


def _merge(a: _PartialField, b: _PartialField) -> _PartialField:
    """The partial field of the charges of both, with the nearer of their nearest charges as reference."""
    dim = a.nearest.shape[-1]
    a_is_near = a.order <= b.order
    near, far = (
        jax.tree.map(lambda p, q: jnp.where(a_is_near.reshape(-1, *[1] * (p.ndim - 1)), p, q), *pair)
        for pair in ((a, b), (b, a))
    )
    scale = _relative_weight(far.order - near.order, near.distance2, dim)
    weight = near.weight + scale * (1.0 + far.weight)
    shift = far.nearest - near.nearest
    moment = near.moment + scale[:, None] * (far.moment + (1.0 + far.weight)[:, None] * shift)
    return near._replace(weight=weight, moment=moment)


def poisson_field(
    x: Float[Array, "b N"],
    z: Float[Array, " b"],
    charges: Num[Array, "R ..."],
    *,
    chunk_size: int = 4096,
    decode: Callable[[Num[Array, "r ..."], Int[Array, " r"]], Float[Array, "r N"]] | None = None,
) -> Float[Array, "b N+1"]:
    """The empirical Poisson field of `charges` at the points (x, z), towards the charges.

    E(x, z) = Σ_j w_j (y_j - x, -z) with w_j ∝ (|x - y_j|² + z²)^(-(N+1)/2) and Σ_j w_j = 1, as in Algorithm 1 of Xu et
    al. 2022 (there with the opposite sign). On a charge it is zero.

    Args:
      x: data part of the points, in the units of the decoded charges.
      z: the additional coordinate of each point, >= 0, in the same units.
      charges: one charge a row: positions [R, N], or whatever `decode` turns into positions.
      chunk_size: charges read at a time; memory is O(b·chunk_size + b·N).
      decode: (rows of `charges`, their indices) -> positions [r, N] in x's dtype; None where rows are positions.

    Returns:
      [b, N+1]; the last component is -z exactly.

    Raises:
      ValueError: there is no charge, or chunk_size is not positive.
    """
    count = charges.shape[0]
    if count == 0:
        raise ValueError("charges is empty, and no charges make no field; pass at least one")
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; it must be at least 1")
    size = min(chunk_size, count)

    def read(start):
        rows = jax.lax.dynamic_slice_in_dim(charges, start, size)
        return rows.astype(x.dtype) if decode is None else decode(rows, start + jnp.arange(size))

    def add_chunk(partial, i):
        # The last slice starts early enough to be whole; what it repeats of the one before it is not counted again.
        start = jnp.minimum(i * size, count - size)
        counted = start + jnp.arange(size) >= i * size
        return _merge(partial, _field_of_chunk(x, z, read(start), counted)), None

    partial = _field_of_chunk(x, z, read(0), None)
    chunks = -(-count // size)
    if chunks > 1:
        partial, _ = jax.lax.scan(add_chunk, partial, jnp.arange(1, chunks))
    e_x = (partial.nearest - x) + partial.moment / (1.0 + partial.weight)[:, None]
    return jnp.concatenate([e_x, -z[:, None]], axis=1)


def normalize_field(E: Float[Array, "b d"], gamma: float) -> Float[Array, "b d"]:
    """The regression target √N · E / (|E| + γ) (Xu et al. 2022, section 3.2 and appendix B.1); 0 where E is 0.

    Args:
      E: field vectors of d = N + 1 components, the z part last.
      gamma: γ, in the units of E.
    """
    dim = E.shape[-1] - 1
    return jnp.sqrt(1.0 * dim) * E / (jnp.linalg.norm(E, axis=-1, keepdims=True) + gamma)
