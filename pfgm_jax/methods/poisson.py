"""PFGM: Poisson Flow Generative Models (Xu, Liu, Tegmark, Jaakkola, NeurIPS 2022, arXiv:2209.11178)."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax import field as field_lib
from pfgm_jax.methods.base import Network, TrainingPair

# Points with z0 below half of sigma lie so near the plane z = 0 that large radii would leave the region the backward
# ODE visits; their exponent m ends at this share of M (appendix B.1.1).
RESTRICTED_SHARE = 0.7
# The smallest z a network is shown: embeddings may take its logarithm.
SMALLEST_Z = 1e-10


class HyperParameters(NamedTuple):
    """What a data set's size decides (Xu et al. 2022, appendix B)."""

    M: int
    z_max: float
    upper_norm: float


def hyper_parameters(mean_norm: float, dim: int, sigma: float = 0.01, tau: float = 0.03) -> HyperParameters:
    """M, z_max and upper_norm for a data set (Xu et al. 2022, appendix B).

    Args:
      mean_norm: mean Euclidean norm of the data, in network units.
      dim: N, the dimension of the data.
      sigma: standard deviation of the smallest perturbation, in network units.
      tau: growth of the perturbation from one exponent to the next.

    Returns:
      The largest exponent M, the height z_max of the prior's plane, and the norm at which the prior is clipped.

    Raises:
      ValueError: the data are too small for sigma, so that M would not be positive.
    """
    ratio = mean_norm**2 / (2 * math.sqrt(dim) * sigma**2)
    M = math.floor(0.75 * math.log(ratio) / math.log(1 + tau)) + 1 if ratio > 0 else 0
    if M < 1:
        raise ValueError(
            f"model.sigma_end is {sigma}, too large for data of mean norm {mean_norm:.3g}: training.M would be {M}; "
            "choose a smaller sigma_end, or give training.M, sampling.z_max and sampling.upper_norm yourself"
        )
    growth = (1 + tau) ** M
    return HyperParameters(M, math.sqrt(2 / math.pi) * sigma * growth, math.sqrt(dim) * sigma * growth)


class PerturbationDraws(NamedTuple):
    """The random numbers of one perturbation."""

    m: Float[Array, " b"]  # exponent, before the restriction: U[0, M]
    m_restricted: Float[Array, " b"]  # exponent of restricted points: U[0, floor(0.7 M)]
    z0: Float[Array, " b"]  # N(0, 1)
    radius: Float[Array, "b N"]  # N(0, I): its norm sets the radius
    direction: Float[Array, "b N"]  # N(0, I): its direction is the direction


def _flat(x: Float[Array, "b *shape"]) -> Float[Array, "b N"]:
    return x.reshape(len(x), -1)


def _norm(x: Float[Array, "b N"]) -> Float[Array, " b"]:
    # The derivative of a root at 0 is not finite; the tiny number is far below any square that counts.
    return jnp.sqrt(jnp.maximum(jnp.sum(x**2, axis=-1), jnp.finfo(x.dtype).tiny))


def _like(values: Float[Array, " b"], x: Float[Array, "b *shape"]) -> Float[Array, "b *ones"]:
    return values.reshape(-1, *[1] * (x.ndim - 1))


