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

    With the schedule 'rho' it is EDM's Heun sampler (Karras et al. 2022, Algorithm 1). The default is 'log', as in the
    authors' release.
    """

    evaluations_per_step: ClassVar[int] = 2

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

        twice = lambda a: jnp.repeat(a, 2)
        corrects = jnp.arange(2 * len(times) - 3) % 2 == 1
        passes = (twice(times[:-1])[1:], twice(levels[:-1])[1:], twice(jnp.diff(levels))[:-1], corrects)
        (x, _, _), _ = jax.lax.scan(evaluate, (x, x, jnp.zeros_like(x)), passes)
        return solution(x, len(corrects))
