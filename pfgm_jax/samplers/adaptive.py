"""Adaptive Runge-Kutta solvers. This is the only file that imports diffrax."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pfgm_jax import ranges
from pfgm_jax.samplers.base import OdeSolver, Solution, Time, Velocity, solution

# The first step of an adaptive solve as a share of the interval. Both ends of the ODE are nearly straight lines in e^t,
# so a large step is accepted at common tolerances; if not, it costs a single rejection.
FIRST_STEP = 0.04
# Gains of the step-size controller. With these, samples have the error of SciPy's RK45, which the authors' code calls,
# at the same tolerance, after as many evaluations (docs/solvers.md). Diffrax's default, pure integral control, is late
# where the field becomes rough, and has two to four times as much.
PROPORTIONAL_GAIN, INTEGRAL_GAIN = 0.4, 0.3


@dataclasses.dataclass(frozen=True)
class Adaptive(OdeSolver):
    """An embedded Runge-Kutta pair with seven stages; the last stage is the first of the next step.

    Attributes:
      scheme: the pair's name in diffrax.
      rtol, atol: tolerances for the root mean square of the error.
      max_steps: number of attempted steps after which a solve fails.
      shared_step: whether the whole batch shares one step size, chosen by the error of the batch, as in the authors'
        code. By default each sample has its own steps, so that it does not depend on the rest of the batch.
    """

    adaptive: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, str]] = {
        "rtol": "sampling.rtol",
        "atol": "sampling.atol",
        "max_steps": "sampling.max_steps",
        "shared_step": "sampling.shared_step",
    }
    scheme: ClassVar[str]

    rtol: float = 1e-4
    atol: float = 1e-4
    max_steps: int = 1000
    shared_step: bool = False

    def __post_init__(self):
        ranges.check(self, rtol=ranges.above(0), atol=ranges.above(0), max_steps=ranges.at_least(1))

    @classmethod
    def settings(cls, evaluations: Sequence[int], tolerances: Sequence[float]) -> list[dict[str, float]]:
        """Lists tolerances; see `Sampler.settings`."""
        del evaluations
        return [{"rtol": tolerance, "atol": tolerance} for tolerance in tolerances]

    def solve(
        self, velocity: Velocity, x: Float[Array, "b *shape"], t0: Time, t1: Time, rows: PyTree = None
    ) -> Solution:
        """Integrates in t; see `OdeSolver.solve`."""
        if self.shared_step:
            return solution(*self._solve(lambda y, t: velocity(y, t, rows), x, t0, t1))

        def one(x, row):
            row = jax.tree.map(lambda a: a[None], row)
            return self._solve(lambda y, t: velocity(y[None], t, row)[0], x, t0, t1)

        return solution(*jax.vmap(one)(x, rows))

    def _solve(self, velocity, x: Float[Array, "..."], t0: Time, t1: Time):
        """Integrates one state; returns the result, the number of evaluations, and whether the end was reached."""
        import diffrax  # here, as it takes a second, and training begins without it

        # Diffrax asks three times for what a velocity looks like; compiled, a network is traced for the first alone.
        velocity = jax.jit(velocity)
        result = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, _: velocity(y, jnp.asarray(t))),
            getattr(diffrax, self.scheme)(),
            # As float32: a Python float would promote the state where 64-bit types are enabled.
            jnp.float32(t0),
            jnp.float32(t1),
            jnp.float32(FIRST_STEP) * (jnp.float32(t1) - jnp.float32(t0)),
            x,
            stepsize_controller=diffrax.PIDController(
                rtol=self.rtol, atol=self.atol, pcoeff=PROPORTIONAL_GAIN, icoeff=INTEGRAL_GAIN
            ),
            saveat=diffrax.SaveAt(t1=True),
            max_steps=self.max_steps,
            throw=False,
            adjoint=diffrax.ForwardMode(),
        )
        evaluations = 1 + 6 * jnp.asarray(result.stats["num_steps"])
        return jnp.asarray(result.ys)[0], evaluations, result.result == diffrax.RESULTS.successful


class RK45(Adaptive):
    """The Dormand-Prince 5(4) solver."""

    scheme = "Dopri5"


class Tsit5(Adaptive):
    """The Tsitouras 5(4) solver."""

    scheme = "Tsit5"
