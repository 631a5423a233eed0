"""Step schedules of samplers with a fixed number of steps between two noise levels."""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pfgm_jax import ranges
from pfgm_jax.errors import FieldError
from pfgm_jax.samplers.base import OdeSolver, Sampler, Solution, Time, Velocity

SCHEDULES = ("log", "rho")
# The schedule of a solver whose `levels` were chosen for a trained model; see `calibration`.
CALIBRATED = "calibrated"


@dataclasses.dataclass(frozen=True)
class Steps(Sampler):
    """A sampler with a fixed number of steps.

    Attributes:
      steps: number of steps.
      schedule: how steps divide the interval: 'log' evenly in the logarithm of the noise level, 'rho' evenly in its
        power 1/rho (Karras et al. 2022, equation 5); '' for the solver's default.
      rho: parameter of the schedule 'rho'; larger values shorten steps at small noise levels. 'log' is its limit.
      levels: descending noise levels of the steps between the two ends, instead of `steps` and `schedule`.
    """

    fields: ClassVar[Mapping[str, str]] = {
        "steps": "sampling.N",
        "schedule": "sampling.schedule",
        "rho": "sampling.rho",
        "levels": "sampling.levels",
    }
    own_schedule: ClassVar[str] = "log"
    schedules: ClassVar[tuple[str, ...]] = SCHEDULES
    evaluations_per_step: ClassVar[int] = 1

    steps: int = 100
    schedule: str = ""
    rho: float = 7.0
    levels: tuple[float, ...] = ()

    def __post_init__(self):
        schedule = ranges.Range(
            lambda v: v in ("", *self.schedules), f"choose one of {', '.join(self.schedules)}, or '' for the sampler's"
        )
        ranges.check(self, steps=ranges.at_least(1), schedule=schedule, rho=ranges.above(0), levels=ranges.descending())

    @classmethod
    def settings(cls, evaluations: Sequence[int], tolerances: Sequence[float]) -> list[dict[str, float]]:
        """Lists numbers of steps; see `Sampler.settings`."""
        del tolerances
        return [{"N": -(-count // cls.evaluations_per_step)} for count in evaluations]

    def check_levels(self, t_prior: float, t_data: float) -> None:
        """Checks that `levels` lie between the noise levels of the two ends.

        Raises:
          FieldError: they do not.
        """
        low, high = sorted(math.exp(t) for t in (t_prior, t_data))
        if self.levels and not low < min(self.levels) <= max(self.levels) < high:
            raise FieldError(
                "levels", self.levels, f"the ODE is solved between {high:.6g} and {low:.6g}: give levels between these"
            )

    def step_times(self, t0: Time, t1: Time) -> Float[Array, " T"]:
        """Computes the T times that bound the T - 1 steps from t0 to t1.

        Args:
          t0, t1: logarithms of noise levels; they cannot be traced if `levels` are given.

        Raises:
          FieldError: `levels` are not between those of t0 and t1.
        """
        if self.levels:
            self.check_levels(float(t0), float(t1))
            inner = [math.log(level) for level in self.levels]
            return jnp.array([t0, *(inner if t1 < t0 else reversed(inner)), t1], jnp.float32)
        start, end = jnp.float32(t0), jnp.float32(t1)
        share = jnp.linspace(0.0, 1.0, self.steps + 1, dtype=jnp.float32)
        if (self.schedule or self.own_schedule) == "log":
            times = start + share * (end - start)
        else:
            # Powers relative to that of the highest level, so that none overflows float32.
            top = jnp.maximum(start, end)
            power = lambda t: jnp.expm1((t - top) / self.rho)
            times = top + self.rho * jnp.log1p((1.0 - share) * power(start) + share * power(end))
        return times.at[0].set(start).at[-1].set(end)


@dataclasses.dataclass(frozen=True)
class FixedSteps(Steps, OdeSolver):
    """An ODE solver with a fixed number of steps.

    Attributes:
      schedule: as `Steps`, or 'calibrated' beside `levels` that were chosen for a trained model.
    """

    schedules: ClassVar[tuple[str, ...]] = (*SCHEDULES, CALIBRATED)

    def __post_init__(self):
        super().__post_init__()
        if self.schedule == CALIBRATED and not self.levels:
            raise FieldError(
                "schedule",
                self.schedule,
                "the noise levels of a trained model's steps are not known here; sample from a run for which "
                "`python -m pfgm_jax schedule` has chosen them, or choose log or rho",
            )

    @abc.abstractmethod
    def solve_at(
        self, velocity: Velocity, x: Float[Array, "b *shape"], times: Float[Array, " T"], rows: PyTree = None
    ) -> Solution:
        """Integrates dx/dt = velocity(x, t, rows) by T - 1 steps between times; see `OdeSolver.solve`."""

    def solve(
        self, velocity: Velocity, x: Float[Array, "b *shape"], t0: Time, t1: Time, rows: PyTree = None
    ) -> Solution:
        """Integrates by the steps of the schedule; see `OdeSolver.solve`."""
        return self.solve_at(velocity, x, self.step_times(t0, t1), rows)

    def single_solve(self) -> "FixedSteps":
        """Returns the solver without `levels`, which are specific to one interval."""
        return dataclasses.replace(self, levels=(), schedule="" if self.schedule == CALIBRATED else self.schedule)
