"""The cosine schedule (Nichol & Dhariwal 2021, arXiv:2102.09672), continuous or with their discrete levels."""

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax.methods.diffusion import Diffusion, Table

# Their offset s, and the largest β of a level.
OFFSET, LARGEST_BETA = 0.008, 0.999
SMALLEST_ANGLE = 0.5 * math.pi * OFFSET / (1 + OFFSET)


@dataclasses.dataclass(frozen=True)
class Cosine(Diffusion):
    """α = cos θ / cos θ0 and σ² = 1 - α², with θ from θ0 at time 0 to π/2 at time 1, where α would be 0.

    The prior lies at time 0.999, where σ/α is 642 (with discrete levels, at the last of them).
    """

    @property
    def last_time(self) -> float:  # type: ignore[override]
        """The time of the prior."""
        return 0.999 if self.continuous else 1.0

    @functools.cached_property
    def _table(self) -> Table:
        edges = np.cos(SMALLEST_ANGLE + np.linspace(0, 1, self.num_scales + 1) * (math.pi / 2 - SMALLEST_ANGLE)) ** 2
        return Table(np.minimum(1 - edges[1:] / edges[:-1], LARGEST_BETA))

    def rho_at(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes σ / α at a time."""
        if not self.continuous:
            return self._table.rho_at(time)
        beyond = time * (math.pi / 2 - SMALLEST_ANGLE)
        # sin²θ - sin²θ0 without a difference.
        return jnp.sqrt(jnp.sin(beyond) * jnp.sin(beyond + 2 * SMALLEST_ANGLE)) / jnp.cos(beyond + SMALLEST_ANGLE)

    def time_of(self, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes the time of σ / α."""
        if not self.continuous:
            return self._table.time_of(rho)
        sine = math.sin(SMALLEST_ANGLE)
        angle = jnp.arctan2(jnp.sqrt(rho**2 + sine**2), math.cos(SMALLEST_ANGLE))
        # sin(θ - θ0) from the product of both sines; near π/2 the difference of angles is as good.
        product = rho**2 * jnp.cos(angle) ** 2 / jnp.sin(angle + SMALLEST_ANGLE)
        near = jnp.arcsin(jnp.minimum(product, 0.5))
        beyond = jnp.where(angle < 0.4, near, angle - SMALLEST_ANGLE)
        return beyond / (math.pi / 2 - SMALLEST_ANGLE)
