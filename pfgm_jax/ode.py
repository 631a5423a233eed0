"""Solving an ODE, counting its evaluations, reporting failure. The only file that knows diffrax."""

import dataclasses
import itertools
import math
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
# One evaluation a step, by their order. Euler's steps in e^t are those of DDIM.
MULTISTEP = {"euler": 1, "dpmpp_2m": 2, "dpmpp_3m": 3}
FIXED = ("improved_euler", *MULTISTEP)
SOLVERS = (*ADAPTIVE, *FIXED)
SCHEDULES = ("log", "rho")

# The first step of an adaptive solve as a share of the interval. Both ends of the ODE are nearly straight lines in e^t,
# so that a large step is accepted at tolerances in use; one that is not costs a single rejection.
FIRST_STEP = 0.04
# Gains of the controller of step sizes. With diffrax's own, of integral control alone, samples of a trained digits
# model at a tolerance of 1e-4 ended with a quarter more error (with a shared step: twice as much) after as many
# evaluations on the average, and the slowest sample of a thousand took 115 rather than 103.
PROPORTIONAL_GAIN, INTEGRAL_GAIN = 0.1, 0.6


@dataclasses.dataclass(frozen=True)
class Solver:
    """How to solve.

    Attributes:
      name: 'rk45' (Dormand-Prince 5(4)) or 'tsit5', which choose their steps; 'improved_euler' (Heun); or a multistep
        solver, with one evaluation a step: 'euler' (DDIM), 'dpmpp_2m' and 'dpmpp_3m' (DPM-Solver++).
      rtol, atol: tolerances of the adaptive solvers, against the root mean square of the error.
      steps: step count of the others.
      max_steps: attempted steps after which an adaptive solve counts as failed.
      shared_step: one step size for the whole batch, chosen on the error of all of it, as the authors' code does. By
        default each sample steps by itself, so that it does not depend on which others are solved beside it.
      schedule: how the steps of the others divide the interval: 'log' evenly in the logarithm of the noise level, 'rho'
        evenly in its power 1/rho (Karras et al. 2022, equation 5); '' for the solver's own, 'rho' of the DPM-Solver++
        and 'log' of the Euler ones, as in the release. 'improved_euler' with 'rho' is EDM's Heun sampler (their
        Algorithm 1).
      rho: of the schedule 'rho'; the larger, the shorter are the steps at small noise levels. 'log' is its limit.
      levels: descending noise levels to step through between those of the two ends, in place of steps and schedule.
    """

    name: str = "rk45"
    rtol: float = 1e-4
    atol: float = 1e-4
    steps: int = 100
    max_steps: int = 1000
    shared_step: bool = False
    schedule: str = ""
    rho: float = 7.0
    levels: tuple[float, ...] = ()

    def __post_init__(self):
        if self.name not in SOLVERS:
            raise ValueError(f"ode_solver is {self.name!r}; choose one of {', '.join(SOLVERS)}")
        for field in ("rtol", "atol"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} is {getattr(self, field)}; a tolerance must be positive")
        if self.schedule not in ("", *SCHEDULES):
            raise ValueError(
                f"schedule is {self.schedule!r}; choose one of {', '.join(SCHEDULES)}, or '' for the solver's"
            )
        if not 0 < self.rho < math.inf:
            raise ValueError(f"rho is {self.rho}; it must be a positive number")
        if not all(a > b > 0 for a, b in itertools.pairwise((math.inf, *self.levels))):
            raise ValueError(f"levels is {self.levels}; give positive noise levels, each below the one before it")
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
                " rough for the tolerance; train longer, loosen sampling.rtol and sampling.atol, or raise"
                " sampling.z_min"
            )
        return self


