"""From the prior to images."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax import ode
from pfgm_jax.methods import Method, Network

# (key, number of the first sample) -> a batch of samples in network units.
Sampler = Callable[[jax.Array, int | Array], ode.Solution]


def sample(
    method: Method, net: Network, key: jax.Array, n: int, solver: ode.Solver, first: int | Array = 0
) -> ode.Solution:
    """Samples number `first` to `first + n`; pure, to be jitted by the caller.

    Args:
      method: prior and ODE.
      net: a trained network.
      key: with its number, decides a sample.
      n: how many.
      solver: how to solve the backward ODE.
      first: number of the first sample.

    Returns:
      Samples [n, H, W, C] in network units. Sample k depends on the key and on k alone, unless `solver.shared_step`.
    """
    return integrate(method, net, method.prior_sample(key, n, first), solver)


def integrate(method: Method, net: Network, x: Float[Array, "b H W C"], solver: ode.Solver) -> ode.Solution:
    """Follows the ODE from the prior, where x lies, to the data."""
    return ode.solve(lambda y, t: method.velocity(net, y, t), x, method.t_prior, method.t_data, solver)


def sample_in_batches(
    sampler: Sampler, key: jax.Array, n: int, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws n samples, `batch_size` at a time, so that any number needs one compilation.

    Args:
      sampler: makes `batch_size` samples.
      key: see `sample`.
      n: number of samples.
      batch_size: samples per call.

    Yields:
      Samples [b, H, W, C] in network units and evaluations [b]; the last batch may be smaller.

    Raises:
      SolveError: a solve failed.
    """
    for first in range(0, n, batch_size):
        keep = min(batch_size, n - first)
        x, evaluations, ok = (np.asarray(part)[:keep] for part in sampler(key, jnp.int32(first)))
        ode.Solution(x, evaluations, ok).check(first)
        yield x, evaluations
