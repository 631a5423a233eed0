"""Heun's method with noise added after every step, to measure how much of it a method bears."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from pfgm_jax import ranges
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.methods.base import Method, Network
from pfgm_jax.samplers.base import Solution, finished
from pfgm_jax.samplers.heun import heun_steps
from pfgm_jax.samplers.steps import Steps
from pfgm_jax.samplers.stochastic import noise_of_step


@dataclasses.dataclass(frozen=True)
class DisturbedHeun(Steps):
    """The sampler `heun`, and x <- x + α σ ε with ε ~ N(0, I) after each step but the last (Xu et al. 2023, section 5).

    σ is the noise level that the step ends at: z for PFGM, r/√D for PFGM++. The sampler knows nothing of the noise, as
    if the network had erred by it.

    Attributes:
      alpha: α.
    """

    fields: ClassVar[Mapping[str, str]] = {**Steps.fields, "alpha": "sampling.alpha"}
    own_schedule: ClassVar[str] = "rho"
    evaluations_per_step: ClassVar[int] = 2

    alpha: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, alpha=ranges.at_least(0))

    @classmethod
    def settings(cls, evaluations: Sequence[int], tolerances: Sequence[float]) -> list[dict[str, float]]:
        """Lists nothing: what noise it adds is not a matter of evaluations."""
        del evaluations, tolerances
        return []

    def __call__(
        self,
        method: Method,
        net: Network,
        x: Float[Array, "b H W C"],
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Leads samples from the prior to the data; see `Sampler`."""
        velocity = lambda x, t, context: method.velocity(net, x, t, context)
        disturb = lambda x, number, t: x + self.alpha * jnp.exp(t) * noise_of_step(keys, number, x.shape[1:])
        times = self.step_times(method.t_prior, method.t_data)
        found = heun_steps(velocity, x, times, context, corrects_last=True, disturb=disturb)
        return finished(found, method, net, context)
