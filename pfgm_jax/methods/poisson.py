"""PFGM: Poisson Flow Generative Models (Xu, Liu, Tegmark, Jaakkola, NeurIPS 2022, arXiv:2209.11178)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from pfgm_jax import field as field_lib
from pfgm_jax import ranges
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import FieldError
from pfgm_jax.methods import kernel
from pfgm_jax.methods.base import DataStatistics, Field, Method, Network, Time, TrainingPair, flatten, levels, per_row
from pfgm_jax.methods.hyper_parameters import LOW_DIMENSION, hyper_parameters, share_beyond

# Points with z0 below half of sigma lie so near the plane z = 0 that large radii would leave the region the backward
# ODE visits; their exponent m ends at this share of M (appendix B.1.1).
RESTRICTED_SHARE = 0.7
# The smallest z a network is shown: embeddings may take its logarithm.
SMALLEST_Z = 1e-10


class PerturbationDraws(NamedTuple):
    """The random numbers of one perturbation."""

    m: Float[Array, " b"]  # exponent, before the restriction: U[0, M]
    m_restricted: Float[Array, " b"]  # exponent of restricted points: U[0, floor(0.7 M)]
    z0: Float[Array, " b"]  # N(0, 1)
    radius: Float[Array, "b N"]  # N(0, I): its norm sets the radius
    direction: Float[Array, "b N"]  # N(0, I): its direction is the direction


def _norm(x: Float[Array, "b N"]) -> Float[Array, " b"]:
    # The derivative of a root at 0 is not finite; the tiny number is far below any square that counts.
    return jnp.sqrt(jnp.maximum(jnp.sum(x**2, axis=-1), jnp.finfo(x.dtype).tiny))


@dataclasses.dataclass(frozen=True)
class Poisson(Method):
    """PFGM with its numbers. Lengths are in network units (images in [-1, 1]); defaults are the paper's for CIFAR-10.

    Attributes:
      shape: H, W, C of the data; N = H·W·C. Vectors of N numbers are (1, 1, N).
      M, tau, sigma, restrict_M: the perturbation (Algorithm 2 and appendix B.1.1). M = 0: from the data, by `fit`.
      gamma: the constant that keeps the normalized field finite near the data (section 3.2).
      z_min, z_max: where the backward ODE ends and starts. z_max = 0: from the data, by `fit`.
      upper_norm: norm at which draws from the prior are clipped; 0: from the data, by `fit`.
      data_radius: norm that no example exceeds; 0: from the data, by `fit`, in fewer than 64 dimensions; else unknown.
      z_exp: below it, E_z = -z takes the place of the network's z part (appendix B.2.3).
      exact_substitution: recover |E_x| from the network exactly, where the paper's formula takes |E_x| for |E|.
      drift_epsilon: added to v_z in dx/ds = z v_x / v_z; the authors' release has 1e-5, the paper 0.
      reduce_mean: loss as the mean over dimensions rather than half the sum.
    """

    extra_channels: ClassVar[int] = 1
    fields: ClassVar[Mapping[str, str]] = {
        "M": "training.M",
        "tau": "training.tau",
        "sigma": "model.sigma_end",
        "restrict_M": "training.restrict_M",
        "gamma": "training.gamma",
        "z_min": "sampling.z_min",
        "z_max": "sampling.z_max",
        "upper_norm": "sampling.upper_norm",
        "data_radius": "sampling.data_radius",
        "z_exp": "sampling.z_exp",
        "exact_substitution": "sampling.exact_substitution",
        "drift_epsilon": "sampling.drift_epsilon",
        "reduce_mean": "training.reduce_mean",
    }
    fitted: ClassVar[tuple[str, ...]] = ("M", "z_max", "upper_norm", "data_radius")
    identity: ClassVar[tuple[str, ...]] = ("gamma",)
    references: ClassVar[tuple[str, ...]] = ("batch", "dataset")
    level_name: ClassVar[str] = "z"

    M: float = 291
    tau: float = 0.03
    sigma: float = 0.01
    restrict_M: bool = True
    gamma: float = 5.0
    z_min: float = 1e-3
    z_max: float = 40.0
    upper_norm: float = 3000.0
    data_radius: float = 0.0
    z_exp: float = 5.0
    exact_substitution: bool = False
    drift_epsilon: float = 0.0
    reduce_mean: bool = False

    def __post_init__(self):
        positive, not_negative = ranges.above(0), ranges.at_least(0)
        growth = ranges.Range(lambda v: 0 < v <= 1, "give a number above 0 and at most 1")
        ranges.check(self, tau=growth, sigma=positive, gamma=positive, z_min=positive)
        ranges.check(self, M=not_negative, z_max=not_negative, upper_norm=not_negative, data_radius=not_negative)
        ranges.check(self, z_exp=not_negative, drift_epsilon=not_negative)
        if self.z_max and not self.z_min < self.z_max:
            raise FieldError("z_max", self.z_max, f"the ODE ends at `z_min`, which is {self.z_min}: give a larger one")

    @property
    def t_prior(self) -> float:
        """log z_max, where the ODE meets the prior."""
        return math.log(self.z_max)

    @property
    def t_data(self) -> float:
        """log z_min, where the ODE meets the data."""
        return math.log(self.z_min)

    @property
    def unfitted(self) -> tuple[str, ...]:
        """Lists what `fit` would fill in."""
        return tuple(name for name in super().unfitted if name != "data_radius" or self.dim < LOW_DIMENSION)

    def fit(self, statistics: DataStatistics) -> "Poisson":
        """Fills in the shape and, where they are 0, M, z_max, upper_norm and in few dimensions `data_radius`.

        Raises:
          FieldError: sigma is too large for the data.
        """
        shaped = dataclasses.replace(self, shape=statistics.shape)
        found: dict[str, float] = {}
        if {"M", "z_max", "upper_norm"} & {*shaped.unfitted}:
            found = hyper_parameters(statistics.mean_norm, shaped.dim, self.sigma, self.tau)._asdict()
        if "data_radius" in shaped.unfitted:
            found["data_radius"] = statistics.largest_norm
        return dataclasses.replace(shaped, **{name: float(found[name]) for name in shaped.unfitted})

    def summary(self) -> dict[str, float]:
        """Returns M, z_max, upper_norm, and the share of the prior's draws that `upper_norm` clips."""
        clipped = share_beyond(self.upper_norm, self.z_max, self.dim)
        numbers = {"M": self.M, "z_max": self.z_max, "upper_norm": self.upper_norm}
        return {**numbers, "share of the prior clipped": clipped}

    def for_densities(self) -> "Poisson":
        """Returns the method without the release's epsilon, with which the field would have no potential."""
        return dataclasses.replace(self, drift_epsilon=0.0)

    # Training

    def draw_perturbation(self, key: jax.Array, n: int) -> PerturbationDraws:
        """Draws the random numbers that perturb n points."""
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
        self,
        key: Key[Array, ""],
        data: Float[Array, "b H W C"],
        context: Context = NO_CONTEXT,
        field: Field | None = None,
    ) -> TrainingPair:
        """Perturbs examples and computes the normalized Poisson field there (Xu et al. 2022, Algorithm 1).

        Args:
          key: random key.
          data: the examples to perturb.
          context: of each example; passed on.
          field: of the charges; by default that of `data` as charges.

        Returns:
          The pair; targets [b, N+1] have the z part last. A point on a charge has target 0.
        """
        y = flatten(data)
        x, z = self.perturb(y, self.draw_perturbation(key, len(y)))
        E = field_lib.poisson_field(x, z, y) if field is None else field_lib.augmented(field(x, z).towards, z)
        target = jax.lax.stop_gradient(field_lib.normalize_field(E, self.gamma))
        level, weight = jnp.maximum(z, SMALLEST_Z), jnp.ones_like(z)
        return TrainingPair(x.reshape(-1, *self.shape), level, context, target, weight, z)

    def _split(self, output: Float[Array, "b H W out"]) -> tuple[Float[Array, "b H W C"], Float[Array, " b"]]:
        """Splits the network's output into v_x and v_z, the spatial mean of the last channel."""
        return output[..., :-1], jnp.mean(output[..., -1], axis=(1, 2))

    def loss(self, output: Float[Array, "b H W out"], pair: TrainingPair) -> Float[Array, " b"]:
        """Computes ½ Σ (net - v)² over the N+1 components; the mean of (net - v)² where `reduce_mean`."""
        v_x, v_z = self._split(output)
        squares = (jnp.concatenate([flatten(v_x), v_z[:, None]], axis=1) - pair.target) ** 2
        return pair.weight * (jnp.mean(squares, axis=1) if self.reduce_mean else 0.5 * jnp.sum(squares, axis=1))

    # Prior

    def prior_sample(self, keys: Key[Array, " b"]) -> Float[Array, "b H W C"]:
        """Draws from the prior on z = z_max, clipped in norm (section 3.3, appendix A.4).

        The uniform hemisphere, projected radially onto the plane z = z_max, is a multivariate Cauchy distribution:
        x = z_max g / |h| with g ~ N(0, I_N), h ~ N(0, 1).
        """

        def draw(key):
            key_g, key_h = jax.random.split(key)
            g, h = jax.random.normal(key_g, self.shape), jax.random.normal(key_h)
            norm = jnp.sqrt(jnp.sum(g**2))
            return g / norm * jnp.minimum(self.z_max * norm / jnp.abs(h), self.upper_norm)

        return jax.vmap(draw)(keys)

    def noise(self, keys: Key[Array, " b"]) -> Float[Array, "b H W C"]:
        """Draws Cauchy noise, clipped in norm as the prior is."""
        free = super().noise(keys)
        most = self.upper_norm / self.z_max
        return free * per_row(jnp.minimum(1.0, most / _norm(flatten(free))), free)

    def to_noise(self, x: Float[np.ndarray, "b H W C"]) -> Float[np.ndarray, "b H W C"]:
        """Keeps the direction of draws from the prior, and gives their norms the quantiles of normal noise's.

        Norms at which draws are clipped, as many as the prior has beyond, get the noise's norm of the middle of these.
        """
        norm = np.linalg.norm(x.reshape(len(x), -1).astype(np.float64), axis=1)
        beyond = kernel.share_beyond(norm / self.z_max, self.dim, D=1)
        beyond = np.where(norm >= self.upper_norm * (1 - 1e-6), 0.5 * beyond, beyond)
        return kernel.to_normal(x, 1, beyond)

    def prior_log_prob(self, x: Float[Array, "b H W C"]) -> Float[Array, " b"]:
        """Computes log p of the unclipped prior, p = Γ((N+1)/2) z_max / (π (|x|² + z_max²))^((N+1)/2), in nats."""
        return kernel.log_density(flatten(x), self.z_max, D=1)

    # ODE

    def _v_z_from_v_x(self, v_x: Float[Array, "b H W C"], z: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the v_z that goes with v_x where E_z = -z (appendix B.2.3)."""
        root = math.sqrt(self.dim)
        # |v_x| < √N for every field; a network may overshoot.
        a = jnp.minimum(_norm(flatten(v_x)) / root, 1.0 - 1e-6)
        if self.exact_substitution:
            # a = |E_x| / (|E| + γ) solved for |E_x|
            norm_x = a * (self.gamma + jnp.sqrt((self.gamma * a) ** 2 + (1 - a**2) * z**2)) / (1 - a**2)
        else:
            norm_x = self.gamma * a / (1 - a)
        return -root * z / (jnp.sqrt(norm_x**2 + z**2) + self.gamma)

    @property
    def _radius(self) -> float:
        """A norm that no example exceeds."""
        # Images in [-1, 1] lie within √N of the origin, vectors, which are scaled to standard deviation ½, within 2√N
        # for most practical purposes.
        return self.data_radius or 2 * math.sqrt(self.dim)

    def _largest_v_z(self, x: Float[Array, "b H W C"], z: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the value nearest to 0 that v_z can have at (x, z).

        |E_x| is at most the distance to the farthest charge. A network whose v_z comes nearer to 0, or changes sign,
        would send the ODE off without bound.
        """
        farthest = _norm(flatten(x)) + self._radius
        return -math.sqrt(self.dim) * z / (jnp.sqrt(farthest**2 + z**2) + self.gamma)

    def _within_data(self, x: Float[Array, "b H W C"], velocity: Float[Array, "b H W C"]) -> Float[Array, "b H W C"]:
        """Changes a velocity x - D, in few dimensions, so that D, a mean of charges, is no farther out than they are.

        In few dimensions the prior has heavy tails, and many draws lie where no perturbed example was. There a network
        is off by a share of |x|, which misses the data, but the error of a D within their ball is forgotten on the way.
        """
        if self.dim >= LOW_DIMENSION:
            return velocity
        D = x - velocity
        # No division by a D of 0, of which derivatives would not be finite.
        beyond = 1 - self._radius / jnp.maximum(_norm(flatten(D)), self._radius)
        return velocity + per_row(beyond, x) * D

    def velocity(
        self, net: Network, x: Float[Array, "b H W C"], t: Time, context: Context = NO_CONTEXT
    ) -> Float[Array, "b H W C"]:
        """Computes dx/ds = z v_x / v_z at s = log z = t (Xu et al. 2022, section 3.3, anchored at z)."""
        z = levels(t, x)
        v_x, v_z = self._split(net(x, z, context).astype(x.dtype))
        v_z = jnp.where(z < self.z_exp, self._v_z_from_v_x(v_x, z), v_z)
        v_z = jnp.minimum(v_z, self._largest_v_z(x, z))
        # v_z is negative, and so small near the data that the epsilon must not change its sign.
        v_z = jnp.minimum(v_z + self.drift_epsilon, 0.5 * v_z)
        return self._within_data(x, per_row(z / v_z, x) * v_x)
