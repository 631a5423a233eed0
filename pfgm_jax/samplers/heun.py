"""Heun's method in the noise level, with two evaluations per step."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pfgm_jax.samplers.base import Solution, Velocity, solution
from pfgm_jax.samplers.steps import FixedSteps

# (x after a step, number of the step, its last time) -> x where the next begins.
Disturbance = Callable[[Float[Array, "b *shape"], Any, Any], Float[Array, "b *shape"]]


def heun_steps(
    velocity: Velocity,
    x: Float[Array, "b *shape"],
    times: Float[Array, " T"],
    rows: PyTree,
    *,
    corrects_last: bool,
    disturb: Disturbance | None = None,
) -> Solution:
    """Takes T - 1 steps of Heun's method between times.

    Args:
      velocity, x, rows: see `OdeSolver.solve`.
      times: logarithms of noise levels.
      corrects_last: False: the last step is an Euler step.
      disturb: changes x after each step but the last; None for no change.
    """
    levels = jnp.exp(times)

    # Each pass has one evaluation, so that the network is compiled once. Passes alternately predict a step and
    # correct it.
    def evaluate(state, now):
        x, start, slope_before = state
        t, level, width, corrects, number, end = now
        slope = velocity(x, t, rows) / level
        x = start + width * jnp.where(corrects, 0.5 * (slope_before + slope), slope)
        if disturb is not None:
            x = jnp.where(corrects & (number < len(times) - 2), disturb(x, number, end), x)
        return (x, jnp.where(corrects, x, start), slope), None

    count = 2 * (len(times) - 1) - (not corrects_last)
    twice = lambda a: jnp.repeat(a, 2)
    corrects = jnp.arange(count) % 2 == 1
    of_step = (twice(a)[:count] for a in (jnp.diff(levels), jnp.arange(len(times) - 1), times[1:]))
    width, number, end = of_step
    passes = (twice(times)[1:][:count], twice(levels)[1:][:count], width, corrects, number, end)
    (x, _, _), _ = jax.lax.scan(evaluate, (x, x, jnp.zeros_like(x)), passes)
    return solution(x, count)


@dataclasses.dataclass(frozen=True)
class ImprovedEuler(FixedSteps):
    """Heun's method in the noise level e^t, in which trajectories are nearly straight; the last step is an Euler step.

    The default schedule is 'log', as in the authors' release.
    """

    evaluations_per_step: ClassVar[int] = 2

    def solve_at(
        self, velocity: Velocity, x: Float[Array, "b *shape"], times: Float[Array, " T"], rows: PyTree = None
    ) -> Solution:
        """Integrates in e^t; see `FixedSteps.solve_at`."""
        return heun_steps(velocity, x, times, rows, corrects_last=False)


@dataclasses.dataclass(frozen=True)
class Heun(FixedSteps):
    """Heun's method with EDM's schedule 'rho' (Karras et al. 2022, Algorithm 1).

    Their last step leads from the smallest noise level to 0, where it is an Euler step and ends in the mean of the data
    as the network sees it. Here `steps` lead to the smallest level, and a method that denoises its samples then takes
    that step. So their 18 steps of 35 evaluations are 17 here.
    """

    own_schedule: ClassVar[str] = "rho"
    evaluations_per_step: ClassVar[int] = 2

    def solve_at(
        self, velocity: Velocity, x: Float[Array, "b *shape"], times: Float[Array, " T"], rows: PyTree = None
    ) -> Solution:
        """Integrates in e^t; see `FixedSteps.solve_at`."""
        return heun_steps(velocity, x, times, rows, corrects_last=True)
