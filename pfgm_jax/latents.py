"""Latents: where the ODE carries images on the plane of the prior, and paths between and around them.

The ODE is invertible: every image has one latent, and every latent one image. On the plane a latent's direction says
what the image is of, and its norm, which the prior leaves free over orders of magnitude, how far out its field line
runs. Paths therefore treat the two apart.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.methods.base import Method, Network
from pfgm_jax.samplers.base import OdeSolver, Solution, solve_ode

# Angles in radians below which, or this near to π, the arc between two directions is lost in rounding.
SMALLEST_ANGLE = 1e-3


def encode(
    method: Method, net: Network, x: Float[Array, "b H W C"], solver: OdeSolver, context: Context = NO_CONTEXT
) -> Solution:
    """Follows the ODE from the data to the prior; pure, to be jitted by the caller.

    Args:
      method: prior and ODE.
      net: a trained network.
      x: images in network units.
      solver: how to solve the ODE.
      context: of each image.

    Returns:
      Latents [b, H, W, C]. They lead back to the images as nearly as the solver solves; a failure is in `ok`.
    """
    return solve_ode(solver, method, net, x, method.t_data, method.t_prior, context)


def decode(
    method: Method, net: Network, latents: Float[Array, "b H W C"], solver: OdeSolver, context: Context = NO_CONTEXT
) -> Solution:
    """Follows the ODE from the prior to the data; pure, to be jitted by the caller.

    Args:
      method: prior and ODE.
      net: a trained network.
      latents: on the plane of the prior.
      solver: how to solve the ODE.
      context: of each latent.

    Returns:
      Images [b, H, W, C] in network units; a failure is in `ok`.
    """
    return solve_ode(solver, method, net, latents, method.t_prior, method.t_data, context)


def interpolate(
    start: Float[Array, "b H W C"], end: Float[Array, "b H W C"], shares: Float[Array, " T"]
) -> Float[Array, "T b H W C"]:
    """Latents between pairs of latents: directions along the great circle, norms geometrically.

    With θ the angle between the pair, and |a|, |b| their norms, the latent at share s is

        (|b| / |a|)^s sin((1-s)θ) / sin θ · a + (|a| / |b|)^(1-s) sin(sθ) / sin θ · b

    Args:
      start, end: a and b.
      shares: s, of the way from start to end; 0 gives start and 1 gives end, to the bit.

    Returns:
      The latents of each share. Between a latent and its opposite there is no shortest arc, and for a latent of norm 0
      there is no direction: there the path is a straight line.
    """
    flat_a, flat_b = start.reshape(len(start), -1), end.reshape(len(end), -1)
    norm_a, norm_b = (jnp.linalg.norm(flat, axis=1) for flat in (flat_a, flat_b))
    no_direction = (norm_a == 0) | (norm_b == 0)
    norm_a, norm_b = jnp.where(no_direction, 1.0, norm_a), jnp.where(no_direction, 1.0, norm_b)
    unit_a, unit_b = flat_a / norm_a[:, None], flat_b / norm_b[:, None]
    # The half angle by its tangent: the arc cosine would lose small angles.
    angle = 2 * jnp.arctan2(jnp.linalg.norm(unit_a - unit_b, axis=1), jnp.linalg.norm(unit_a + unit_b, axis=1))
    parallel, opposite = angle < SMALLEST_ANGLE, angle > jnp.pi - SMALLEST_ANGLE
    angle = jnp.where(parallel | opposite, 1.0, angle)

    s = shares[:, None]
    arc = lambda share: jnp.where(parallel, share, jnp.sin(share * angle) / jnp.sin(angle))
    straight = opposite | no_direction
    of_a = jnp.where(straight, 1 - s, (norm_b / norm_a) ** s * arc(1 - s))
    of_b = jnp.where(straight, s, (norm_a / norm_b) ** (1 - s) * arc(s))
    expand = lambda coefficient: coefficient[..., None, None, None]
    path = expand(of_a) * start + expand(of_b) * end
    # On some devices a number divided by itself is not quite 1.
    return jnp.where(expand(s) == 0, start, jnp.where(expand(s) == 1, end, path))


def rescale(latents: Float[Array, "b H W C"], temperatures: Float[Array, " T"]) -> Float[Array, "T b H W C"]:
    """Latents with their norms multiplied by each temperature; 1 changes nothing, to the bit."""
    return temperatures[:, None, None, None, None] * latents
