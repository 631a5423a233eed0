"""RePaint's resampling (Lugmayr et al. 2022, arXiv:2201.09865): steps that are taken several times."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from pfgm_jax import ranges
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.methods.base import Method, Network
from pfgm_jax.samplers.base import Solution, finished, solution
from pfgm_jax.samplers.steps import Steps


@dataclasses.dataclass(frozen=True)
class RePaint(Steps):
    """Euler steps of the ODE, each of which, but the last, noise leads back up before it is taken again.

    Where part of an image is known (see `restoration`), what is drawn first of the rest may not suit it. Each
    repetition lets the two come nearer to each other, which lower noise levels could not mend any more.

    The noise must add up to noise of the method: Gaussian noise does, and that of PFGM, but not that of PFGM++ with
    other D.

    Attributes:
      resamplings: how often each step is taken.
    """

    fields: ClassVar[Mapping[str, str]] = {**Steps.fields, "resamplings": "sampling.resamplings"}

    resamplings: int = 10

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, resamplings=ranges.at_least(1))

    @classmethod
    def settings(cls, evaluations: Sequence[int], tolerances: Sequence[float]) -> list[dict[str, float]]:
        """Lists nothing: without a part that is known, steps need no repetition."""
        del evaluations, tolerances
        return []

    @classmethod
    def supports(cls, method: Method) -> bool:
        """Says whether the method's noise adds up."""
        return super().supports(method) and method.noise_adds_up

    def __call__(
        self,
        method: Method,
        net: Network,
        x: Float[Array, "b H W C"],
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Leads samples from the prior to the data; see `Sampler`."""
        times = self.step_times(method.t_prior, method.t_data)
        count = len(times) - 1
        # The last step, from which nothing leads back up, is taken once.
        total = self.resamplings * (count - 1) + 1
        number = jnp.arange(total)
        interval = number // self.resamplings
        back = (number % self.resamplings < self.resamplings - 1) & (interval < count - 1)

        def step(x, now):
            number, upper, lower, back = now
            x = x + jnp.expm1(lower - upper) * method.velocity(net, x, upper, context)
            of_step = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
            return jnp.where(back, method.raised(of_step, x, lower, upper), x), None

        x, _ = jax.lax.scan(step, x, (number, times[:-1][interval], times[1:][interval], back))
        return finished(solution(x, total), method, net, context)
