"""Chooses the noise levels of a solver's few steps for a trained model.

With few steps it matters where they are, and it differs from model to model. As in LD3 (Tong et al. 2024,
arXiv:2405.15506), gradients through the solver find where they lead nearest to the ends of the exact ODE.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from pfgm_jax import build, given, schedules
from pfgm_jax.bound_model import BoundModel
from pfgm_jax.errors import InputError, shown
from pfgm_jax.keys import Keys, sample_keys
from pfgm_jax.progress import progress_bar
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.samplers.base import Solution, finished
from pfgm_jax.samplers.steps import FixedSteps
from pfgm_jax.sharding import Devices

log = logging.getLogger("pfgm_jax")

# Trajectories that levels are chosen by, and as many others that they are checked with.
TRAJECTORIES = 128
ITERATIONS = 150
LEARNING_RATE = 0.1


class Calibrated(NamedTuple):
    """Noise levels of a solver's steps.

    Attributes:
      levels: between those of the two ends, descending.
      error: root mean square distance, in network units, of the ends of other trajectories from those of RK45.
      error_before: that of the solver's own schedule.
    """

    levels: tuple[float, ...]
    error: float
    error_before: float


class Trajectories(NamedTuple):
    """Draws from the prior and where the ODE leads them."""

    start: Float[Array, "b H W C"]
    end: Float[Array, "b H W C"]
    context: Any


class Calibration:
    """Chooses noise levels for a model."""

    def __init__(self, model: BoundModel, solver: str):
        """Solves the ODE of a model.

        Args:
          model: a trained model, whose guidance and ends the levels are for.
          solver: one of `schedules.fixed_solvers()`.

        Raises:
          InputError: its noise levels cannot be chosen.
          SolveError: the ODE could not be solved.
        """
        able = schedules.fixed_solvers()
        if solver not in able:
            raise InputError(
                f"the solver is {shown(solver)}, whose noise levels cannot be chosen; choose one of {', '.join(able)}"
            )
        self._model, self._name, self._devices = model, solver, Devices.all()
        size = self._devices.round_up(min(TRAJECTORIES, model.config.sampling.batch_size))
        exact = build.create_named_sampler(model.config, "rk45")
        key = Keys.from_seed(model.config.seed, self._devices.whole).held_out

        @jax.jit
        def solve(params, key, first, context):
            keys, context = self._devices.split((sample_keys(key, size, first), context))
            x = model.method.start(keys, context)
            return x, exact(model.method, model.generator.network(params), x, keys, context)

        def trajectories(first: int) -> Trajectories:
            context = given.of_samples(model.config, model.config.seed, first, size, model.examples)
            start, found = solve(model.params, key, np.int32(first), context)
            return Trajectories(start, jnp.asarray(found.check(first).x), context)

        self._shown, self._others = trajectories(0), trajectories(size)

    def __call__(self, steps: int) -> Calibrated:
        """Chooses the noise levels of so many steps.

        Args:
          steps: at least 2.

        Returns:
          The levels, or those of the solver's own schedule where they are no better.
        """
        method = self._model.method
        solver = SAMPLERS[self._name](steps=steps)
        shares = jnp.diff(solver.step_times(method.t_prior, method.t_data)) / (method.t_data - method.t_prior)
        before = jnp.log(shares)
        distance = self._distance(solver)
        # Adam with a rate that falls to 0.
        optimizer = optax.chain(optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, ITERATIONS)))

        @jax.jit
        def improve(shares, state, params, rows):
            error, gradient = jax.value_and_grad(distance)(shares, params, rows)
            updates, state = optimizer.update(gradient, state)
            return optax.apply_updates(shares, updates), state, error

        now, state, best = before, optimizer.init(before), (np.inf, before)
        with progress_bar(ITERATIONS, "iteration") as bar:
            for _ in range(ITERATIONS):
                following, state, error = improve(now, state, self._model.params, self._shown)
                if float(error) < best[0]:
                    best = float(error), now
                now = following
                bar.update()
                bar.set_postfix(steps=steps, error=f"{np.sqrt(best[0]):.4g}")
        measure = jax.jit(distance)
        errors = [float(np.sqrt(measure(s, self._model.params, self._others))) for s in (best[1], before)]
        chosen = best[1] if errors[0] < errors[1] else before
        if chosen is before:
            log.warning("No levels better than the solver's own were found for %d steps of %s", steps, self._name)
        levels = tuple(float(level) for level in np.exp(self._times(chosen)[1:-1]))
        return Calibrated(levels, min(errors), errors[1])

    def _times(self, shares: Float[Array, " N"]) -> Float[Array, " N+1"]:
        """Returns the times that bound steps whose shares of the interval have these logarithms, up to a constant."""
        method = self._model.method
        passed = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jax.nn.softmax(shares))])
        return method.t_prior + passed * (method.t_data - method.t_prior)

    def _distance(self, solver: FixedSteps) -> Callable[[Float[Array, " N"], PyTree, Trajectories], Float[Array, ""]]:
        """Creates what measures how far the ends of steps are from those of RK45: their mean square distance."""
        method, devices = self._model.method, self._devices

        def distance(shares, params, rows):
            rows = devices.split(rows)
            net = self._model.generator.network(params)

            # Computed again for the gradient, which takes the memory of one evaluation then.
            @jax.checkpoint
            def velocity(x, t, context):
                return method.velocity(net, x, t, context)

            found: Solution = solver.solve_at(velocity, rows.start, self._times(shares), rows.context)
            ended = finished(found, method, net, rows.context)
            return jnp.mean(jnp.square(ended.x - rows.end))

        return distance
