"""Predictor-corrector samplers of score-based SDEs (Song et al. 2021, arXiv:2011.13456, appendix G).

They work in the network's coordinates x = α x0 + σ ε and the SDE's own time. In each step the corrector comes first.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from pfgm_jax import ranges
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import FieldError
from pfgm_jax.methods.base import Network, per_row
from pfgm_jax.methods.score_sde import ScoreSDE
from pfgm_jax.samplers.base import Sampler, Solution, solution
from pfgm_jax.samplers.stochastic import noise_of_step

# From here on norms of a sample's noise and score are near to their means. In 2 dimensions steps by these norms give
# some of 16 points ten times the samples of others.
FEW_DIMENSIONS = 64

State = Float[Array, "b H W C"]
Score = Callable[[State], State]


class At(NamedTuple):
    """Where a step is taken.

    Attributes:
      sde: the forward process.
      time: of the step.
      steps: number of all steps.
    """

    sde: ScoreSDE
    time: Float[Array, ""]
    steps: int


class Moved(NamedTuple):
    """A state after a step, and what it would be without the step's noise."""

    x: State
    mean: State


def euler_maruyama(at: At, score: Score, x: State, noise: State, flow: bool) -> Moved:
    """Takes a step of 1 / steps of the reverse SDE, or of the probability-flow ODE if `flow`."""
    g = at.sde.diffusion(at.time)
    drift = at.sde.drift_rate(at.time) * x - (0.5 if flow else 1.0) * g**2 * score(x)
    mean = x - drift / at.steps
    return Moved(mean if flow else mean + g / math.sqrt(at.steps) * noise, mean)


def reverse_diffusion(at: At, score: Score, x: State, noise: State, flow: bool) -> Moved:
    """Reverses a step of the discretized forward process."""
    decay, G = at.sde.discretize(at.time, at.steps)
    mean = x - (decay * x - (0.5 if flow else 1.0) * G**2 * score(x))
    return Moved(mean if flow else mean + G * noise, mean)


def ancestral_sampling(at: At, score: Score, x: State, noise: State, flow: bool) -> Moved:
    """Draws from the posterior of a step of the discretized forward process."""
    del flow
    factor, of_score, std = at.sde.ancestral(at.time, at.steps)
    mean = factor * (x + of_score * score(x))
    return Moved(mean + std * noise, mean)


def langevin_size(at: At, snr: float, score: State, noise: State, shared: bool) -> Float[Array, " b"]:
    """Computes the step size with which the score has `snr` times the norm of the noise.

    Args:
      at: where.
      snr: ratio of signal to noise.
      score, noise: of the step.
      shared: whether norms are means over the batch, as in the authors' code; False: of each sample, which in few
        dimensions vary so much that steps would favour some places: there, norms of noise at this level.
    """
    if not shared and score[0].size < FEW_DIMENSIONS:
        return ald_size(at, snr, score, noise, shared)
    norm = lambda a: jnp.sqrt(jnp.sum(a**2, axis=(1, 2, 3)))
    of_noise, of_score = norm(noise), norm(score)
    if shared:
        of_noise, of_score = (jnp.broadcast_to(jnp.mean(a), a.shape) for a in (of_noise, of_score))
    return 2 * at.sde.langevin_scale(at.time, at.steps) * (snr * of_noise / of_score) ** 2


def ald_size(at: At, snr: float, score: State, noise: State, shared: bool) -> Float[Array, " b"]:
    """Computes the step size of annealed Langevin dynamics, (snr σ)²."""
    del noise, shared
    std = at.sde.marginal(at.sde.rho_at(at.time)).sigma
    return jnp.broadcast_to(2 * at.sde.langevin_scale(at.time, at.steps) * (snr * std) ** 2, score.shape[:1])


def langevin_step(size: Float[Array, " b"], score: State, x: State, noise: State) -> Moved:
    """Takes a step of Langevin dynamics."""
    mean = x + per_row(size, x) * score
    return Moved(mean + per_row(jnp.sqrt(2 * size), x) * noise, mean)


PREDICTORS = {
    "euler_maruyama": euler_maruyama,
    "reverse_diffusion": reverse_diffusion,
    "ancestral_sampling": ancestral_sampling,
}
CORRECTORS = {"langevin": langevin_size, "ald": ald_size}
NONE = "none"


