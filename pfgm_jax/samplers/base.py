"""The interface by which the rest of the code knows samplers.

A sampler leads draws from a method's prior to data. An ODE solver is a sampler that also solves other problems, in
either direction: latents and likelihoods ask for one.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import SolveError
from pfgm_jax.methods.base import Method, Network

Time = float | Float[Array, ""]
# (x [b, ...], t, rows) -> dx/dt [b, ...], where `rows` is what is given of the same b samples.
Velocity = Callable[[Float[Array, "b *shape"], Float[Array, ""], Any], Float[Array, "b *shape"]]


class Solution(NamedTuple):
    """Where samples ended, one by one. `check` it on the host."""

    x: Float[Array | np.ndarray, "b *shape"]
    evaluations: Int[Array | np.ndarray, " b"]  # of the network
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
                " rough for the tolerance; train longer, loosen sampling.rtol and sampling.atol, or end"
                " at a higher noise level"
            )
        return self


def solution(
    x: Float[Array, "b *shape"],
    evaluations: int | Int[Array, ""] | Int[Array, " b"],
    reached: bool | Bool[Array, ""] | Bool[Array, " b"] = True,
) -> Solution:
    """Creates the solution of samples that may have numbers of evaluations in common.

    Args:
      x: where they ended.
      evaluations: of each, or of all.
      reached: whether the solver came to the end; a sample that is not finite counts as failed in any case.
    """
    finite = jnp.all(jnp.isfinite(x), axis=range(1, x.ndim))
    each = lambda a: jnp.broadcast_to(jnp.asarray(a), (len(x),))
    return Solution(x, each(evaluations), each(reached) & finite)


@dataclasses.dataclass(frozen=True)
class Sampler(abc.ABC):
    """A way from the prior to the data; a frozen dataclass of options."""

    # The methods that it can sample from.
    requires: ClassVar[type[Method]] = Method
    # The config field of each attribute.
    fields: ClassVar[Mapping[str, str]] = {}

    @abc.abstractmethod
    def __call__(
        self,
        method: Method,
        net: Network,
        x: Float[Array, "b H W C"],
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Leads samples from the prior to the data; pure, to be jitted by the caller.

        Args:
          method: prior and ODE.
          net: a trained network.
          x: draws from the prior.
          keys: of each sample, for noise: sample k may depend on its own key alone.
          context: of each sample.

        Returns:
          The samples in network units; a failure is in `ok`.
        """

    def check_levels(self, t_prior: float, t_data: float) -> None:
        """Checks that the sampler can lead from t_prior to t_data.

        Raises:
          FieldError: it cannot.
        """
        del t_prior, t_data


@dataclasses.dataclass(frozen=True)
class OdeSolver(Sampler):
    """A sampler that solves ODEs."""

    # Whether it chooses its steps by its error, as log densities need it.
    adaptive: ClassVar[bool] = False
    # Of a solver that does not.
    evaluations_per_step: ClassVar[int] = 1

    @abc.abstractmethod
    def solve(
        self, velocity: Velocity, x: Float[Array, "b *shape"], t0: Time, t1: Time, rows: PyTree = None
    ) -> Solution:
        """Integrates dx/dt = velocity(x, t, rows) from t0 to t1; pure, to be jitted by the caller.

        Args:
          velocity: (x [b, ...], t, rows) -> dx/dt [b, ...]; each sample's velocity depends on this sample and its own
            row alone. A solver may pass fewer rows of x at a time, with the same rows of `rows`.
          x: where to start.
          t0, t1: the interval, in either direction; logarithms of noise levels.
          rows: what the velocity needs to know of each sample: a pytree of arrays [b, ...].

        Returns:
          The solution; a failure is in its `ok`, and x is then not meaningful.
        """

    def single_solve(self) -> "OdeSolver":
        """Returns the solver for any interval: without steps that were chosen for one in particular."""
        return self

    def __call__(
        self,
        method: Method,
        net: Network,
        x: Float[Array, "b H W C"],
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Follows the ODE from the prior to the data; see `Sampler`."""
        del keys
        return solve_ode(self, method, net, x, method.t_prior, method.t_data, context)


def solve_ode(
    solver: OdeSolver,
    method: Method,
    net: Network,
    x: Float[Array, "b H W C"],
    t0: Time,
    t1: Time,
    context: Context = NO_CONTEXT,
) -> Solution:
    """Follows a method's ODE from t0 to t1; see `OdeSolver.solve`."""
    return solver.solve(lambda x, t, context: method.velocity(net, x, t, context), x, t0, t1, context)


def trajectory(
    velocity: Velocity,
    x: Float[Array, "b *shape"],
    times: Float[Array, " T"],
    solver: OdeSolver,
    rows: PyTree = None,
) -> tuple[Float[Array, "T b *shape"], Solution]:
    """Computes states at several times, from the first of them, where x is, to the last.

    Args:
      velocity, x, rows: see `OdeSolver.solve`.
      times: ascending or descending. Between each two of them the ODE is solved anew: a solver that does not choose its
        steps takes all of them there.
      solver: how.

    Returns:
      The states, and the solution at the last time.
    """
    solver = solver.single_solve()

    def to_next(before, interval):
        after = solver.solve(velocity, before.x, interval[0], interval[1], rows)
        after = after._replace(evaluations=before.evaluations + after.evaluations, ok=before.ok & after.ok)
        return after, after.x

    start = Solution(x, jnp.zeros(len(x), jnp.int32), jnp.ones(len(x), bool))
    end, states = jax.lax.scan(to_next, start, jnp.stack([times[:-1], times[1:]], axis=1))
    return jnp.concatenate([x[None], states]), end
