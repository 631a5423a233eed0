"""Runge-Kutta solvers that choose their steps by their error. The only file that knows diffrax."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pfgm_jax import ranges
from pfgm_jax.samplers.base import OdeSolver, Solution, Time, Velocity, solution

# The first step of an adaptive solve as a share of the interval. Both ends of the ODE are nearly straight lines in e^t,
# so that a large step is accepted at tolerances in use; one that is not costs a single rejection.
FIRST_STEP = 0.04
# Gains of the controller of step sizes. With diffrax's own, of integral control alone, samples of a trained digits
# model at a tolerance of 1e-4 ended with a quarter more error (with a shared step: twice as much) after as many
# evaluations on the average, and the slowest sample of a thousand took 115 rather than 103.
PROPORTIONAL_GAIN, INTEGRAL_GAIN = 0.1, 0.6


@dataclasses.dataclass(frozen=True)
class Adaptive(OdeSolver):
    """An embedded Runge-Kutta pair with seven stages, of which the last is the first of the next step.

    Attributes:
      rtol, atol: tolerances, against the root mean square of the error.
      max_steps: attempted steps after which a solve counts as failed.
      shared_step: one step size for the whole batch, chosen on the error of all of it, as the authors' code does. By
        default each sample steps by itself, so that it does not depend on which others are solved beside it.
    """

    adaptive: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, str]] = {
        "rtol": "sampling.rtol",
        "atol": "sampling.atol",
        "max_steps": "sampling.max_steps",
        "shared_step": "sampling.shared_step",
    }
    scheme: ClassVar[type[diffrax.AbstractERK]]

    rtol: float = 1e-4
    atol: float = 1e-4
    max_steps: int = 1000
    shared_step: bool = False

    def __post_init__(self):
        ranges.check(self, rtol=ranges.above(0), atol=ranges.above(0), max_steps=ranges.at_least(1))

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
        """Integrates one state; returns its end, the evaluations, and whether the end was reached."""
        result = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, _: velocity(y, jnp.asarray(t))),
            self.scheme(),
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
    """Dormand-Prince 5(4)."""

    scheme = diffrax.Dopri5


class Tsit5(Adaptive):
    """Tsitouras 5(4)."""

    scheme = diffrax.Tsit5
