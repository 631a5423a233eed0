"""The interface by which the rest of the code knows generative methods.

A method is a frozen dataclass of plain numbers. It says what the network regresses on, where sampling starts, and
which ODE leads from there to the data. Samplers, likelihood, latents, training and evaluation know this interface
alone, so that they work for a method that is added tomorrow.

Every method measures the time t of its ODE as the logarithm of its noise level (z for PFGM), and every ODE has the
form dx/dt = x - denoise(x, t).
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import FieldError
from pfgm_jax.methods import kernel
from pfgm_jax.partial_means import Mean

# A network with its parameters: (images [b, H, W, C], noise level or label of each [b], context) ->
# [b, H, W, C + extra_channels].
Network = Callable[[Float[Array, "b H W C"], Float[Array, " b"], Context], Float[Array, "b H W out"]]
# The field of the charges: (x [b, N], noise levels [b]) -> their mean as seen from each point, by the method's kernel.
Field = Callable[[Float[Array, "b N"], Float[Array, " b"]], Mean]
Time = float | Float[Array, ""] | Float[Array, " b"]


class TrainingPair(NamedTuple):
    """What the network is shown, and what it should answer."""

    x: Float[Array, "b H W C"]
    level: Float[Array, " b"]
    context: Context
    target: Float[Array, "b _"]
    weight: Float[Array, " b"]
    noise_level: Float[Array, " b"]


@runtime_checkable
class DataStatistics(Protocol):
    """What a method may ask of its data."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        ...

    @property
    def mean_norm(self) -> float:
        """Mean Euclidean norm of an example, in network units."""
        ...

    @property
    def largest_norm(self) -> float:
        """Euclidean norm that no example exceeds, in network units."""
        ...


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """A generative method. Images are [b, H, W, C] floats in network units; vectors of N numbers are [b, 1, 1, N].

    Attributes:
      shape: H, W, C of the data. Zeros stand for what `fit` has yet to fill in.
    """

    # Output channels of the network beyond those of its input.
    extra_channels: ClassVar[int] = 0
    # The config field of each attribute but `shape`.
    fields: ClassVar[Mapping[str, str]] = {}
    # Attributes in which 0 stands for "from the data"; `fit` fills them in.
    fitted: ClassVar[tuple[str, ...]] = ()
    # Attributes that decide what a trained network means: a run cannot go on with others.
    identity: ClassVar[tuple[str, ...]] = ()
    # Whose field can be the target, see `charges.Charges`; the first is the default.
    references: ClassVar[tuple[str, ...]] = ("example",)
    # Whether it can be trained on pairs of noise and data, see `pairs`.
    takes_pairs: ClassVar[bool] = False
    # How often the network is evaluated for each velocity.
    evaluations_each: ClassVar[int] = 1
    # What the noise level is called in figures.
    level_name: ClassVar[str] = "noise level"

    shape: tuple[int, int, int]

    @property
    def dim(self) -> int:
        """N, the dimension of the data."""
        return math.prod(self.shape)

    @property
    def kernel_dimensions(self) -> float:
        """D of the kernel by which charges are weighed, see `field.posterior_mean`; ∞ for Gaussian noise."""
        return 1

    @classmethod
    def takes_unit_points(cls, config: Any) -> bool:
        """Says whether the network of a config is shown noisy examples scaled to a variance near 1.

        Args:
          config: a complete config.
        """
        del config
        return False

    @property
    @abc.abstractmethod
    def t_prior(self) -> float:
        """Where the ODE meets the prior: the logarithm of the largest noise level."""

    @property
    @abc.abstractmethod
    def t_data(self) -> float:
        """Where the ODE meets the data: the logarithm of the smallest noise level."""

    @classmethod
    def largest_label(cls, config: Any) -> float | None:
        """Returns the largest label that the network of a config is shown; None if it is shown noise levels themselves.

        Args:
          config: a complete config.
        """
        del config
        return None

    @property
    def data_scale(self) -> float:
        """By how much data are multiplied where the ODE meets them."""
        return 1.0

    def coordinates(self, rho: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Computes 1 - c ρ and ρ, the shares of data and noise in the states of the ODE at noise level ρ."""
        return jnp.ones_like(rho), rho

    @property
    def noise_adds_up(self) -> bool:
        """Whether noise on noise is noise of the method, so that states can be led to a higher level at random."""
        return self.kernel_dimensions in (1, math.inf)

    @property
    def denoises_samples(self) -> bool:
        """Whether samples are denoised once where the ODE meets the data."""
        return False

    @property
    def unfitted(self) -> tuple[str, ...]:
        """Lists the attributes that `fit` would fill in."""
        return tuple(name for name in self.fitted if not getattr(self, name))

    def check_reference(self, reference: str) -> None:
        """Checks whose field is to be the target, one of `references`, or '' for the first.

        Raises:
          FieldError: it cannot be; the field is 'reference'.
        """
        if reference not in ("", *self.references):
            raise FieldError("reference", reference, f"choose one of {', '.join(self.references)}")

    def fit(self, statistics: DataStatistics) -> "Method":
        """Returns the method with everything filled in that the data decide.

        Raises:
          FieldError: the data do not suit the method.
        """
        return dataclasses.replace(self, shape=statistics.shape)

    def summary(self) -> dict[str, float]:
        """Returns the numbers that a user should see before a run, by name."""
        return {}

    def for_densities(self) -> "Method":
        """Returns the method whose ODE is exactly the one that carries densities."""
        return self

    @abc.abstractmethod
    def training_pair(
        self,
        key: Key[Array, ""],
        data: Float[Array, "b H W C"],
        context: Context = NO_CONTEXT,
        field: Field | None = None,
    ) -> TrainingPair:
        """Perturbs examples and computes the network's target for each.

        Args:
          key: random key.
          data: the examples.
          context: of each example.
          field: of the charges; None: the target is that of the own example or, where a method has none of that kind,
            that of `data` as charges.
        """

    @abc.abstractmethod
    def loss(self, output: Float[Array, "b H W out"], pair: TrainingPair) -> Float[Array, " b"]:
        """Computes the loss of each example."""

    def losses(self, net: Network, pair: TrainingPair) -> Float[Array, " b"]:
        """Computes the loss of a network for each example."""
        return self.loss(net(pair.x, pair.level, pair.context), pair)

    @abc.abstractmethod
    def prior_sample(self, keys: Key[Array, " b"]) -> Float[Array, "b H W C"]:
        """Draws from the prior; each draw depends on its own key alone."""

    def to_noise(self, x: Float[np.ndarray, "b H W C"]) -> Float[np.ndarray, "b H W C"]:
        """Maps draws from the prior to standard normal noise, one to one.

        Raises:
          FieldError: the method has no such map.
        """
        raise FieldError("sde", type(self).__name__, "its prior has no map to normal noise: choose another method")

    @abc.abstractmethod
    def prior_log_prob(self, x: Float[Array, "b H W C"]) -> Float[Array, " b"]:
        """Computes the log density of the prior at x, in nats."""

    def start(self, keys: Key[Array, " b"], context: Context = NO_CONTEXT) -> Float[Array, "b H W C"]:
        """Draws where sampling starts; by default from the prior."""
        del context
        return self.prior_sample(keys)

    def noisy(self, keys: Key[Array, " b"], x0: Float[Array, "b H W C"], t: Time) -> Float[Array, "b H W C"]:
        """Draws states at time t of given data, each from its own key: (1 - c ρ) x0 + ρ n, see `kernel` for n."""
        share, rho = self.coordinates(levels(t, x0))
        return per_row(share, x0) * x0 + per_row(rho, x0) * self.noise(keys)

    def noise(self, keys: Key[Array, " b"]) -> Float[Array, "b H W C"]:
        """Draws noise n, each from its own key, of which no network has seen more than this."""
        return jax.vmap(lambda key: kernel.noise(key, self.shape, self.kernel_dimensions))(keys)

    def raised(self, keys: Key[Array, " b"], x: Float[Array, "b H W C"], t0: Time, t1: Time) -> Float[Array, "b H W C"]:
        """Leads states at time t0 to a later one t1, of more noise, at random: as `noisy` data at t1 are distributed.

        Variances of Gaussian noise add up, and of the noise of PFGM, whose law is Cauchy's, scales.

        Raises:
          ValueError: noise on noise is not noise of the method.
        """
        if not self.noise_adds_up:
            raise ValueError(f"the noise has D = {self.kernel_dimensions:g}; that of D = 1 and D = inf adds up")
        (share0, rho0), (share1, rho1) = (self.coordinates(levels(t, x)) for t in (t0, t1))
        kept = share1 / share0
        gaussian = math.isinf(self.kernel_dimensions)
        added = jnp.sqrt(jnp.maximum(rho1**2 - (kept * rho0) ** 2, 0)) if gaussian else rho1 - kept * rho0
        return per_row(kept, x) * x + per_row(added, x) * self.noise(keys)

    @abc.abstractmethod
    def velocity(
        self, net: Network, x: Float[Array, "b H W C"], t: Time, context: Context = NO_CONTEXT
    ) -> Float[Array, "b H W C"]:
        """Computes dx/dt of the ODE that connects the prior and the data."""

    def denoise(
        self, net: Network, x: Float[Array, "b H W C"], t: Time, context: Context = NO_CONTEXT
    ) -> Float[Array, "b H W C"]:
        """Computes the mean of the data as seen from x at time t."""
        return x - self.velocity(net, x, t, context)


def flatten(x: Num[Array, "b *shape"]) -> Num[Array, "b N"]:
    """Flattens each row."""
    return x.reshape(len(x), -1)


def per_row(values: Num[Array, " b"], x: Num[Array, "b *shape"]) -> Num[Array, "b *ones"]:
    """Reshapes one number a row so that it multiplies the rows of x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def levels(t: Time, x: Float[Array, "b *shape"]) -> Float[Array, " b"]:
    """Computes the noise level of each row at time t."""
    return jnp.broadcast_to(jnp.exp(jnp.asarray(t, x.dtype)), x.shape[:1])
