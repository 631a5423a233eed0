"""A network that was trained for one method, sampled as another."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.methods import predictions
from pfgm_jax.methods.base import Network, per_row
from pfgm_jax.methods.denoising import SMALLEST_ALPHA, DenoisingMethod


def translated(net: Network, source: DenoisingMethod, target: DenoisingMethod) -> Network:
    """Makes a network that was trained for one method answer as one of another method would.

    Where the target's noise is larger than any that the source knows, the source is asked at its largest, and where it
    is smaller, at its smallest.

    Args:
      net: trained for `source`.
      source, target: of the same data.

    Returns:
      A network for `target`: it takes x and labels of the target's path, and predicts what `target` predicts.
    """
    with jax.ensure_compile_time_eval():
        ends = source.marginal(source.rho_at(jnp.array([source.smallest_time, source.last_time], jnp.float32)))
        smallest, largest = (float(r) for r in ends.sigma / jnp.maximum(ends.alpha, SMALLEST_ALPHA))

    def answer(x: Float[Array, "b H W C"], level: Float[Array, " b"], context: Context = NO_CONTEXT):
        at = target.marginal(target.rho_at(target.time_of_label(level)))
        x = x / per_row(predictions.input_scale(target.predicts, at), x)
        ratio = jnp.clip(at.sigma / jnp.maximum(at.alpha, jnp.finfo(x.dtype).tiny), smallest, largest)
        rho = ratio / (1 + source.contraction * ratio)
        there = source.marginal(rho)
        # The same data in the same noise; noise alone where the source cannot go as far.
        scale = jnp.where(at.sigma > largest * at.alpha, there.sigma / at.sigma, there.alpha / at.alpha)
        noisy = per_row(scale, x) * x
        F = source.answer_at(net, noisy, source.time_of(rho), there, context)
        data = predictions.to_data(source.predicts, F, noisy, there)
        noise = predictions.to_noise(source.predicts, F, noisy, there)
        return predictions.answer(target.predicts, data, noise, at)

    return answer