def solve(velocity: Velocity, x: Float[Array, "b *shape"], t0: Time, t1: Time, solver: Solver) -> Solution:
    """Integrates dx/dt = velocity(x, t) from t0 to t1; pure, to be jitted by the caller.

    The adaptive solvers step in t. The others are made for dx/dt = x - D(x, t), the form of every method's ODE, and are
    exact where the denoised image D does not change along the trajectory. 'euler' and 'improved_euler' step in the
    noise level e^t, x <- x + (e^(t' - t) - 1) dx/dt, in which trajectories are then straight; the latter ends on a
    plain Euler step. DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095, section 4) integrates the line or the parabola
    through the last two or three D; its order is lower in the first steps, where there are fewer, and in the last,
    which are the longest in t.

    Args:
      velocity: (x [b, ...], t) -> dx/dt [b, ...]; each sample's velocity depends on this sample alone.
      x: where to start.
      t0, t1: the interval, in either direction; logarithms of noise levels. Numbers, not traced, where `solver.levels`
        are given.
      solver: how.

    Returns:
      The solution; a failure is in its `ok`, and x is then not meaningful.

    Raises:
      ValueError: `solver.levels` do not lie between those of t0 and t1.
    """
    if solver.name in FIXED:
        times = step_times(t0, t1, solver)
        if solver.name in MULTISTEP:
            end, evaluations = _solve_multistep(velocity, x, times, MULTISTEP[solver.name])
        else:
            end, evaluations = _solve_heun(velocity, x, times)
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

    Raises:
      ValueError: `solver.levels` are given, which are those of one solve.
    """
    if solver.levels:
        raise ValueError(
            f"levels is {solver.levels}, but a trajectory has steps of its own between each two of its times; give a "
            "schedule instead"
        )

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
        stepsize_controller=diffrax.PIDController(
            rtol=solver.rtol, atol=solver.atol, pcoeff=PROPORTIONAL_GAIN, icoeff=INTEGRAL_GAIN
        ),
        saveat=diffrax.SaveAt(t1=True),
        max_steps=solver.max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    # Both methods have seven stages, of which the last is the first of the next step.
    return jnp.asarray(result.ys)[0], 1 + 6 * result.stats["num_steps"], result.result == diffrax.RESULTS.successful


def step_times(t0: Time, t1: Time, solver: Solver) -> Float[Array, " T"]:
    """Where the steps of a solver that does not choose them begin and end: T - 1 steps from t0 to t1.

    Args:
      t0, t1: see `solve`.
      solver: one of `FIXED`.

    Raises:
      ValueError: `solver.levels` do not lie between those of t0 and t1.
    """
    if solver.levels:
        inner = [math.log(level) for level in solver.levels]
        low, high = sorted((float(t0), float(t1)))
        if not low < min(inner) <= max(inner) < high:
            raise ValueError(
                f"levels is {solver.levels}; the ODE is solved between {math.exp(high):.6g} and {math.exp(low):.6g}, "
                "and levels must lie between these"
            )
        return jnp.array([t0, *(inner if t1 < t0 else reversed(inner)), t1], jnp.float32)
    start, end = jnp.float32(t0), jnp.float32(t1)
    share = jnp.linspace(0.0, 1.0, solver.steps + 1, dtype=jnp.float32)
    schedule = solver.schedule or ("rho" if MULTISTEP.get(solver.name, 1) > 1 else "log")
    if schedule == "log":
        times = start + share * (end - start)
    else:
        # Powers relative to that of the highest level, so that none is too large for float32.
        top = jnp.maximum(start, end)
        power = lambda t: jnp.expm1((t - top) / solver.rho)
        times = top + solver.rho * jnp.log1p((1.0 - share) * power(start) + share * power(end))
    return times.at[0].set(start).at[-1].set(end)


def _multistep_weights(times: Float[Array, " T"], order: int) -> Float[Array, "T-1 past"]:
    """How much each step adds of the differences D_{i-1} - D_i and D_{i-2} - D_i of denoised images to an Euler step.

    The exact step is x' = e^h x - ∫_0^h e^(h - τ) D(t + τ) dτ (Lu et al. 2022, Proposition 4.1, with λ = -t). Of the
    second order is the one of their Algorithm 2, where τ is replaced by h/2 in front of the slope of D; of the third
    the integral of the parabola in Newton's form, D_i + τ D_{i,i-1} + τ (τ + h_{i-1}) D_{i,i-1,i-2}.
    """
    h = jnp.diff(times)
    before, before2 = jnp.roll(h, 1), jnp.roll(h, 2)
    line = [0.5 * h * jnp.expm1(h) / before, jnp.zeros_like(h)]
    # e^h - 1 - h and e^h - 1 - h - h²/2; of short steps by their series, where the differences have no digits left.
    short = jnp.abs(h) < 0.1
    rest = jnp.where(short, h**3 / 6 * (1 + h / 4 * (1 + h / 5 * (1 + h / 6))), jnp.expm1(h) - h - 0.5 * h**2)
    slope = jnp.where(short, rest + 0.5 * h**2, jnp.expm1(h) - h)  # ∫ e^(h - τ) τ dτ
    curvature = 2 * rest + before * slope  # ∫ e^(h - τ) τ (τ + h_{i-1}) dτ
    parabola = [slope / before + curvature / (before * before2), -curvature / (before2 * (before + before2))]

    taken = jnp.arange(len(h))
    possible = jnp.minimum(jnp.minimum(taken + 1, taken[::-1] + 1), order)
    weights = [jnp.select([possible == 3, possible == 2], [p, w], 0.0) for p, w in zip(parabola, line, strict=True)]
    return jnp.stack(weights, axis=1)[:, : order - 1]


def _solve_multistep(velocity: Velocity, x: Float[Array, "b *shape"], times: Float[Array, " T"], order: int):
    def step(state, now):
        x, past = state
        t, growth, weights = now
        v = velocity(x, t)
        denoised = x - v
        # Differences to an Euler step: D itself has lost digits where x is large.
        x = x + growth * v + sum(w * (p - denoised) for w, p in zip(weights, past, strict=True))
        return (x, (denoised, *past)[: order - 1]), None

    weights = _multistep_weights(times, order)
    steps = (times[:-1], jnp.expm1(jnp.diff(times)), tuple(weights.T))
    (x, _), _ = jax.lax.scan(step, (x, (jnp.zeros_like(x),) * (order - 1)), steps)
    return x, len(times) - 1


def _solve_heun(velocity: Velocity, x: Float[Array, "b *shape"], times: Float[Array, " T"]):
    levels = jnp.exp(times)

    # One evaluation a pass, so that the network is compiled once: passes that predict a step and correct it by turns.
    def evaluate(state, now):
        x, start, slope_before = state
        t, level, width, corrects = now
        slope = velocity(x, t) / level
        x = start + width * jnp.where(corrects, 0.5 * (slope_before + slope), slope)
        return (x, jnp.where(corrects, x, start), slope), None

    twice = lambda a: jnp.repeat(a, 2)
    corrects = jnp.arange(2 * len(times) - 3) % 2 == 1
    passes = (twice(times[:-1])[1:], twice(levels[:-1])[1:], twice(jnp.diff(levels))[:-1], corrects)
    (x, _, _), _ = jax.lax.scan(evaluate, (x, x, jnp.zeros_like(x)), passes)
    return x, len(corrects)
