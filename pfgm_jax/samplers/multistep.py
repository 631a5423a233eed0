"""Multistep solvers, with one evaluation per step: DDIM and DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095, section 4).

They solve dx/dt = x - D(x, t), the form of every method's ODE, and are exact where the denoised image D is constant
along the trajectory. DPM-Solver++ integrates the line or the parabola through the last two or three D. Its order is
lower in the first steps, which have fewer D, and in the last steps, which are the longest in t.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pfgm_jax.samplers.base import Solution, Velocity, solution
from pfgm_jax.samplers.steps import FixedSteps


class Multistep(FixedSteps):
    """A multistep solver."""

    order: ClassVar[int]

    def solve_at(
        self, velocity: Velocity, x: Float[Array, "b *shape"], times: Float[Array, " T"], rows: PyTree = None
    ) -> Solution:
        """Integrates in e^t; see `FixedSteps.solve_at`."""

        def step(state, now):
            x, past = state
            t, growth, weights = now
            v = velocity(x, t, rows)
            denoised = x - v
            # Written as a correction to an Euler step, since D itself loses digits where x is large.
            x = x + growth * v + sum(w * (p - denoised) for w, p in zip(weights, past, strict=True))
            return (x, (denoised, *past)[: self.order - 1]), None

        weights = multistep_weights(times, self.order)
        steps = (times[:-1], jnp.expm1(jnp.diff(times)), tuple(weights.T))
        (x, _), _ = jax.lax.scan(step, (x, (jnp.zeros_like(x),) * (self.order - 1)), steps)
        return solution(x, len(times) - 1)


class Euler(Multistep):
    """Euler steps in e^t, x <- x + (e^(t' - t) - 1) dx/dt, as in DDIM (Song et al. 2021, arXiv:2010.02502)."""

    order = 1


class DPMpp2M(Multistep):
    """Second-order DPM-Solver++ (Lu et al. 2022, Algorithm 2)."""

    order, own_schedule = 2, "rho"


class DPMpp3M(Multistep):
    """Third-order DPM-Solver++."""

    order, own_schedule = 3, "rho"


def multistep_weights(times: Float[Array, " T"], order: int) -> Float[Array, "T-1 past"]:
    """Computes the weights of the differences D_{i-1} - D_i and D_{i-2} - D_i that each step adds to an Euler step.

    The exact step is x' = e^h x - ∫_0^h e^(h - τ) D(t + τ) dτ (Lu et al. 2022, Proposition 4.1, with λ = -t). The
    second-order step is that of their Algorithm 2, which replaces τ by h/2 in front of the slope of D. The third-order
    step integrates the parabola in Newton's form, D_i + τ D_{i,i-1} + τ (τ + h_{i-1}) D_{i,i-1,i-2}.
    """
    h = jnp.diff(times)
    before, before2 = jnp.roll(h, 1), jnp.roll(h, 2)
    line = [0.5 * h * jnp.expm1(h) / before, jnp.zeros_like(h)]
    # e^h - 1 - h and e^h - 1 - h - h²/2; for short steps by their series, since the differences lose all digits.
    short = jnp.abs(h) < 0.1
    rest = jnp.where(short, h**3 / 6 * (1 + h / 4 * (1 + h / 5 * (1 + h / 6))), jnp.expm1(h) - h - 0.5 * h**2)
    slope = jnp.where(short, rest + 0.5 * h**2, jnp.expm1(h) - h)  # ∫ e^(h - τ) τ dτ
    curvature = 2 * rest + before * slope  # ∫ e^(h - τ) τ (τ + h_{i-1}) dτ
    parabola = [slope / before + curvature / (before * before2), -curvature / (before2 * (before + before2))]

    taken = jnp.arange(len(h))
    possible = jnp.minimum(jnp.minimum(taken + 1, taken[::-1] + 1), order)
    weights = [jnp.select([possible == 3, possible == 2], [p, w], 0.0) for p, w in zip(parabola, line, strict=True)]
    return jnp.stack(weights, axis=1)[:, : order - 1]
