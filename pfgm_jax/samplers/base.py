"""The interface of samplers for the rest of the code.

A sampler turns draws from a method's prior into data. An ODE solver is a sampler that can also solve other ODEs, in
either direction. Latents and likelihoods require one.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import SolveError
from pfgm_jax.methods.base import Method, Network

Time = float | Float[Array, ""]
# (x [b, ...], t, rows) -> dx/dt [b, ...], where `rows` holds additional data of the same b samples.
Velocity = Callable[[Float[Array, "b *shape"], Float[Array, ""], Any], Float[Array, "b *shape"]]


class Solution(NamedTuple):
    """The results of a solve, one per sample. Call `check` on the host."""

    x: Float[Array | np.ndarray, "b *shape"]
    evaluations: Int[Array | np.ndarray, " b"]  # of the network
    ok: Bool[Array | np.ndarray, " b"]  # the end was reached and is finite

    def check(self, first: int = 0) -> "Solution":
        """Waits for the result and returns it if every sample was solved.

        Args:
          first: number of the first sample, for the error message.

        Raises:
          SolveError: some samples were not solved.
        """
        ok = np.asarray(self.ok)
        if not ok.all():
            failed = np.flatnonzero(~ok)
            raise SolveError(
                f"the ODE solve failed for {len(failed)} of {len(ok)} samples (the first is number {first + failed[0]},"
                f" after {np.asarray(self.evaluations)[failed[0]]} evaluations): the velocity is not finite, or too"
                " rough for the tolerance; train longer, loosen sampling.rtol and sampling.atol, raise"
                " sampling.max_steps, or end at a higher noise level"
            )
        return self


def solution(
    x: Float[Array, "b *shape"],
    evaluations: int | Int[Array, ""] | Int[Array, " b"],
    reached: bool | Bool[Array, ""] | Bool[Array, " b"] = True,
) -> Solution:
    """Creates a solution from per-sample or shared results.

    Args:
      x: final states of the samples.
      evaluations: number of evaluations, of each sample or of all.
      reached: whether the solver reached the end; samples that are not finite count as failed in any case.
    """
    finite = jnp.all(jnp.isfinite(x), axis=range(1, x.ndim))
    each = lambda a: jnp.broadcast_to(jnp.asarray(a), (len(x),))
    return Solution(x, each(evaluations), each(reached) & finite)


@dataclasses.dataclass(frozen=True)
class Sampler(abc.ABC):
    """A sampler from the prior to the data; a frozen dataclass of options."""

    # The type of method that it can sample from; see also `supports`.
    requires: ClassVar[type[Method]] = Method
    # Whether the method's noise must be Gaussian.
    needs_gaussian_noise: ClassVar[bool] = False
    # The config field of each attribute.
    fields: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def settings(cls, evaluations: Sequence[int], tolerances: Sequence[float]) -> list[dict[str, float]]:
        """Lists options by which its samples are compared with others'.

        Args:
          evaluations: of the network, to come near to.
          tolerances: of a sampler that chooses its steps.

        Returns:
          Fields of `config.sampling` and their values.
        """
        del evaluations, tolerances
        return [{}]

    @abc.abstractmethod
    def __call__(
        self,
        method: Method,
        net: Network,
        x: Float[Array, "b H W C"],
        keys: Key[Array, " b"],
        context: Context = NO_CONTEXT,
    ) -> Solution:
        """Leads samples from the prior to the data. The function is pure; callers may jit it.

        Args:
          method: defines prior and ODE.
          net: a trained network.
          x: draws from the prior.
          keys: key of each sample, for noise; a sample may depend only on its own key.
          context: context of each sample.

        Returns:
          The samples in network units; `ok` is False for those that failed.
        """

    @classmethod
    def supports(cls, method: Method) -> bool:
        """Says whether it can sample from a method."""
        gaussian = math.isinf(method.kernel_dimensions)
        return isinstance(method, cls.requires) and (gaussian or not cls.needs_gaussian_noise)

    def check_method(self, method: Method) -> None:
        """Checks that the sampler, with its options, can sample from a method of the type that it requires.

        Raises:
          FieldError: it cannot.
        """
        del method

    def check_levels(self, t_prior: float, t_data: float) -> None:
        """Checks that the sampler can go from t_prior to t_data.

        Raises:
          FieldError: it cannot.
        """
        del t_prior, t_data


@dataclasses.dataclass(frozen=True)
class OdeSolver(Sampler):
    """A sampler that solves ODEs."""

    # Whether the solver adapts its steps to the error, as log densities require.
    adaptive: ClassVar[bool] = False

    @abc.abstractmethod
    def solve(
        self, velocity: Velocity, x: Float[Array, "b *shape"], t0: Time, t1: Time, rows: PyTree = None
    ) -> Solution:
        """Integrates dx/dt = velocity(x, t, rows) from t0 to t1. The function is pure; callers may jit it.

        Args:
          velocity: (x [b, ...], t, rows) -> dx/dt [b, ...]; each sample's velocity depends only on that sample and its
            row. A solver may pass fewer rows of x at a time, with the same rows of `rows`.
          x: initial states.
          t0, t1: the interval, in either direction; logarithms of noise levels.
          rows: data of each sample that the velocity needs: a pytree of arrays [b, ...].

        Returns:
          The solution; `ok` is False for samples that failed, and their x is then meaningless.
        """

    def single_solve(self) -> "OdeSolver":
        """Returns the solver without options that are specific to one interval."""
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
        return finished(solve_ode(self, method, net, x, method.t_prior, method.t_data, context), method, net, context)


def finished(found: Solution, method: Method, net: Network, context: Context) -> Solution:
    """Turns states where the ODE meets the data into data: denoises them, if the method does, or scales them."""
    if not method.denoises_samples:
        return found._replace(x=found.x / method.data_scale)
    denoised = method.denoise(net, jnp.asarray(found.x), method.t_data, context)
    return solution(denoised, jnp.asarray(found.evaluations) + 1, jnp.asarray(found.ok))


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
    """Computes states at several times, starting from x at the first time.

    Args:
      velocity, x, rows: see `OdeSolver.solve`.
      times: ascending or descending. The ODE is solved separately between each two of them, so a solver that is not
        adaptive takes all its steps in each interval.
      solver: the ODE solver.

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
