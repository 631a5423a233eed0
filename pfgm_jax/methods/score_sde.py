"""Score-based SDEs (Song et al. 2021, arXiv:2011.13456): what their samplers ask of a path besides its marginals.

The forward SDE dx = r(t) x dt + g(t) dw runs in the network's coordinates x = α x0 + σ ε and the path's own time.
"""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.methods import predictions
from pfgm_jax.methods.base import Network
from pfgm_jax.methods.diffusion import Diffusion


class ScoreSDE(Diffusion):
    """A score-based SDE."""

    @abc.abstractmethod
    def drift_rate(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes r, the slope of log α in time."""

    @abc.abstractmethod
    def diffusion(self, time: Float[Array, "..."]) -> Float[Array, "..."]:
        """Computes g."""

    @abc.abstractmethod
    def discretize(self, time: Float[Array, "..."], steps: int) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes f / x and G of one of so many steps of the forward process, x <- x + f + G ε."""

    @abc.abstractmethod
    def langevin_scale(self, time: Float[Array, "..."], steps: int) -> Float[Array, "..."]:
        """Computes what a corrector's step size is multiplied by."""

    @abc.abstractmethod
    def ancestral(
        self, time: Float[Array, "..."], steps: int
    ) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        """Computes a, b and s of an ancestral step, x <- a (x + b score) + s ε."""

    def check_steps(self, steps: int, predictor: str) -> None:
        """Checks that the reverse process can have so many steps.

        Raises:
          FieldError: it cannot; the field is 'steps' or 'predictor'.
        """
        del steps, predictor

    def score_of_noisy(
        self, net: Network, x: Float[Array, "b H W C"], time: Float[Array, ""], context: Context = NO_CONTEXT
    ) -> Float[Array, "b H W C"]:
        """Computes the score of noisy examples in the network's coordinates at one time.

        Raises:
          ValueError: the noise is not Gaussian.
        """
        self.check_gaussian()
        times = jnp.broadcast_to(time, x.shape[:1])
        at = self.marginal(self.rho_at(times))
        return predictions.to_score(self.predicts, self.answer_at(net, x, times, at, context), x, at)


def table_index(time: Float[Array, "..."], steps: int) -> jax.Array:
    """Computes the number of the level of a time, counted from the data, in float32 as the authors' release does."""
    return jnp.clip((jnp.asarray(time, jnp.float32) * (steps - 1)).astype(jnp.int32), 0, steps - 1)
