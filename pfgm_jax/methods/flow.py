"""Flow matching on straight paths (Lipman et al. 2023, arXiv:2210.02747), also called rectified flow."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from pfgm_jax.methods.denoising import DenoisingMethod
from pfgm_jax.methods.predictions import Marginal


@dataclasses.dataclass(frozen=True)
class Flow(DenoisingMethod):
    """x = (1 - t) x0 + t ε, from noise at t = 1 to data at t = 0; the network usually predicts the velocity ε - x0.

    Time runs as in the rest of the code, where the paper has 1 - t.

    Attributes:
      pairs: file of pairs of noise and data to train on (Liu et al. 2022, arXiv:2209.03003); '' for independent noise.
    """

    fields: ClassVar[Mapping[str, str]] = {**DenoisingMethod.fields, "pairs": "training.pairs"}
    contraction: ClassVar[int] = 1
    takes_pairs: ClassVar[bool] = True
    level_name: ClassVar[str] = "t"
    own_prediction: ClassVar[str] = "flow"
    own_weighting: ClassVar[str] = "flow"

    pairs: str = ""

    def data_and_noise(
        self, key: Key[Array, ""], data: Float[Array, "b H W C"]
    ) -> tuple[Float[Array, "b H W _"], Float[Array, "b H W _"]]:
        """Returns examples and noise: of pairs their own, so that paths become straight (rectified flow)."""
        if not self.pairs:
            return super().data_and_noise(key, data)
        noise, data = jnp.split(data, 2, axis=-1)
        return data, noise

    @property
    def last_time(self) -> float:  # type: ignore[override]
        """The time of the prior; 0.999 for networks that predict nothing of the data where there is only noise."""
        return 0.999 if self.predicts in ("noise", "score") else 1.0

    def rho_at(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the time."""
        return time

    def time_of(self, rho: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the time."""
        return rho

    def marginal(self, rho: Float[Array, "..."]) -> Marginal:
        """Computes 1 - t and t."""
        return Marginal(1 - rho, jnp.asarray(rho))

    @property
    def prior_std(self) -> float:
        """The time of the prior, 1."""
        return self.last_time
