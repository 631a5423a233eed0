"""Solving an ODE, counting its evaluations, reporting failure. The only file that knows diffrax."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pfgm_jax.errors import SolveError

Time = float | Float[Array, ""]
Velocity = Callable[[Float[Array, "b *shape"], Float[Array, ""]], Float[Array, "b *shape"]]

ADAPTIVE = {"rk45": diffrax.Dopri5, "tsit5": diffrax.Tsit5}
FIXED = ("euler", "improved_euler")
SOLVERS = (*ADAPTIVE, *FIXED)

# The first step of an adaptive solve as a share of the interval. Both ends of the ODE are nearly straight lines in e^t,
# so that a large step is accepted at tolerances in use; one that is not costs a single rejection.
FIRST_STEP = 0.04


@dataclasses.dataclass(frozen=True)
class Solver:
    """How to solve.

    Attributes:
      name: 'rk45' (Dormand-Prince 5(4)), 'tsit5', 'euler' or 'improved_euler' (Heun).
      rtol, atol: tolerances of the adaptive solvers, against the root mean square of the error.
      steps: step count of the others.
      max_steps: attempted steps after which an adaptive solve counts as failed.
      shared_step: one step size for the whole batch, chosen on the error of all of it, as the authors' code does. By
        default each sample steps by itself, so that it does not depend on which others are solved beside it.
    """

    name: str = "rk45"
    rtol: float = 1e-4
    atol: float = 1e-4
    steps: int = 100
    max_steps: int = 1000
    shared_step: bool = False

    def __post_init__(self):
        if self.name not in SOLVERS:
            raise ValueError(f"ode_solver is {self.name!r}; choose one of {', '.join(SOLVERS)}")
        for field in ("rtol", "atol"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} is {getattr(self, field)}; a tolerance must be positive")
        for field in ("steps", "max_steps"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}; it must be at least 1")


class Solution(NamedTuple):
    """Where the ODE ended, sample by sample. `check` it on the host."""

    x: Float[Array | np.ndarray, "b *shape"]
    evaluations: Int[Array | np.ndarray, " b"]  # of the velocity
    ok: Bool[Array | np.ndarray, " b"]  # the end was reached and is finite

    def check(self, first: int = 0) -> "Solution":
        """Returns itself if every sample was solved; waits for the result.

        Args:
          first: number of the first sample, by which a failed one is named.

        Raises:
          SolveError: some were not.
        """
        ok = np.asarray(self.ok)
        if not ok.all():
            failed = np.flatnonzero(~ok)
            raise SolveError(
                f"the ODE solve failed for {len(failed)} of {len(ok)} samples (the first is number {first + failed[0]},"
                f" after {np.asarray(self.evaluations)[failed[0]]} evaluations): the velocity is not finite, or too"
                " rough for the tolerance; train longer, loosen sampling.rtol and sampling.atol, or choose 'euler'"
            )
        return self


def solve(velocity: Velocity, x: Float[Array, "b *shape"], t0: Time, t1: Time, solver: Solver) -> Solution:
    """Integrates dx/dt = velocity(x, t) from t0 to t1; pure, to be jitted by the caller.

    The fixed-step solvers step in e^t, on a grid uniform in t: x <- x + (e^(t' - t) - 1) dx/dt, since it is in the
    noise level e^t itself that trajectories are nearly straight. 'improved_euler' ends on a plain Euler step.

    Args:
      velocity: (x [b, ...], t) -> dx/dt [b, ...]; each sample's velocity depends on this sample alone.
      x: where to start.
      t0, t1: the interval, in either direction.
      solver: how.

    Returns:
      The solution; a failure is in its `ok`, and x is then not meaningful.
    """
    if solver.name in FIXED:
        end, evaluations = _solve_fixed(velocity, x, t0, t1, solver)
        reached = jnp.ones(len(x), bool)
        evaluations = jnp.full(len(x), evaluations)
    elif solver.shared_step:
        end, evaluations, reached = _solve_adaptive(velocity, x, t0, t1, solver)
        evaluations, reached = jnp.full(len(x), evaluations), jnp.full(len(x), reached)
    else:
        one = lambda x: _solve_adaptive(lambda y, t: velocity(y[None], t)[0], x, t0, t1, solver)
        end, evaluations, reached = jax.vmap(one)(x)
    finite = jnp.all(jnp.isfinite(end), axis=range(1, end.ndim))
    return Solution(end, evaluations, reached & finite)


def trajectory(
    velocity: Velocity, x: Float[Array, "b *shape"], times: Float[Array, " T"], solver: Solver
) -> tuple[Float[Array, "T b *shape"], Solution]:
    """States at several times, from the first of them, where x is, to the last.

    Args:
      velocity, x: see `solve`.
      times: ascending or descending. Between each two of them the ODE is solved anew: a fixed-step solver takes its
        steps there.
      solver: how.

    Returns:
      The states, and the solution at the last time.
    """

    def to_next(before, interval):
        after = solve(velocity, before.x, interval[0], interval[1], solver)
        after = after._replace(evaluations=before.evaluations + after.evaluations, ok=before.ok & after.ok)
        return after, after.x

    start = Solution(x, jnp.zeros(len(x), jnp.int32), jnp.ones(len(x), bool))
    end, states = jax.lax.scan(to_next, start, jnp.stack([times[:-1], times[1:]], axis=1))
    return jnp.concatenate([x[None], states]), end


def _solve_adaptive(velocity: Velocity, x: Float[Array, "..."], t0: Time, t1: Time, solver: Solver):
    method = ADAPTIVE[solver.name]()
    result = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, _: velocity(y, jnp.asarray(t))),
        method,
        # As float32: a Python float would promote the state where 64-bit types are enabled.
        jnp.float32(t0),
        jnp.float32(t1),
        jnp.float32(FIRST_STEP) * (jnp.float32(t1) - jnp.float32(t0)),
        x,
        stepsize_controller=diffrax.PIDController(rtol=solver.rtol, atol=solver.atol),
        saveat=diffrax.SaveAt(t1=True),
        max_steps=solver.max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    # Both methods have seven stages, of which the last is the first of the next step.
    return jnp.asarray(result.ys)[0], 1 + 6 * result.stats["num_steps"], result.result == diffrax.RESULTS.successful


def _solve_fixed(velocity: Velocity, x: Float[Array, "b *shape"], t0: Time, t1: Time, solver: Solver):
    levels = jnp.exp(jnp.linspace(t0, t1, solver.steps + 1, dtype=jnp.float32))

    def steps(method, x, levels):
        result = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda level, y, _: velocity(y, jnp.log(jnp.asarray(level))) / level),
            method,
            levels[0],
            levels[-1],
            None,
            x,
            stepsize_controller=diffrax.StepTo(levels),
            saveat=diffrax.SaveAt(t1=True),
            max_steps=len(levels),
            adjoint=diffrax.ForwardMode(),
        )
        return jnp.asarray(result.ys)[0]

    if solver.name == "euler":
        return steps(diffrax.Euler(), x, levels), solver.steps
    if solver.steps > 1:
        x = steps(diffrax.Heun(), x, levels[:-1])
    return steps(diffrax.Euler(), x, levels[-2:]), 2 * solver.steps - 1
