"""Paths whose data stay as they are while noise is added: α = 1, and σ grows by a factor in each unit of time."""

import dataclasses
import math
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax import ranges
from pfgm_jax.errors import FieldError
from pfgm_jax.methods.path import Path
from pfgm_jax.methods.predictions import Marginal


@dataclasses.dataclass(frozen=True)
class Exploding(Path):
    """σ = σ_min (σ_max / σ_min)^t; the first of the bases of a method, before what else it is.

    Attributes:
      sigma_min, sigma_max: noise at times 0 and 1, in network units.
    """

    level_name: ClassVar[str] = "sigma"

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, sigma_min=ranges.above(0), sigma_max=ranges.above(0))
        if self.sigma_max <= self.sigma_min:
            raise FieldError("sigma_max", self.sigma_max, f"`sigma_min` is {self.sigma_min}: give a larger number")

    @property
    def _log_range(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def rho_at(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes σ at a time."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** time

    def time_of(self, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes the time of σ."""
        return jnp.log(rho / self.sigma_min) / self._log_range

    def marginal(self, rho: Float[Array, "..."]) -> Marginal:
        """Returns 1 and σ."""
        return Marginal(jnp.ones_like(rho), rho)

    @property
    def prior_std(self) -> float:
        """σ_max."""
        return self.sigma_max
