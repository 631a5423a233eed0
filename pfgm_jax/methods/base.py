"""The protocol by which the rest of the code knows generative methods.

A method is a frozen dataclass of plain numbers. It says what the network regresses on, where sampling starts, and
which ODE leads from there to the data. Samplers, likelihood and latents are written for this protocol alone.

Every method measures the time t of its ODE as the logarithm of its noise level (z for PFGM), and every ODE has the
form dx/dt = x - denoise(x, t).
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float

# A network with its parameters: (images [b, H, W, C], one condition per image [b]) -> [b, H, W, C + extra_channels].
Network = Callable[[Float[Array, "b H W C"], Float[Array, " b"]], Float[Array, "b H W out"]]


class TrainingPair(NamedTuple):
    """What the network is shown and what it should answer."""

    x: Float[Array, "b H W C"]
    cond: Float[Array, " b"]
    target: Float[Array, "b N+extra"]
    weight: Float[Array, " b"]


@runtime_checkable
class Method(Protocol):
    """A generative method. Images are [b, H, W, C] floats in network units; vectors of N numbers are [b, 1, 1, N]."""

    extra_channels: ClassVar[int]  # output channels of the network beyond those of its input

    @property
    def small_batch_size(self) -> int:
        """How many examples of a batch, the first of them, are perturbed."""
        ...

    @property
    def t_prior(self) -> float:
        """Where the ODE meets the prior."""
        ...

    @property
    def t_data(self) -> float:
        """Where the ODE meets the data."""
        ...

    def training_pair(
        self, key: jax.Array, batch: Float[Array, "B H W C"], field: Callable | None = None
    ) -> TrainingPair:
        """Inputs and regression target from a batch of data."""
        ...

    def loss(self, output: Float[Array, "b H W out"], pair: TrainingPair) -> Float[Array, " b"]:
        """The loss of each example."""
        ...

    def prior_sample(self, key: jax.Array, n: int, first: int | Array = 0) -> Float[Array, "n H W C"]:
        """Draws number `first` to `first + n` of the prior; draw k depends on the key and on k alone."""
        ...

    def prior_log_prob(self, x: Float[Array, "b H W C"]) -> Float[Array, " b"]:
        """Log density of the prior at x, in nats."""
        ...

    def velocity(
        self, net: Network, x: Float[Array, "b H W C"], t: Float[Array, ""] | Float[Array, " b"]
    ) -> Float[Array, "b H W C"]:
        """dx/dt of the ODE that connects the prior and the data."""
        ...

    def denoise(
        self, net: Network, x: Float[Array, "b H W C"], t: Float[Array, ""] | Float[Array, " b"]
    ) -> Float[Array, "b H W C"]:
        """The mean of the data as seen from x at time t."""
        ...
