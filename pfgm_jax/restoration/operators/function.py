"""A linear function of the user's own."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax.errors import InputError
from pfgm_jax.restoration.operators.base import Images, Measured, Number, Operator

# Of conjugate gradients: relative to what is measured, and how many steps at most.
TOLERANCE, STEPS = 1e-6, 200
# Largest difference, relative to the values, between A of a sum and the sum of A.
LINEAR = 1e-3


@dataclasses.dataclass(frozen=True)
class Function(Operator):
    """A linear function, of which inverses are found by conjugate gradients.

    Attributes:
      function: one image [H, W, C] in network units -> an array of any shape; JAX must be able to trace it.
    """

    of_images: ClassVar[bool] = False
    mixes_channels: ClassVar[bool] = True

    function: Callable[[Float[Array, "H W C"]], Float[Array, "..."]]

    def __post_init__(self):
        try:
            shape = self.measured_shape
        except Exception as error:  # whatever a function of the user's raises
            raise InputError(
                f"the operator cannot be applied to an image of {self.shape} ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}); give a function of one image that JAX can trace"
            ) from None
        if self._measured.dtype != jnp.float32:
            raise InputError(
                f"the operator makes {self._measured.dtype} of an image; give a function with float32 values, such as "
                "the real and the imaginary parts of complex ones"
            )
        if not shape or 0 in shape:
            raise InputError(f"the operator makes an array of shape {shape} of an image; give one with some values")
        rng = np.random.default_rng(0)
        a, b = (jnp.asarray(rng.normal(size=(1, *self.shape)), jnp.float32) for _ in range(2))
        parts = self.apply(a) - 2 * self.apply(b)
        if not np.abs(parts).max() > 0:
            raise InputError("the operator makes zeros of every image; give a function that measures something")
        if not np.abs(self.apply(a - 2 * b) - parts).max() <= LINEAR * np.abs(parts).max():
            raise InputError("the operator is not linear; give a function with A(x - 2 y) = A(x) - 2 A(y)")

    @property
    def measured_shape(self) -> tuple[int, ...]:
        """The shape of what the function makes of an image."""
        return tuple(self._measured.shape)

    @property
    def _measured(self) -> Any:
        return jax.eval_shape(self.function, jax.ShapeDtypeStruct(self.shape, jnp.float32))

    def apply(self, x: Images) -> Measured:
        """Applies the function to each image."""
        return jax.vmap(self.function)(x)

    def transpose(self, y: Measured) -> Images:
        """Applies its transpose."""
        one = jax.linear_transpose(self.function, jax.ShapeDtypeStruct(self.shape, y.dtype))
        return jax.vmap(lambda row: one(row)[0])(y)

    def inverse(self, y: Measured, a: Number, b: Number) -> Measured:
        """Solves (a A Aᵀ + b) v = y; see `Operator`."""
        a, b = (jnp.broadcast_to(jnp.asarray(n, y.dtype), y.shape) for n in (a, b))

        def solve(y, a, b):
            of_one = lambda v: a * self.apply(self.transpose(v[None]))[0] + b * v
            return jax.scipy.sparse.linalg.cg(of_one, y, tol=TOLERANCE, maxiter=STEPS)[0]

        return jax.vmap(solve)(y, a, b)
