"""The variance-preserving SDE, with discrete levels DDPM, and the sub-VP SDE (Song et al. 2021; Ho et al. 2020)."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax import ranges
from pfgm_jax.errors import FieldError
from pfgm_jax.methods.diffusion import Table
from pfgm_jax.methods.predictions import Marginal
from pfgm_jax.methods.score_sde import ScoreSDE, table_index


@dataclasses.dataclass(frozen=True)
class VPSDE(ScoreSDE):
    """log α = -t² (β_max - β_min) / 4 - t β_min / 2 and σ² = 1 - α².

    The network is shown 999 t. With discrete levels, β_i from β_min / N to β_max / N, it is shown their number, 0 being
    that of the smallest, as DDPM is.

    Attributes:
      beta_min, beta_max: β at times 0 and 1.
    """

    fields: ClassVar[Mapping[str, str]] = {
        **ScoreSDE.fields,
        "beta_min": "model.beta_min",
        "beta_max": "model.beta_max",
    }
    identity: ClassVar[tuple[str, ...]] = (*ScoreSDE.identity, "beta_min", "beta_max")

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, beta_min=ranges.above(0), beta_max=ranges.above(0))
        if self.beta_max < self.beta_min:
            raise FieldError("beta_max", self.beta_max, f"`beta_min` is {self.beta_min}: give a number that is no less")
        if not self.continuous and self.num_scales <= self.beta_max:
            raise FieldError(
                "num_scales",
                self.num_scales,
                f"the levels' β, up to `beta_max` / `num_scales`, must stay below 1: give more than {self.beta_max:g}",
            )

    @functools.cached_property
    def _table(self) -> Table:
        return Table(self.betas(self.num_scales))

    def betas(self, steps: int) -> np.ndarray:
        """Computes the table of β of so many levels, from the data on."""
        return np.linspace(self.beta_min / steps, self.beta_max / steps, steps)

    def _log_alpha(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        return -0.25 * time**2 * (self.beta_max - self.beta_min) - 0.5 * time * self.beta_min

    def _time_of_log_alpha(self, log_alpha: Float[Array, "..."]) -> Float[Array, "..."]:
        a, b, L = 0.25 * (self.beta_max - self.beta_min), 0.5 * self.beta_min, -log_alpha
        return 2 * L / (b + jnp.sqrt(b * b + 4 * a * L))

    def rho_at(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes σ / α at a time."""
        if not self.continuous:
            return self._table.rho_at(time)
        return jnp.sqrt(jnp.expm1(-2 * self._log_alpha(time)))

    def time_of(self, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes the time of σ / α."""
        if not self.continuous:
            return self._table.time_of(rho)
        return self._time_of_log_alpha(-0.5 * jnp.log1p(rho**2))

    def _beta(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.beta_min + time * (self.beta_max - self.beta_min)

    def drift_rate(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes -β / 2."""
        return -0.5 * self._beta(time)

    def diffusion(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes √β."""
        return jnp.sqrt(self._beta(time))

    def _beta_of(self, time: Float[Array, "..."], steps: int) -> Float[Array, "..."]:
        return jnp.asarray(self.betas(steps), jnp.float32)[table_index(time, steps)]

    def discretize(self, time: Float[Array, "..."], steps: int) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes f / x = √(1 - β_i) - 1 and G = √β_i."""
        beta = self._beta_of(time, steps)
        return jnp.sqrt(1 - beta) - 1, jnp.sqrt(beta)

    def langevin_scale(self, time: Float[Array, "..."], steps: int) -> Float[Array, "..."]:
        """Computes 1 - β_i."""
        return 1 - self._beta_of(time, steps)

    def ancestral(
        self, time: Float[Array, "..."], steps: int
    ) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        """Computes 1 / √(1 - β_i), β_i and √β_i."""
        beta = self._beta_of(time, steps)
        return 1 / jnp.sqrt(1 - beta), beta, jnp.sqrt(beta)

    def check_steps(self, steps: int, predictor: str) -> None:
        """Checks that the levels' β stay below 1.

        Raises:
          FieldError: the steps are too few.
        """
        del predictor
        if steps <= self.beta_max:
            raise FieldError(
                "steps",
                steps,
                f"the steps' β, up to {self.beta_max:g} / steps, must stay below 1: give more than {self.beta_max:g}",
            )


@dataclasses.dataclass(frozen=True)
class SubVPSDE(VPSDE):
    """The same α as VP and σ = 1 - α², which is smaller at every time (Song et al. 2021, section 3.4)."""

    def __post_init__(self):
        if not self.continuous:
            raise FieldError("continuous", False, "sub-VP has no discrete levels: set it to True, or choose vpsde")
        super().__post_init__()

    def rho_at(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes σ / α at a time."""
        log_alpha = self._log_alpha(time)
        return -jnp.expm1(2 * log_alpha) * jnp.exp(-log_alpha)

    def time_of(self, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes the time of σ / α = 2 sinh(-log α)."""
        return self._time_of_log_alpha(-jnp.arcsinh(0.5 * rho))

    def marginal(self, rho: Float[Array, "..."]) -> Marginal:
        """Computes α = 2 / (ρ + √(ρ² + 4)) and σ = ρ α."""
        alpha = 2 / (rho + jnp.sqrt(rho**2 + 4))
        return Marginal(alpha, rho * alpha)

    @property
    def prior_std(self) -> float:
        """1 / α at the prior, where the network's coordinates have variance 1."""
        rho = math.exp(self.t_prior)
        return 0.5 * (rho + math.sqrt(rho * rho + 4))

    def diffusion(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes √(β (1 - α⁴))."""
        return jnp.sqrt(self._beta(time) * -jnp.expm1(4 * self._log_alpha(time)))

    def discretize(self, time: Float[Array, "..."], steps: int) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes an Euler step of the SDE, as it has no table."""
        return self.drift_rate(time) / steps, self.diffusion(time) / math.sqrt(steps)

    def check_steps(self, steps: int, predictor: str) -> None:
        """Checks the predictor.

        Raises:
          FieldError: it is the ancestral one, or the steps are too few.
        """
        if predictor == "ancestral_sampling":
            raise FieldError(
                "predictor", predictor, "sub-VP has no ancestral steps: choose reverse_diffusion or euler_maruyama"
            )
        super().check_steps(steps, predictor)
