"""From the prior to images."""

import jax.numpy as jnp
from jaxtyping import Array, Key

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.keys import noise_keys
from pfgm_jax.methods.base import Method, Network
from pfgm_jax.samplers.base import Sampler, Solution


def sample(
    method: Method, net: Network, sampler: Sampler, keys: Key[Array, " n"], context: Context = NO_CONTEXT
) -> Solution:
    """Draws samples; pure, to be jitted by the caller.

    Args:
      method: prior and ODE.
      net: a trained network.
      sampler: leads from the prior to the data.
      keys: of each sample, see `keys.sample_keys`.
      context: of each sample.

    Returns:
      Samples [n, H, W, C] in network units. Each depends on its own key and context alone, unless the sampler has a
      shared step.
    """
    found = sampler(method, net, method.start(keys, context), noise_keys(keys), context)
    return found._replace(evaluations=method.evaluations_each * jnp.asarray(found.evaluations))
