"""The variance-exploding SDE (Song et al. 2021), and with discrete levels SMLD, the objective of NCSN."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax.methods.exploding import Exploding
from pfgm_jax.methods.score_sde import ScoreSDE, table_index


@dataclasses.dataclass(frozen=True)
class VESDE(Exploding, ScoreSDE):
    """The path `Exploding`.

    The network is shown σ. With discrete levels it is shown their number, 0 being that of the largest, as NCSN is.
    """

    fields: ClassVar[Mapping[str, str]] = {
        **ScoreSDE.fields,
        "sigma_min": "model.sigma_min",
        "sigma_max": "model.sigma_max",
    }
    identity: ClassVar[tuple[str, ...]] = (*ScoreSDE.identity, "sigma_min", "sigma_max")
    own_prediction: ClassVar[str] = "score"
    own_eps: ClassVar[float] = 1e-5

    def label(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes σ, or the number of the level from the largest."""
        return self.rho_at(time) if self.continuous else self.num_scales - 1 - self.number_of_level(time)

    def time_of_label(self, label: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the time of a label."""
        return self.time_of(label) if self.continuous else 1 - label / (self.num_scales - 1)

    @classmethod
    def largest_label(cls, config: Any) -> float | None:
        """Returns the number of the smallest level; None if levels are continuous."""
        return None if config.training.continuous else super().largest_label(config)

    def drift_rate(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns 0."""
        return jnp.zeros_like(time)

    def diffusion(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes σ √(2 log(σ_max / σ_min))."""
        return self.rho_at(time) * math.sqrt(2 * self._log_range)

    def _variances(self, time: Float[Array, "..."], steps: int) -> Float[Array, "3 ..."]:
        """Looks up σ² of the level of a time, of the one below it (0 below the last), and the difference."""
        squares = np.geomspace(self.sigma_min, self.sigma_max, steps) ** 2
        below = np.concatenate([[0.0], squares[:-1]])
        return jnp.asarray(np.stack([squares, below, squares - below]), jnp.float32)[:, table_index(time, steps)]

    def discretize(self, time: Float[Array, "..."], steps: int) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes f / x = 0 and G = √(σ_i² - σ_(i-1)²)."""
        _, _, difference = self._variances(time, steps)
        return jnp.zeros_like(difference), jnp.sqrt(difference)

    def langevin_scale(self, time: Float[Array, "..."], steps: int) -> Float[Array, "..."]:
        """Returns 1."""
        del steps
        return jnp.ones_like(time)

    def ancestral(
        self, time: Float[Array, "..."], steps: int
    ) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        """Computes 1, σ_i² - σ_(i-1)² and the posterior's standard deviation."""
        here, below, difference = self._variances(time, steps)
        return jnp.ones_like(here), difference, jnp.sqrt(below * difference / here)
