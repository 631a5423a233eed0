"""Heun's method in the noise level, with two evaluations per step."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pfgm_jax.samplers.base import Solution, Time, Velocity, solution
from pfgm_jax.samplers.steps import FixedSteps


@dataclasses.dataclass(frozen=True)
class ImprovedEuler(FixedSteps):
    """Heun's method in the noise level e^t, in which trajectories are nearly straight; the last step is an Euler step.

    The default schedule is 'log', as in the authors' release.
    """

    evaluations_per_step: ClassVar[int] = 2
    # Whether the last step is corrected too.
    corrects_last: ClassVar[bool] = False

    def solve(
        self, velocity: Velocity, x: Float[Array, "b *shape"], t0: Time, t1: Time, rows: PyTree = None
    ) -> Solution:
        """Integrates in e^t; see `OdeSolver.solve`."""
        times = self.step_times(t0, t1)
        levels = jnp.exp(times)

        # Each pass has one evaluation, so that the network is compiled once. Passes alternately predict a step and
        # correct it.
        def evaluate(state, now):
            x, start, slope_before = state
            t, level, width, corrects = now
            slope = velocity(x, t, rows) / level
            x = start + width * jnp.where(corrects, 0.5 * (slope_before + slope), slope)
            return (x, jnp.where(corrects, x, start), slope), None

        count = 2 * (len(times) - 1) - (not self.corrects_last)
        twice = lambda a: jnp.repeat(a, 2)
        corrects = jnp.arange(count) % 2 == 1
        passes = (twice(times)[1:][:count], twice(levels)[1:][:count], twice(jnp.diff(levels))[:count], corrects)
        (x, _, _), _ = jax.lax.scan(evaluate, (x, x, jnp.zeros_like(x)), passes)
        return solution(x, len(corrects))


@dataclasses.dataclass(frozen=True)
class Heun(ImprovedEuler):
    """Heun's method with EDM's schedule 'rho' (Karras et al. 2022, Algorithm 1).

    Their last step leads from the smallest noise level to 0, where it is an Euler step and ends in the mean of the data
    as the network sees it. Here `steps` lead to the smallest level, and a method that denoises its samples then takes
    that step. So their 18 steps of 35 evaluations are 17 here.
    """

    own_schedule: ClassVar[str] = "rho"
    corrects_last: ClassVar[bool] = True
