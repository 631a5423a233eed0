"""Guidance: a method whose ODE leads further towards what is asked for than the network would go by itself.

With v the velocity given the label, and u that without it, the ODE is dx/dt = u + w (v - u) (Ho & Salimans 2022,
arXiv:2207.12598): w = 0 asks for nothing, 1 for the label, and more for examples that are typical of it. It acts on
velocities, and not on what the network answers, of which PFGM's velocity is a ratio. It may be confined to an interval
of noise levels (Kynkäänniemi et al. 2024, arXiv:2404.07724).
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.methods.around import as_kind, type_around
from pfgm_jax.methods.base import Method, Network, Time, levels, per_row

# What samplers ask a method for. All of it is linear in the velocity.
GUIDED = ("velocity", "denoise", "score", "score_of_noisy")


def guided(method: Method, weight: float, interval: tuple[float, ...] = ()) -> Method:
    """Returns the method with guidance; it is of the method's own type, so that the same samplers take it.

    Args:
      method: of a network that has learned with labels, and without.
      weight: w.
      interval: the lowest and highest noise level at which there is guidance; () for all. At others, w is 1.
    """
    if weight == 1:
        return method
    return as_kind(method, _guided_type(type(method), weight, interval))


# The same type for the same guidance, so that methods are equal if they do the same.
@functools.lru_cache(maxsize=64)
def _guided_type(kind: type[Method], weight: float, interval: tuple[float, ...]) -> type[Method]:
    functions = {name: _guided(kind, name, weight, interval) for name in GUIDED if hasattr(kind, name)}
    return type_around(kind, "Guided", {**functions, "evaluations_each": 2 * kind.evaluations_each})


def _guided(kind: type[Method], name: str, weight: float, interval: tuple[float, ...]) -> Callable:
    def found(
        self, net: Network, x: Float[Array, "b H W C"], t: Time, context: Context = NO_CONTEXT
    ) -> Float[Array, "b H W C"]:
        of = getattr(as_kind(self, kind), name)
        with_label, without = of(net, x, t, context), of(net, x, t, context._replace(label=None))
        if not interval:
            return without + weight * (with_label - without)
        rho = self.rho_at(jnp.broadcast_to(t, x.shape[:1])) if name == "score_of_noisy" else levels(t, x)
        inside = (rho >= interval[0]) & (rho <= interval[1])
        return without + per_row(jnp.where(inside, weight, 1.0), x) * (with_label - without)

    found.__doc__ = f"Computes the guided value of `{kind.__name__}.{name}`."
    return found
