"""Samplers that add Gaussian noise in every step, of methods whose noise is Gaussian; and what they have in common.

States are u = a x0 + s ε with a = 1 - c ρ and s = ρ, see `methods.denoising`. A step leads from (a, s) to (a', s'), of
which r = s/a and r' = s'/a' are the ratios of noise to data.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from pfgm_jax import ranges
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.methods.base import Network
from pfgm_jax.methods.denoising import DenoisingMethod
from pfgm_jax.samplers.base import Solution, finished, solution
from pfgm_jax.samplers.steps import SCHEDULES, Steps

State = Float[Array, "b H W C"]


def noise_of_step(keys: Key[Array, " b"], step: Any, shape: tuple[int, ...]) -> Float[Array, "b *shape"]:
    """Draws the noise of one step, a row a sample, from its own key."""
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, step), shape))(keys)


class Step(NamedTuple):
    """The numbers of a step: levels before and after it, each a scalar."""

    t: Float[Array, "..."]
    a: Float[Array, "..."]
    s: Float[Array, "..."]
    next_a: Float[Array, "..."]
    next_s: Float[Array, "..."]
    ratio: Float[Array, "..."]  # r' / r, below 1; 0 where a is 0


@dataclasses.dataclass(frozen=True)
class StochasticSteps(Steps):
    """A sampler that adds noise in a fixed number of steps.

    Attributes:
      schedule: as `Steps`, or 'time', evenly in the method's own time, as its network was trained; '' stands for it.
    """

    requires: ClassVar[type[DenoisingMethod]] = DenoisingMethod
    needs_gaussian_noise: ClassVar[bool] = True
    own_schedule: ClassVar[str] = "time"
    schedules: ClassVar[tuple[str, ...]] = (*SCHEDULES, "time")

    def times(self, method: DenoisingMethod) -> Float[Array, " T"]:
        """Computes the times that bound the steps, as logarithms of ρ."""
        if self.levels or (self.schedule or self.own_schedule) in SCHEDULES:
            return self.step_times(method.t_prior, method.t_data)
        even = jnp.linspace(method.last_time, method.first_time, self.steps + 1, dtype=jnp.float32)
        return jnp.log(method.rho_at(even)).at[0].set(method.t_prior).at[-1].set(method.t_data)


def steps_between(method: DenoisingMethod, times: Float[Array, " T"]) -> Step:
    """Computes the numbers of the T - 1 steps between times, logarithms of ρ."""
    a, s = method.coordinates(jnp.exp(times))
    ratio = (s[1:] * a[:-1]) / (s[:-1] * a[1:])
    return Step(times[:-1], a[:-1], s[:-1], a[1:], s[1:], ratio)


class Shares(NamedTuple):
    """What the state after a step is made of, a number each."""

    x: Float[Array, "..."]
    data: Float[Array, "..."]
    noise: Float[Array, "..."]
    change: Float[Array, "..."]

    def combine(self, x: State, data: State, noise: State, before: State) -> State:
        """Computes the state after a step.

        Args:
          x: the state before it.
          data: D there.
          noise: standard normal.
          before: D in the step before.
        """
        return self.x * x + self.data * data + self.noise * noise + self.change * (data - before)


@dataclasses.dataclass(frozen=True)
class OneEvaluation(StochasticSteps):
    """A sampler whose steps each evaluate the network once.

    Attributes:
      clip: largest absolute value of a component of D, in network units; 0 for none.
    """

    fields: ClassVar[Mapping[str, str]] = {**StochasticSteps.fields, "clip": "sampling.clip"}

    clip: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, clip=ranges.at_least(0))

    def limited(self, data: State) -> State:
        """Clips D."""
        return jnp.clip(data, -self.clip, self.clip) if self.clip else data

    @abc.abstractmethod
    def shares(self, method: DenoisingMethod, steps: Step) -> Shares:
        """Computes what the state after each step is made of."""

    def __call__(
        self,
        method: DenoisingMethod,
        net: Network,
        x: State,
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Leads samples from the prior to the data; see `Sampler`."""
        steps = steps_between(method, self.times(method))

        def step(state, now):
            x, before = state
            number, t, shares = now
            data = self.limited(method.denoise(net, x, t, context))
            return (shares.combine(x, data, noise_of_step(keys, number, x.shape[1:]), before), data), None

        numbers = jnp.arange(len(steps.t)), steps.t, self.shares(method, steps)
        (x, _), _ = jax.lax.scan(step, (x, jnp.zeros_like(x)), numbers)
        return finished(solution(x, len(steps.t)), method, net, context)


