"""Paths between data and noise, and the coordinates of their ODE.

Such a method shows its network x = α x0 + σ ε. Its ODE is written in the coordinates u = (1 - c ρ) x0 + ρ ε, in which
it is du/dt = u - E[x0 | u] = ρ (E[ε | u] - c E[x0 | u]) with t = log ρ:

- c = 0: ρ = σ/α and u = x/α, of diffusions, whatever their schedule;
- c = 1: flow matching, where ρ is its own time, u = x, and the prior lies at ρ = 1 without a singularity.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from pfgm_jax import ranges
from pfgm_jax.methods import kernel
from pfgm_jax.methods.base import Method, flatten
from pfgm_jax.methods.predictions import Marginal

# Times at which a network is trained, and from which on densities are computed, are at least this large.
SMALLEST_TIME = 1e-5
# The label of time 1, where labels are not numbers of levels.
LAST_LABEL = 999.0


@dataclasses.dataclass(frozen=True)
class Path(Method):
    """A method whose noisy examples are α x0 + σ ε; ρ, time and label are three measures of the noise.

    Attributes:
      D: number of additional dimensions of the noise, at least 1, ∞ for Gaussian noise; 0 for the method's usual.
    """

    fields: ClassVar[Mapping[str, str]] = {"D": "pfgmpp.D"}
    # The usual number of additional dimensions.
    own_D: ClassVar[float] = math.inf
    # c above.
    contraction: ClassVar[int] = 0
    # The time of the prior.
    last_time: ClassVar[float] = 1.0

    D: float = 0.0

    def __post_init__(self):
        ranges.check(self, D=kernel.DIMENSIONS)

    @property
    def kernel_dimensions(self) -> float:
        """D; ∞ for Gaussian noise."""
        return self.D or self.own_D

    @property
    def is_gaussian(self) -> bool:
        """Whether the noise is Gaussian."""
        return math.isinf(self.kernel_dimensions)

    def check_gaussian(self) -> None:
        """Checks that the noise is Gaussian, as scores need.

        Raises:
          ValueError: it is not.
        """
        if not self.is_gaussian:
            raise ValueError(f"the noise has D = {self.kernel_dimensions:g}; only Gaussian noise gives a score")

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

    # Prior

    def prior_sample(self, keys: Key[Array, " b"]) -> Float[Array, "b H W C"]:
        """Draws prior_std times noise."""
        return self.prior_std * jax.vmap(lambda key: kernel.noise(key, self.shape, self.kernel_dimensions))(keys)

    def to_noise(self, x: Float[np.ndarray, "b H W C"]) -> Float[np.ndarray, "b H W C"]:
        """Divides draws from the prior by its scale, and gives their norms the quantiles of normal noise's."""
        return kernel.to_normal(x / self.prior_std, self.kernel_dimensions)

    def prior_log_prob(self, x: Float[Array, "b H W C"]) -> Float[Array, " b"]:
        """Computes the log density of prior_std times noise, in nats."""
        return kernel.log_density(flatten(x), self.prior_std, self.kernel_dimensions)
