"""Annealed Langevin dynamics, the sampler of NCSN (Song & Ermon 2019, arXiv:1907.05600) and of NCSNv2 (2006.09011)."""

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
from pfgm_jax.methods.diffusion import Diffusion
from pfgm_jax.samplers.base import Solution, finished, solution
from pfgm_jax.samplers.stochastic import StochasticSteps, noise_of_step


@dataclasses.dataclass(frozen=True)
class AnnealedLangevin(StochasticSteps):
    """At each of `steps` levels, from the largest to the smallest, `steps_each` steps x <- x + e score + √(2e) ε.

    e = step_size σ²/σ_min². Levels are even in log σ, those of a network with as many discrete ones among them.

    Attributes:
      steps_each: steps at each level.
      step_size: of the smallest level, in squared network units.
    """

    fields: ClassVar[Mapping[str, str]] = {
        **StochasticSteps.fields,
        "steps_each": "sampling.n_steps_each",
        "step_size": "sampling.step_size",
    }
    requires: ClassVar[type[Diffusion]] = Diffusion
    own_schedule: ClassVar[str] = "log"

    steps_each: int = 1
    step_size: float = 2e-5

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, steps_each=ranges.at_least(1), step_size=ranges.above(0))

    def check_method(self, method: Diffusion) -> None:
        """Checks that steps do not lead away from where the score leads to.

        Raises:
          FieldError: the steps are too large for the smallest level.
        """
        largest = 2 * math.exp(2 * method.t_data)
        if self.step_size >= largest:
            raise FieldError(
                "step_size",
                self.step_size,
                f"steps at the smallest noise level would overshoot from {largest:.3g} on: give a smaller one, such as "
                f"{0.1 * largest:.3g}",
            )

    def __call__(
        self,
        method: Diffusion,
        net: Network,
        x: Float[Array, "b H W C"],
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Leads samples from the prior to the data; see `Sampler`."""
        # As many levels as steps: both ends are levels.
        inner = dataclasses.replace(self, steps=max(self.steps - 1, 1))
        times = jnp.repeat(inner.times(method), self.steps_each)

        def step(x, now):
            number, t = now
            e = self.step_size * jnp.exp(2 * (t - method.t_data))
            score = method.score(net, x, t, context)
            return x + e * score + jnp.sqrt(2 * e) * noise_of_step(keys, number, x.shape[1:]), None

        x, _ = jax.lax.scan(step, x, (jnp.arange(len(times)), times))
        return finished(solution(x, len(times)), method, net, context)
