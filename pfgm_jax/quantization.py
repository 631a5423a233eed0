"""Weights of few bits, to measure how much of their rounding a method bears."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def quantized(params: PyTree, bits: int) -> PyTree:
    """Rounds the kernels of a network to so many bits after training (Xu et al. 2023, section 5).

    The values of a kernel are 2^bits - 1 evenly spaced levels about 0, up to its largest absolute value. Biases and
    scales, which have one axis, stay as they are.

    Args:
      params: of a network.
      bits: of a weight, from 2 on.

    Raises:
      ValueError: there are fewer than 2 bits.
    """
    if bits < 2:
        raise ValueError(f"bits is {bits}; a weight has a sign, so give at least 2")
    largest = 2 ** (bits - 1) - 1

    def rounded(kernel: Float[Array, "..."]) -> Float[Array, "..."]:
        if kernel.ndim < 2:
            return kernel
        unit = jnp.max(jnp.abs(kernel)) / largest
        # Of a kernel of zeros, nothing.
        return jnp.round(kernel / jnp.where(unit > 0, unit, 1.0)) * unit

    return jax.tree.map(rounded, params)
