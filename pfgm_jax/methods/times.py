"""How the noise levels of training examples are drawn, for any path."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

# 'uniform' in the method's own time, which the path knows; the others draw the ratio of noise to data.
TIMES = ("uniform", "log_normal", "cosine")


def draw_ratios(times: str, key: Key[Array, ""], n: int, log_mean: float, log_std: float) -> Float[Array, " n"]:
    """Draws ratios σ/α of noise to data.

    Args:
      times: 'log_normal' (Karras et al. 2022), or 'cosine', tan(π u/2) with uniform u (Nichol & Dhariwal 2021).
      key: random key.
      n: how many.
      log_mean, log_std: mean and standard deviation of log σ/α, of 'log_normal'.
    """
    if times == "log_normal":
        return jnp.exp(log_mean + log_std * jax.random.normal(key, (n,)))
    return jnp.tan(jnp.pi / 2 * jax.random.uniform(key, (n,), minval=1e-4, maxval=1 - 1e-4))