@dataclasses.dataclass(frozen=True)
class DDIM(OneEvaluation):
    """DDIM (Song, Meng & Ermon 2021, arXiv:2010.02502): u' = a' D + √(s'² - η² τ²) / s (u - a D) + η τ ε.

    τ² = s'² (1 - r'²/r²) is the variance of the noise of DDPM. With η = 0 it is an Euler step of the ODE.

    Attributes:
      eta: η, the share of the noise.
    """

    fields: ClassVar[Mapping[str, str]] = {**OneEvaluation.fields, "eta": "sampling.eta"}

    eta: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, eta=ranges.Range(lambda v: 0 <= v <= 1, "give a number of 0 to 1"))

    def shares(self, method: DenoisingMethod, steps: Step) -> Shares:
        """Computes what states are made of; see `OneEvaluation`."""
        del method
        new = 1 - steps.ratio**2
        kept = steps.next_s / steps.s * jnp.sqrt(1 - self.eta**2 * new)
        noise = self.eta * steps.next_s * jnp.sqrt(new)
        return Shares(kept, steps.next_a - kept * steps.a, noise, jnp.zeros_like(kept))


@dataclasses.dataclass(frozen=True)
class DDPM(OneEvaluation):
    """The ancestral sampler of DDPM (Ho et al. 2020, arXiv:2006.11239, algorithm 2), for any path.

    Attributes:
      variance: of the noise: 'small', that of the posterior given the data; 'large', β.
    """

    fields: ClassVar[Mapping[str, str]] = {**OneEvaluation.fields, "variance": "sampling.variance"}

    variance: str = "small"

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, variance=ranges.one_of(("small", "large")))

    def shares(self, method: DenoisingMethod, steps: Step) -> Shares:
        """Computes what states are made of; see `OneEvaluation`."""
        # The forward process from the next level to this one multiplies by `decay` and adds noise of variance `added`.
        decay = steps.a / steps.next_a
        added = steps.s**2 - (decay * steps.next_s) ** 2
        of_x = decay * steps.next_s**2 / steps.s**2
        of_data = steps.next_a * added / steps.s**2
        if self.variance == "small":
            noise = jnp.sqrt(added / steps.s**2) * steps.next_s
        else:
            # β belongs to the network's coordinates x = (α / a) u.
            factor = method.marginal(steps.s).alpha / method.marginal(steps.next_s).alpha
            noise = jnp.sqrt(added) * (1.0 if method.contraction else factor)
        return Shares(of_x, of_data, noise, jnp.zeros_like(of_x))


@dataclasses.dataclass(frozen=True)
class SDEDPMpp2M(OneEvaluation):
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095): the reverse SDE, D on a line through the last two."""

    own_schedule: ClassVar[str] = "rho"

    def shares(self, method: DenoisingMethod, steps: Step) -> Shares:
        """Computes what states are made of; see `OneEvaluation`."""
        del method
        new = 1 - steps.ratio**2
        of_x = steps.next_s / steps.s * steps.ratio
        h = -jnp.log(steps.ratio)
        # The first step knows one D alone, and the last, the longest, is of first order too.
        line = 0.5 * steps.next_a * new * h / jnp.roll(h, 1)
        number = jnp.arange(len(h))
        of_change = jnp.where((number > 0) & (number < len(h) - 1) & jnp.isfinite(line), line, 0.0)
        return Shares(of_x, steps.next_a * new, steps.next_s * jnp.sqrt(new), of_change)
