"""Paths between data and noise, and the coordinates of their ODE.

Such a method shows its network x = α x0 + σ ε. Its ODE is written in the coordinates u = (1 - c ρ) x0 + ρ ε, in which
it is du/dt = u - E[x0 | u] = ρ (E[ε | u] - c E[x0 | u]) with t = log ρ:

- c = 0: ρ = σ/α and u = x/α, of diffusions, whatever their schedule;
- c = 1: flow matching, where ρ is its own time, u = x, and the prior lies at ρ = 1 without a singularity.
"""

import abc
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.methods.base import Method
from pfgm_jax.methods.predictions import Marginal

# Times at which a network is trained, and from which on densities are computed, are at least this large.
SMALLEST_TIME = 1e-5
# The label of time 1, where labels are not numbers of levels.
LAST_LABEL = 999.0


class Path(Method):
    """A method whose noisy examples are α x0 + σ ε; ρ, time and label are three measures of the noise."""

    # c above.
    contraction: ClassVar[int] = 0
    # The time of the prior.
    last_time: ClassVar[float] = 1.0

    @property
    def smallest_time(self) -> float:
        """The smallest time at which a network is trained."""
        return SMALLEST_TIME

    @property
    @abc.abstractmethod
    def first_time(self) -> float:
        """The time where sampling ends."""

    @abc.abstractmethod
    def rho_at(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes ρ at a time."""

    @abc.abstractmethod
    def time_of(self, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes the time of ρ; the inverse of `rho_at`."""

    @abc.abstractmethod
    def marginal(self, rho: Float[Array, "..."]) -> Marginal:
        """Computes α and σ at ρ."""

    def label(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes what the network is shown of a time; by default 999 times it, as score-based SDEs do."""
        return LAST_LABEL * time

    def time_of_label(self, label: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the time of which the network is shown so; the inverse of `label`."""
        return label / LAST_LABEL

    @classmethod
    def largest_label(cls, config: Any) -> float | None:
        """Returns the label of time 1; see `Method`."""
        del config
        return LAST_LABEL

    @property
    @abc.abstractmethod
    def prior_std(self) -> float:
        """By what noise is multiplied at the prior, in the coordinates of the ODE: the deviation of Gaussian noise."""

    def _log_rho(self, time: float) -> float:
        with jax.ensure_compile_time_eval():
            return float(jnp.log(self.rho_at(jnp.float32(time))))

    @property
    def t_prior(self) -> float:
        """log ρ at the prior."""
        return self._log_rho(self.last_time)

    @property
    def t_data(self) -> float:
        """log ρ where sampling ends."""
        return self._log_rho(self.first_time)

    @property
    def data_scale(self) -> float:
        """1 - c ρ where the ODE meets the data."""
        return 1 - self.contraction * math.exp(self.t_data)

    def coordinates(self, rho: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes 1 - c ρ and ρ, the shares of data and noise in u."""
        return 1 - self.contraction * rho, rho
