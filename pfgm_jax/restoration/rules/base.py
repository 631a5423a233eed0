"""The interface of rules: how what was measured, y = A x0 + noise, changes D(u), the mean of the data as seen from u.

Given y as well, that mean would be

    D + a κ² ∇ log p(y | u),        κ² the variance of the noise in u / a,  u = a x0 + ρ n,

for Gaussian noise exactly. Rules differ in what they take for p(y | u), or in what they put in place of its gradient.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.restoration.operators.base import Images, Measured, Operator


class Seen(NamedTuple):
    """What is known at one point of the way from the prior to the data, where states are u = a x0 + ρ n.

    Numbers of a row are [b, 1, 1, 1], so that they multiply images.
    """

    operator: Operator
    residual: Measured  # y - A D
    pull: Callable[[Images], Images]  # g -> Jᵀ g, with J = ∂D / ∂u
    share: Float[Array, "b 1 1 1"]  # a
    variance: Float[Array, "b 1 1 1"]  # κ²: of the noise of u / a
    data_variance: Float[Array, "b 1 1 1"]  # of x0 as seen from u, of data N(0, ¼)
    noise_variance: Float[Array, "..."]  # of y, as it broadcasts over the residual

    def over_measured(self, numbers: Float[Array, "b 1 1 1"]) -> Float[Array, "b *ones"]:
        """Reshapes one number a row so that it multiplies the residual."""
        return numbers.reshape(-1, *[1] * (self.residual.ndim - 1))


# Largest root mean square of a change that follows from derivatives, in network units: about the distance between data
# that have nothing in common.
LARGEST = 2.0


def limited(change: Images) -> Images:
    """Shortens changes of D that no data need, as a network's derivatives may ask for where it has not learned."""
    size = jnp.sqrt(jnp.mean(change**2, axis=(1, 2, 3), keepdims=True))
    return change * jnp.minimum(1.0, LARGEST / jnp.maximum(size, LARGEST))


@dataclasses.dataclass(frozen=True)
class Rule(abc.ABC):
    """A rule; a frozen dataclass of options."""

    # The config field of each attribute.
    fields: ClassVar[Mapping[str, str]] = {}
    # The noise level where it starts, as the share of the prior's on a logarithmic scale; 1 for the prior.
    own_start: ClassVar[float] = 1.0

    @abc.abstractmethod
    def change(self, seen: Seen) -> Images:
        """Computes what is added to D."""
