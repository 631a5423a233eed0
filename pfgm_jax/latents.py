"""Latents, the points on the prior's plane that the ODE maps images to, and paths between and around them.

The ODE is invertible: every image has one latent, and every latent one image. A latent's direction determines the
content of the image. Its norm, which varies over orders of magnitude under the prior, says how far out its field line
runs. Paths therefore treat the two separately.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.methods.base import Method, Network
from pfgm_jax.samplers.base import OdeSolver, Solution, solve_ode

# Angles in radians so close to 0 or π that the arc between two directions is lost in rounding.
SMALLEST_ANGLE = 1e-3


def encode(
    method: Method, net: Network, x: Float[Array, "b H W C"], solver: OdeSolver, context: Context = NO_CONTEXT
) -> Solution:
    """Follows the ODE from the data to the prior. The function is pure; callers may jit it.

    Args:
      method: defines prior and ODE.
      net: a trained network.
      x: images in network units.
      solver: ODE solver.
      context: context of each image.

    Returns:
      Latents [b, H, W, C], which decode to the images up to the solver's error; `ok` is False for failed images.
    """
    return solve_ode(solver, method, net, method.data_scale * x, method.t_data, method.t_prior, context)


def decode(
    method: Method, net: Network, latents: Float[Array, "b H W C"], solver: OdeSolver, context: Context = NO_CONTEXT
) -> Solution:
    """Follows the ODE from the prior to the data. The function is pure; callers may jit it.

    Args:
      method: defines prior and ODE.
      net: a trained network.
      latents: points on the prior's plane.
      solver: ODE solver.
      context: context of each latent.

    Returns:
      Images [b, H, W, C] in network units; `ok` is False for failed latents.
    """
    found = solve_ode(solver, method, net, latents, method.t_prior, method.t_data, context)
    return found._replace(x=found.x / method.data_scale)


def interpolate(
    start: Float[Array, "b H W C"], end: Float[Array, "b H W C"], shares: Float[Array, " T"]
) -> Float[Array, "T b H W C"]:
    """Interpolates between pairs of latents: directions along the great circle, norms geometrically.

    If θ is the angle between the latents of a pair, and |a|, |b| are their norms, the latent at share s is

        (|b| / |a|)^s sin((1-s)θ) / sin θ · a + (|a| / |b|)^(1-s) sin(sθ) / sin θ · b

    Args:
      start, end: a and b.
      shares: s, the shares of the way from start to end; 0 returns exactly start, and 1 exactly end.

    Returns:
      The latents at each share. The path is a straight line between opposite latents, which have no shortest arc, and
      from or to a latent of norm 0, which has no direction.
    """
    flat_a, flat_b = start.reshape(len(start), -1), end.reshape(len(end), -1)
    norm_a, norm_b = (jnp.linalg.norm(flat, axis=1) for flat in (flat_a, flat_b))
    no_direction = (norm_a == 0) | (norm_b == 0)
    norm_a, norm_b = jnp.where(no_direction, 1.0, norm_a), jnp.where(no_direction, 1.0, norm_b)
    unit_a, unit_b = flat_a / norm_a[:, None], flat_b / norm_b[:, None]
    # From the tangent of the half angle, because the arc cosine would lose small angles.
    angle = 2 * jnp.arctan2(jnp.linalg.norm(unit_a - unit_b, axis=1), jnp.linalg.norm(unit_a + unit_b, axis=1))
    parallel, opposite = angle < SMALLEST_ANGLE, angle > jnp.pi - SMALLEST_ANGLE
    angle = jnp.where(parallel | opposite, 1.0, angle)

    s = shares[:, None]  # [T, 1]; what belongs to a pair is [1, b]
    growth, shrinkage, angle, parallel = (norm_b / norm_a)[None], (norm_a / norm_b)[None], angle[None], parallel[None]
    straight = (opposite | no_direction)[None]
    arc = lambda share: jnp.where(parallel, share, jnp.sin(share * angle) / jnp.sin(angle))
    of_a = jnp.where(straight, 1 - s, growth**s * arc(1 - s))
    of_b = jnp.where(straight, s, shrinkage ** (1 - s) * arc(s))
    expand = lambda coefficient: coefficient[..., None, None, None]
    path = expand(of_a) * start[None] + expand(of_b) * end[None]
    # On some devices x / x is not exactly 1.
    return jnp.where(expand(s) == 0, start[None], jnp.where(expand(s) == 1, end[None], path))


def rescale(latents: Float[Array, "b H W C"], temperatures: Float[Array, " T"]) -> Float[Array, "T b H W C"]:
    """Multiplies the norms of latents by each temperature; 1 returns them exactly."""
    return temperatures[:, None, None, None, None] * latents[None]
