"""Score matching without targets: by the trace of the score's Jacobian, or by random slices of it.

Up to a constant, the squared distance to the score of the data is E[½|s(x)|² + tr ∇s(x)] (Hyvärinen 2005). Sliced score
matching (Song, Garg, Shi & Ermon 2019, arXiv:1905.07088) replaces the trace by v·∇s v of a random direction v. Here the
data are noisy examples, so that the score is that of the diffusion.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

OBJECTIVES = ("sliced", "sliced_vr", "trace")

Score = Callable[[Float[Array, "b *shape"]], Float[Array, "b *shape"]]


def loss(
    objective: str, score: Score, x: Float[Array, "b *shape"], direction: Float[Array, "b *shape"]
) -> Float[Array, " b"]:
    """Computes the score matching loss of each example.

    Args:
      objective: 'sliced', ½(v·s)² + v·∇s v; 'sliced_vr', with ½|s|² for ½(v·s)², of less variance (equations 7 and 8);
        'trace', ½|s|² + tr ∇s, by N products, for few dimensions.
      score: of noisy examples; each row of the result depends only on the same row of x.
      x: noisy examples.
      direction: v, with mean 0 and covariance I; unused by 'trace'.
    """
    rows = tuple(range(1, x.ndim))
    if objective == "trace":
        dim = math.prod(x.shape[1:])
        units = jnp.eye(dim, dtype=x.dtype).reshape(dim, 1, *x.shape[1:])
        along = lambda unit: jnp.sum(unit * jax.jvp(score, (x,), (jnp.broadcast_to(unit, x.shape),))[1], rows)
        s, trace = score(x), jnp.sum(jax.vmap(along)(units), axis=0)
        return 0.5 * jnp.sum(s**2, rows) + trace
    s, product = jax.jvp(score, (x,), (direction,))
    curvature = jnp.sum(direction * product, rows)
    square = jnp.sum(s**2, rows) if objective == "sliced_vr" else jnp.sum(direction * s, rows) ** 2
    return 0.5 * square + curvature