@dataclasses.dataclass(frozen=True)
class Poisson:
    """PFGM with its numbers. Lengths are in network units (images in [-1, 1]); defaults are the paper's for CIFAR-10.

    Attributes:
      shape: H, W, C of the data; N = H·W·C. Vectors of N numbers are (1, 1, N).
      small_batch_size: how many of a batch's first points are perturbed; all points of the batch are charges.
      M, tau, sigma, restrict_M: the perturbation (Algorithm 2 and appendix B.1.1).
      gamma: the constant that keeps the normalized field finite near the data (section 3.2).
      z_min, z_max: where the backward ODE ends and starts.
      upper_norm: norm at which draws from the prior are clipped.
      z_exp: below it, E_z = -z takes the place of the network's z part (appendix B.2.3).
      exact_substitution: recover |E_x| from the network exactly, where the paper's formula takes |E_x| for |E|.
      drift_epsilon: added to v_z in dx/ds = z v_x / v_z; the authors' release has 1e-5, the paper 0.
      reduce_mean: loss as the mean over dimensions rather than half the sum.
    """

    extra_channels: ClassVar[int] = 1

    shape: tuple[int, int, int]
    small_batch_size: int = 128
    M: float = 291
    tau: float = 0.03
    sigma: float = 0.01
    restrict_M: bool = True
    gamma: float = 5.0
    z_min: float = 1e-3
    z_max: float = 40.0
    upper_norm: float = 3000.0
    z_exp: float = 5.0
    exact_substitution: bool = False
    drift_epsilon: float = 0.0
    reduce_mean: bool = False

    def __post_init__(self):
        for name in ("small_batch_size", "M", "tau", "sigma", "gamma", "z_min", "z_max", "upper_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if not self.z_min < self.z_max:
            raise ValueError(f"z_min is {self.z_min}; it must be below z_max, which is {self.z_max}")

    @property
    def dim(self) -> int:
        """N, the dimension of the data."""
        return math.prod(self.shape)

    @property
    def t_prior(self) -> float:
        """log z_max, where the ODE meets the prior."""
        return math.log(self.z_max)

    @property
    def t_data(self) -> float:
        """log z_min, where the ODE meets the data."""
        return math.log(self.z_min)

    # Training

    def draw_perturbation(self, key: jax.Array, n: int) -> PerturbationDraws:
        """Random numbers that perturb n points."""
        keys = jax.random.split(key, 5)
        return PerturbationDraws(
            m=jax.random.uniform(keys[0], (n,), maxval=self.M),
            m_restricted=jax.random.uniform(keys[1], (n,), maxval=math.floor(RESTRICTED_SHARE * self.M)),
            z0=jax.random.normal(keys[2], (n,)),
            radius=jax.random.normal(keys[3], (n, self.dim)),
            direction=jax.random.normal(keys[4], (n, self.dim)),
        )

    def perturb(
        self, y: Float[Array, "b N"], draws: PerturbationDraws
    ) -> tuple[Float[Array, "b N"], Float[Array, " b"]]:
        """Moves data points into the augmented space (Xu et al. 2022, Algorithm 2).

        Args:
          y: data points.
          draws: random numbers, one row a point.

        Returns:
          x [b, N] and z [b] of the moved points.
        """
        z0 = jnp.abs(draws.z0) * self.sigma
        m = jnp.where(self.restrict_M & (z0 < self.sigma / 2), draws.m_restricted, draws.m)
        growth = (1.0 + self.tau) ** m
        radius = _norm(draws.radius * self.sigma) * growth
        unit = draws.direction / _norm(draws.direction)[:, None]
        return y + unit * radius[:, None], z0 * growth

    def training_pair(
        self, key: jax.Array, batch: Float[Array, "B H W C"], field: Callable | None = None
    ) -> TrainingPair:
        """Perturbed points and the normalized Poisson field there (Xu et al. 2022, Algorithm 1).

        Args:
          key: random key.
          batch: data; the first `small_batch_size` are perturbed.
          field: (x [b, N], z [b]) -> E [b, N+1], the field to learn; by default that of the batch's points as charges.

        Returns:
          The pair; targets [b, N+1] have the z part last. A point on a charge has target 0.

        Raises:
          ValueError: the batch is smaller than `small_batch_size`.
        """
        if len(batch) < self.small_batch_size:
            raise ValueError(
                f"small_batch_size is {self.small_batch_size}, but the batch has {len(batch)} examples; "
                "perturb at most as many as there are"
            )
        charges = _flat(batch)
        x, z = self.perturb(charges[: self.small_batch_size], self.draw_perturbation(key, self.small_batch_size))
        E = field_lib.poisson_field(x, z, charges) if field is None else field(x, z)
        target = jax.lax.stop_gradient(field_lib.normalize_field(E, self.gamma))
        return TrainingPair(x.reshape(-1, *self.shape), jnp.maximum(z, SMALLEST_Z), target, jnp.ones_like(z))

    def _split(self, output: Float[Array, "b H W out"]) -> tuple[Float[Array, "b H W C"], Float[Array, " b"]]:
        """The network's output as (v_x, v_z): v_z is the spatial mean of the last channel."""
        return output[..., :-1], jnp.mean(output[..., -1], axis=(1, 2))

    def loss(self, output: Float[Array, "b H W out"], pair: TrainingPair) -> Float[Array, " b"]:
        """½ Σ (net - v)² over the N+1 components; their mean without the ½ where `reduce_mean`."""
        v_x, v_z = self._split(output)
        squares = (jnp.concatenate([_flat(v_x), v_z[:, None]], axis=1) - pair.target) ** 2
        return pair.weight * (jnp.mean(squares, axis=1) if self.reduce_mean else 0.5 * jnp.sum(squares, axis=1))

    # Prior

    def prior_sample(self, key: jax.Array, n: int, first: int | Array = 0) -> Float[Array, "n H W C"]:
        """Draws `first` to `first + n` of the prior on z = z_max, clipped in norm (section 3.3, appendix A.4).

        The uniform hemisphere, projected radially onto the plane z = z_max, is a multivariate Cauchy distribution:
        x = z_max g / |h| with g ~ N(0, I_N), h ~ N(0, 1).
        """

        def draw(k):
            key_g, key_h = jax.random.split(jax.random.fold_in(key, k))
            g, h = jax.random.normal(key_g, self.shape), jax.random.normal(key_h)
            norm = jnp.sqrt(jnp.sum(g**2))
            return g / norm * jnp.minimum(self.z_max * norm / jnp.abs(h), self.upper_norm)

        return jax.vmap(draw)(first + jnp.arange(n))

    def prior_log_prob(self, x: Float[Array, "b H W C"]) -> Float[Array, " b"]:
        """Log density of the unclipped prior, in nats: Γ((N+1)/2) z_max / (π (|x|² + z_max²))^((N+1)/2)."""
        half = (self.dim + 1) / 2
        constant = math.lgamma(half) + math.log(self.z_max) - half * math.log(math.pi)
        return constant - half * jnp.log(jnp.sum(_flat(x) ** 2, axis=1) + self.z_max**2)

    # ODE

    def _v_z_from_v_x(self, v_x: Float[Array, "b H W C"], z: Float[Array, " b"]) -> Float[Array, " b"]:
        """v_z that goes with v_x where E_z = -z (appendix B.2.3)."""
        root = math.sqrt(self.dim)
        # |v_x| < √N for every field; a network may overshoot.
        a = jnp.minimum(_norm(_flat(v_x)) / root, 1.0 - 1e-6)
        if self.exact_substitution:
            # a = |E_x| / (|E| + γ) solved for |E_x|
            norm_x = a * (self.gamma + jnp.sqrt((self.gamma * a) ** 2 + (1 - a**2) * z**2)) / (1 - a**2)
        else:
            norm_x = self.gamma * a / (1 - a)
        return -root * z / (jnp.sqrt(norm_x**2 + z**2) + self.gamma)

    def _largest_v_z(self, x: Float[Array, "b H W C"], z: Float[Array, " b"]) -> Float[Array, " b"]:
        """The value nearest to 0 that v_z can have at (x, z).

        |E_x| is at most the distance to the farthest charge. Images in [-1, 1] lie within √N of the origin, vectors,
        which are scaled to standard deviation ½, within 2√N for any practical purpose. A network whose v_z comes nearer
        to 0, or changes sign, would send the ODE off without bound.
        """
        root = math.sqrt(self.dim)
        farthest = _norm(_flat(x)) + 2 * root
        return -root * z / (jnp.sqrt(farthest**2 + z**2) + self.gamma)

    def velocity(
        self, net: Network, x: Float[Array, "b H W C"], t: Float[Array, ""] | Float[Array, " b"]
    ) -> Float[Array, "b H W C"]:
        """dx/ds = z v_x / v_z at s = log z = t (Xu et al. 2022, section 3.3, anchored at z)."""
        z = jnp.broadcast_to(jnp.exp(t), x.shape[:1])
        v_x, v_z = self._split(net(x, z).astype(x.dtype))
        v_z = jnp.minimum(v_z, self._largest_v_z(x, z))
        v_z = jnp.where(z < self.z_exp, self._v_z_from_v_x(v_x, z), v_z)
        # v_z is negative, and so small near the data that the epsilon must not change its sign.
        v_z = jnp.minimum(v_z + self.drift_epsilon, 0.5 * v_z)
        return _like(z / v_z, x) * v_x

    def denoise(
        self, net: Network, x: Float[Array, "b H W C"], t: Float[Array, ""] | Float[Array, " b"]
    ) -> Float[Array, "b H W C"]:
        """D(x, z) = x + E_x, the mean of the data weighted by the field they make at (x, z)."""
        return x - self.velocity(net, x, t)
