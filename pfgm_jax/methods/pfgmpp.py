"""PFGM++ (Xu et al. 2023, arXiv:2302.04265), and with D = ∞ the diffusion of EDM (Karras et al. 2022, 2206.00364)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax import ranges
from pfgm_jax.errors import FieldError
from pfgm_jax.methods.denoising import DenoisingMethod
from pfgm_jax.methods.predictions import Marginal


@dataclasses.dataclass(frozen=True)
class PFGMPlusPlus(DenoisingMethod):
    """x = x0 + σ n, with noise of D additional dimensions at distance r = σ√D of the data.

    The network is EDM's: it is shown x scaled to variance 1 and σ, and what it predicts is what is left of the data
    after a skip connection. Its levels are log-normal. Times are even in log σ, from 0 at sigma_min to 1 at sigma_max.

    Attributes:
      sigma_min, sigma_max: where sampling ends and starts, in network units.
    """

    fields: ClassVar[Mapping[str, str]] = {
        **DenoisingMethod.fields,
        "sigma_min": "pfgmpp.sigma_min",
        "sigma_max": "pfgmpp.sigma_max",
    }
    level_name: ClassVar[str] = "sigma"
    own_D: ClassVar[float] = 2048
    own_prediction: ClassVar[str] = "edm"
    own_weighting: ClassVar[str] = "edm"
    own_times: ClassVar[str] = "log_normal"
    own_eps: ClassVar[float] = 0.0

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self):
        super().__post_init__()
        ranges.check(self, sigma_min=ranges.above(0), sigma_max=ranges.above(0))
        if self.sigma_max <= self.sigma_min:
            raise FieldError("sigma_max", self.sigma_max, f"`sigma_min` is {self.sigma_min}: give a larger number")

    def rho_at(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes σ at a time."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** time

    def time_of(self, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes the time of σ."""
        return jnp.log(rho / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)

    def marginal(self, rho: Float[Array, "..."]) -> Marginal:
        """Returns 1 and σ."""
        return Marginal(jnp.ones_like(rho), rho)

    def label(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes σ."""
        return self.rho_at(time)

    def time_of_label(self, label: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the time of σ."""
        return self.time_of(label)

    @classmethod
    def largest_label(cls, config: Any) -> float | None:
        """Returns None, because the network is shown σ itself."""
        del config
        return None

    @classmethod
    def takes_unit_points(cls, config: Any) -> bool:
        """Says whether the network predicts 'edm', for which its input is scaled; see `Method`."""
        return config.training.prediction in ("", "edm")

    @property
    def prior_std(self) -> float:
        """sigma_max."""
        return self.sigma_max