@dataclasses.dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """A predictor-corrector sampler.

    Attributes:
      steps: number of steps, evenly from the prior's time to the data's, both of which are among them.
      predictor: 'euler_maruyama', 'reverse_diffusion', 'ancestral_sampling' or 'none'.
      corrector: 'langevin', 'ald' or 'none'.
      snr: ratio of signal to noise of the corrector.
      steps_each: of the corrector, before each of the predictor.
      probability_flow: follow the ODE rather than the SDE.
      shared_step: Langevin's step size of the batch, as in the authors' code, rather than of each sample.
    """

    requires: ClassVar[type[ScoreSDE]] = ScoreSDE
    needs_gaussian_noise: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, str]] = {
        "steps": "sampling.N",
        "predictor": "sampling.predictor",
        "corrector": "sampling.corrector",
        "snr": "sampling.snr",
        "steps_each": "sampling.n_steps_each",
        "probability_flow": "sampling.probability_flow",
        "shared_step": "sampling.shared_step",
    }

    steps: int = 1000
    predictor: str = "reverse_diffusion"
    corrector: str = "langevin"
    snr: float = 0.16
    steps_each: int = 1
    probability_flow: bool = False
    shared_step: bool = False

    def __post_init__(self):
        ranges.check(
            self,
            steps=ranges.at_least(1),
            predictor=ranges.one_of((*PREDICTORS, NONE)),
            corrector=ranges.one_of((*CORRECTORS, NONE)),
            snr=ranges.above(0),
            steps_each=ranges.at_least(1),
        )

    @classmethod
    def settings(cls, evaluations: Sequence[int], tolerances: Sequence[float]) -> list[dict[str, float]]:
        """Lists numbers of steps; see `Sampler.settings`."""
        del tolerances
        return [{"N": max(count // 2, 2)} for count in evaluations]

    def check_method(self, method: ScoreSDE) -> None:
        """Checks that the options go together, and that the method has so many steps of this kind.

        Raises:
          FieldError: they do not, or it has not.
        """
        if self.predictor == self.corrector == NONE:
            raise FieldError("predictor", NONE, f"`corrector` is {NONE!r} too: choose one of them")
        if self.probability_flow and self.predictor == "ancestral_sampling":
            raise FieldError(
                "probability_flow",
                True,
                "the ancestral predictor always adds noise: set it to False, or choose "
                "`predictor` euler_maruyama or reverse_diffusion",
            )
        if self.steps < 2:
            raise FieldError("steps", self.steps, "both ends of the way are steps: give at least 2")
        method.check_steps(self.steps, self.predictor)

    def correct(self, at: At, score: Score, x: State, noise: State) -> Moved:
        """Takes one step of the corrector."""
        s = score(x)
        return langevin_step(CORRECTORS[self.corrector](at, self.snr, s, noise, self.shared_step), s, x, noise)

    def predict(self, at: At, score: Score, x: State, noise: State) -> Moved:
        """Takes one step of the predictor."""
        return PREDICTORS[self.predictor](at, score, x, noise, self.probability_flow)

    @property
    def draws_per_step(self) -> int:
        """How many draws of noise a step takes."""
        return (self.steps_each if self.corrector != NONE else 0) + (self.predictor != NONE)

    def step(self, at: At, score: Score, x: State, draw: Callable[[int], State]) -> Moved:
        """Takes a step of both.

        Args:
          at: where.
          score: of states at that time.
          x: states.
          draw: number of a draw within the step -> noise.
        """
        moved, number = Moved(x, x), 0
        for _ in range(self.steps_each if self.corrector != NONE else 0):
            moved = self.correct(at, score, moved.x, draw(number))
            number += 1
        if self.predictor == NONE:
            return Moved(moved.x, moved.x)
        return self.predict(at, score, moved.x, draw(number))

    def __call__(
        self,
        method: ScoreSDE,
        net: Network,
        x: State,
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Leads samples from the prior to the data; see `Sampler`."""
        times = jnp.linspace(method.last_time, method.first_time, self.steps, dtype=jnp.float32)

        def step(state, now):
            x, _ = state
            number, time = now
            score = lambda x: method.score_of_noisy(net, x, time, context)
            draw = lambda i: noise_of_step(keys, number * self.draws_per_step + i, x.shape[1:])
            return self.step(At(method, time, self.steps), score, x, draw), None

        start = method.marginal(jnp.exp(jnp.float32(method.t_prior))).alpha * x
        moved, _ = jax.lax.scan(step, Moved(start, start), (jnp.arange(self.steps), times))
        end = moved.mean if method.noise_removal else moved.x
        return solution(end, self.steps * self.draws_per_step)
