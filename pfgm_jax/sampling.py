"""From the prior to images."""

import jax
from jaxtyping import Array, Float

from pfgm_jax import ode
from pfgm_jax.methods import Method, Network


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
