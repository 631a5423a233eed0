"""Diffusions: paths whose levels may be all of an interval, or finitely many."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax import ranges
from pfgm_jax.errors import FieldError
from pfgm_jax.methods.denoising import DenoisingMethod
from pfgm_jax.methods.path import LAST_LABEL
from pfgm_jax.methods.predictions import Marginal


@dataclasses.dataclass(frozen=True)
class Diffusion(DenoisingMethod):
    """A diffusion. Its network is shown 999 t, or the number of a discrete level, 0 being that of the smallest.

    Between discrete levels the path is continued, evenly in the logarithm of σ/α, since adaptive solvers ask there.

    Attributes:
      continuous: train at all times; False: at `num_scales` levels.
      num_scales: number of levels.
    """

    fields: ClassVar[Mapping[str, str]] = {
        **DenoisingMethod.fields,
        "continuous": "training.continuous",
        "num_scales": "model.num_scales",
    }
    identity: ClassVar[tuple[str, ...]] = (*DenoisingMethod.identity, "continuous")
    level_name: ClassVar[str] = "sigma / alpha"

    continuous: bool = True
    num_scales: int = 1000

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, num_scales=ranges.at_least(2))
        if self.weighs_likelihood and not self.continuous:
            field = "likelihood_weighting" if self.likelihood_weighting else "weighting"
            cure = "discrete levels have no g: choose another weighting, or set `continuous` to True"
            raise FieldError(field, getattr(self, field), cure)

    @property
    def smallest_time(self) -> float:
        """The smallest time at which a network is trained."""
        return super().smallest_time if self.continuous else 0.0

    @property
    def first_time(self) -> float:
        """The time where sampling ends: that of the smallest level, if levels are discrete."""
        return super().first_time if self.continuous else self.eps

    def uniform_times(self, u: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes times from numbers that are uniform on [0, 1); of discrete levels, with equal shares of each."""
        if self.continuous:
            return super().uniform_times(u)
        return jnp.minimum(jnp.floor(u * self.num_scales), self.num_scales - 1) / (self.num_scales - 1)

    def nearest_time(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the nearest time that a network is trained at."""
        last = self.num_scales - 1
        return time if self.continuous else jnp.round(time * last) / last

    @classmethod
    def largest_label(cls, config: Any) -> float | None:
        """Returns the label of time 1; see `Method`."""
        return LAST_LABEL if config.training.continuous else config.model.num_scales - 1

    def label(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes 999 t, or the number of the level."""
        return LAST_LABEL * time if self.continuous else self.number_of_level(time)

    def number_of_level(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the number of a level from the smallest; of times between levels, a number between theirs."""
        last = self.num_scales - 1
        number, nearest = last * time, jnp.round(last * time)
        # Of the times of levels whole numbers, which only rounding keeps them from.
        return jnp.where(jnp.abs(number - nearest) <= 4 * jnp.finfo(time.dtype).eps * last, nearest, number)

    def time_of_label(self, label: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the time of a label."""
        return label / (LAST_LABEL if self.continuous else self.num_scales - 1)

    def marginal(self, rho: Float[Array, "..."]) -> Marginal:
        """Computes α = 1 / √(1 + ρ²) and σ = ρ α, of paths whose α² + σ² is 1."""
        alpha = 1 / jnp.sqrt(1 + rho**2)
        return Marginal(alpha, rho * alpha)

    @property
    def prior_std(self) -> float:
        """1 / α at the prior, where the network's coordinates have variance 1."""
        rho = math.exp(self.t_prior)
        return math.sqrt(1 + rho * rho)


class Table:
    """log ρ at N evenly spaced times from 0 to 1, and lines between them."""

    def __init__(self, betas: np.ndarray):
        cumulative = np.cumprod(1 - betas.astype(np.float64))
        self._log_rho = (0.5 * (np.log1p(-cumulative) - np.log(cumulative))).astype(np.float32)
        self._times = np.linspace(0, 1, len(betas), dtype=np.float32)

    def rho_at(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(jnp.interp(time, self._times, self._log_rho))

    def time_of(self, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.interp(jnp.log(rho), self._log_rho, self._times)
