"""EDM's stochastic sampler: Heun's method that adds noise before every step (Karras et al. 2022, Algorithm 2)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from pfgm_jax import ranges
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import FieldError
from pfgm_jax.methods.base import Network
from pfgm_jax.methods.denoising import DenoisingMethod
from pfgm_jax.samplers.base import Solution, finished, solution
from pfgm_jax.samplers.stochastic import Step, StochasticSteps, noise_of_step, steps_between


@dataclasses.dataclass(frozen=True)
class Churn(StochasticSteps):
    """Heun's method in ρ, before each step of which the noise grows by a share; the last step is an Euler step.

    Attributes:
      S_churn: the share is S_churn / steps, at most √2 - 1.
      S_tmin, S_tmax: ratios of noise to data between which noise is added.
      S_noise: standard deviation of the noise that is added, beside what the level asks for.
    """

    fields: ClassVar[Mapping[str, str]] = {
        **StochasticSteps.fields,
        "S_churn": "sampling.S_churn",
        "S_tmin": "sampling.S_tmin",
        "S_tmax": "sampling.S_tmax",
        "S_noise": "sampling.S_noise",
    }
    own_schedule: ClassVar[str] = "rho"
    evaluations_per_step: ClassVar[int] = 2

    S_churn: float = 40.0
    S_tmin: float = 0.05
    S_tmax: float = 50.0
    S_noise: float = 1.003

    def __post_init__(self):
        super().__post_init__()
        not_negative = ranges.at_least(0)
        ranges.check(self, S_churn=not_negative, S_tmin=not_negative, S_tmax=not_negative, S_noise=not_negative)
        if self.S_tmax < self.S_tmin:
            raise FieldError("S_tmax", self.S_tmax, f"`S_tmin` is {self.S_tmin}: give a number that is no less")

    def _churned(self, method: DenoisingMethod, steps: Step) -> tuple[Float[Array, " T"], ...]:
        """Computes ρ after noise was added, the factor of the state, and that of the noise, of each step."""
        with_data = steps.a > 0
        ratio = steps.s / jnp.where(with_data, steps.a, 1.0)
        growth = jnp.where(
            with_data & (ratio >= self.S_tmin) & (ratio <= self.S_tmax),
            min(self.S_churn / len(steps.t), math.sqrt(2) - 1),
            0.0,
        )
        grown = ratio * (1 + growth)
        rho = jnp.where(growth > 0, grown / (1 + method.contraction * grown), steps.s)
        a = method.coordinates(rho)[0]
        factor = jnp.where(with_data, a / jnp.where(with_data, steps.a, 1.0), 1.0)
        return rho, factor, self.S_noise * a * ratio * jnp.sqrt(growth * (2 + growth))

    def __call__(
        self,
        method: DenoisingMethod,
        net: Network,
        x: Float[Array, "b H W C"],
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Leads samples from the prior to the data; see `Sampler`."""
        steps = steps_between(method, self.times(method))
        count = len(steps.t)

        # Each pass has one evaluation, so that the network is compiled once; passes alternately predict and correct.
        def evaluate(state, now):
            x, start, slope_before = state
            number, level, width, factor, of_noise, corrects = now
            noise = noise_of_step(keys, number, x.shape[1:])
            start = jnp.where(corrects, start, factor * x + of_noise * noise)
            x = jnp.where(corrects, x, start)
            slope = method.velocity(net, x, jnp.log(level), context) / level
            x = start + width * jnp.where(corrects, 0.5 * (slope_before + slope), slope)
            return (x, start, slope), None

        rho, factor, of_noise = self._churned(method, steps)
        interleaved = lambda first, second: jnp.stack([first, second], axis=1).reshape(-1)[:-1]
        twice = lambda a: jnp.repeat(a, 2)[:-1]
        passes = (
            twice(jnp.arange(count)),
            interleaved(rho, steps.next_s),
            twice(steps.next_s - rho),
            twice(factor),
            twice(of_noise),
            jnp.arange(2 * count - 1) % 2 == 1,
        )
        (x, _, _), _ = jax.lax.scan(evaluate, (x, x, jnp.zeros_like(x)), passes)
        return finished(solution(x, 2 * count - 1), method, net, context)
