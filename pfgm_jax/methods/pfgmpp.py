"""PFGM++ (Xu et al. 2023, arXiv:2302.04265), and with D = ∞ the diffusion of EDM (Karras et al. 2022, 2206.00364)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Array, Float

from pfgm_jax.methods.denoising import DenoisingMethod
from pfgm_jax.methods.exploding import Exploding


@dataclasses.dataclass(frozen=True)
class PFGMPlusPlus(Exploding, DenoisingMethod):
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
    own_D: ClassVar[float] = 2048
    own_prediction: ClassVar[str] = "edm"
    own_weighting: ClassVar[str] = "edm"
    own_times: ClassVar[str] = "log_normal"
    own_eps: ClassVar[float] = 0.0

    sigma_min: float = 0.002
    sigma_max: float = 80.0

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
