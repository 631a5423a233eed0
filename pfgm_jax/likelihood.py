"""Log densities and bits per dimension by the change of variables along the ODE.

The ODE dx/dt = v(x, t) transports the data's density to the prior's. On a trajectory from y at t_data to x at t_prior,

    log p(y) = log prior(x) + ∫ div v dt,        t from t_data to t_prior

(Chen et al. 2018, theorem 1), where t is the logarithm of the noise level. The divergence is the trace of the Jacobian
dv/dx. It is either exact, from one product with each unit vector, or estimated with random probes e as e·(dv/dx)e
(Hutchinson 1989). Both need Jacobian-vector products, which forward-mode differentiation computes at about the cost of
v.

The result is the density of the ODE as it is solved, so use `Method.for_densities`. Solvers that are not adaptive step
in e^t, in which log densities are far from straight, so likelihoods require an adaptive solver.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

from pfgm_jax import ranges
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.datasets.scaling import Scaling
from pfgm_jax.methods.base import Method, Network, flatten
from pfgm_jax.samplers.base import OdeSolver, Solution

VectorField = Callable[[Float[Array, "b *shape"]], Float[Array, "b *shape"]]
Probes = Float[Array, "k b H W C"]

ESTIMATES = ("rademacher", "gaussian")
DIVERGENCES = (*ESTIMATES, "exact")
# Number of unit vectors per batch in the exact divergence; each image then takes the memory of this many images.
UNIT_VECTORS = 32


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Options for computing the divergence.

    Attributes:
      name: 'exact', or the distribution of Hutchinson's probes: 'rademacher' (±1) or 'gaussian'. Both estimates are
        unbiased; Rademacher probes have less variance.
      probes: number of probes to average in each solve of the ODE; unused by the exact divergence.
    """

    fields: ClassVar[Mapping[str, str]] = {"name": "eval.divergence"}

    name: str = "rademacher"
    probes: int = 1

    def __post_init__(self):
        ranges.check(self, name=ranges.one_of(DIVERGENCES), probes=ranges.at_least(1))

    def draw(self, keys: Key[Array, " b"], shape: tuple[int, ...]) -> Probes | None:
        """Draws probes for images of a given shape, each from its image's key; None for the exact divergence."""
        if self.name == "exact":
            return None
        distribution = jax.random.rademacher if self.name == "rademacher" else jax.random.normal
        return jax.vmap(lambda key: distribution(key, (self.probes, *shape), jnp.float32), out_axes=1)(keys)


def estimated_divergence(
    f: VectorField, x: Float[Array, "b *shape"], probes: Float[Array, "k b *shape"]
) -> tuple[Float[Array, "b *shape"], Float[Array, " b"]]:
    """Computes f(x) and Hutchinson's estimate of its divergence: the mean of e·(df/dx)e over the probes e.

    Args:
      f: a vector field; each row of the result depends only on the same row of x.
      x: points to evaluate at.
      probes: random vectors with mean zero and identity covariance, which make the estimate unbiased.
    """
    value, products = jax.vmap(lambda e: jax.jvp(f, (x,), (e,)), out_axes=(None, 0))(probes)
    return value, jnp.mean(jnp.sum(probes * products, axis=range(2, probes.ndim)), axis=0)


def exact_divergence(
    f: VectorField, x: Float[Array, "b *shape"], unit_vectors: int = UNIT_VECTORS
) -> tuple[Float[Array, "b *shape"], Float[Array, " b"]]:
    """Computes f(x) and its divergence from N products of the Jacobian with unit vectors.

    Args:
      f: a vector field; each row of the result depends only on the same row of x.
      x: points to evaluate at; each row has N components.
      unit_vectors: number of unit vectors per batch.
    """
    dim = math.prod(x.shape[1:])

    def diagonal_element(i):
        unit = jnp.zeros((1, dim), x.dtype).at[:, i].set(1.0).reshape(1, *x.shape[1:])
        column = jax.jvp(f, (x,), (jnp.broadcast_to(unit, x.shape),))[1]
        return column.reshape(len(x), dim)[:, i]

    elements = jax.lax.map(diagonal_element, jnp.arange(dim), batch_size=min(unit_vectors, dim))
    return f(x), jnp.sum(elements, axis=0)


class Likelihood(NamedTuple):
    """Log densities of images, in nats, and the terms that add up to them. Call `check` on the host."""

    log_prob: Float[Array | np.ndarray, " b"]  # density in network units; NaN if the solve failed
    prior: Float[Array | np.ndarray, " b"]  # log density of the prior at `latent`
    volume: Float[Array | np.ndarray, " b"]  # the divergence, integrated over t from the data to the prior
    latent: Float[Array | np.ndarray, "b H W C"]  # where the image's trajectory meets the prior
    evaluations: Int[Array | np.ndarray, " b"]  # of the velocity and its divergence
    ok: Bool[Array | np.ndarray, " b"]  # the image is finite, and so is all of the above

    def check(self, first: int = 0) -> "Likelihood":
        """Waits for the result and returns it if every image was solved.

        Args:
          first: number of the first image, for the error message.

        Raises:
          SolveError: some images were not solved.
        """
        Solution(self.latent, self.evaluations, self.ok).check(first)
        return self


def log_prob(
    method: Method,
    net: Network,
    x: Float[Array, "b H W C"],
    solver: OdeSolver,
    probes: Probes | None = None,
    context: Context = NO_CONTEXT,
) -> Likelihood:
    """Computes the log density at x of the model's distribution. The function is pure; callers may jit it.

    The tolerances of an adaptive solver apply to x and, with equal weight, to the log density per dimension in nats.

    Args:
      method: defines prior and ODE.
      net: a trained network.
      x: images in network units.
      solver: ODE solver.
      probes: [k, b, H, W, C], probes of Hutchinson's estimate of the divergence; None for the exact divergence.
      context: context of each image.

    Returns:
      The log densities; `ok` is False where x is not finite or the solve failed.
    """
    dim, shape = math.prod(x.shape[1:]), x.shape[1:]
    finite = jnp.all(jnp.isfinite(x), axis=(1, 2, 3))
    # With an image that is not finite, the solver would try ever smaller steps.
    start = method.data_scale * jnp.where(finite[:, None, None, None], x, 1.0)

    # The state holds x and N copies of the volume per dimension. The error norm is a mean over components, so a single
    # copy would hardly count among thousands.
    def velocity(state, t, rows):
        context, probes = rows
        f = lambda x: method.velocity(net, x, t, context)
        at = state[:, :dim].reshape(-1, *shape)
        v, div = exact_divergence(f, at) if probes is None else estimated_divergence(f, at, jnp.moveaxis(probes, 1, 0))
        per_dim = jnp.broadcast_to(div[:, None] / dim, (len(state), dim))
        return jnp.concatenate([flatten(v), per_dim], axis=1)

    rows = context, None if probes is None else jnp.moveaxis(probes, 0, 1)
    state = jnp.pad(flatten(start), [(0, 0), (0, dim)])
    solved = solver.solve(velocity, state, method.t_data, method.t_prior, rows)
    end = jnp.asarray(solved.x)
    latent, volume = end[:, :dim].reshape(x.shape), dim * end[:, dim]
    prior = method.prior_log_prob(latent)
    ok = finite & jnp.asarray(solved.ok) & jnp.isfinite(prior)
    scaled = dim * math.log(method.data_scale)
    return Likelihood(jnp.where(ok, prior + volume + scaled, jnp.nan), prior, volume, latent, solved.evaluations, ok)


def stored_unit(scaling: Scaling) -> float:
    """Returns the length in network units of one unit of the stored data: one grey level, or 1 of real numbers.

    Of channels with scales of their own it is the geometric mean, of which the power of N is the ratio of volumes.
    """
    if scaling.levels:
        return (scaling.high - scaling.low) / scaling.levels
    return math.exp(-float(np.mean(np.log(scaling.scale))))


def to_bits_per_dim(log_prob: Float[Array | np.ndarray, "*b"], dim: int, unit: float) -> Array | np.ndarray:
    """Converts log densities to bits per dimension, -log p / (N ln 2) - log2 unit.

    Args:
      log_prob: log density in network units, in nats.
      dim: N.
      unit: length in network units of the unit of the result. For images it is one grey level, (high - low) / levels,
        which adds 7 for 256 levels in [-1, 1]. For vectors it is 1 in the data's own units; see `stored_unit`.
    """
    return -log_prob / (dim * math.log(2)) - math.log2(unit)


class BitsPerDim(NamedTuple):
    """Bits per dimension of every image in every draw. Call `check` on the host."""

    bits: Float[Array | np.ndarray, "b draws"]  # NaN if the solve failed
    evaluations: Int[Array | np.ndarray, "b draws"]  # of the velocity and its divergence
    ok: Bool[Array | np.ndarray, "b draws"]

    @property
    def mean(self) -> Float[Array | np.ndarray, " b"]:
        """Returns the mean over draws, an unbiased estimate."""
        return self.bits.mean(axis=1)

    @property
    def standard_error(self) -> Float[Array | np.ndarray, " b"]:
        """Returns the standard error of the mean over draws; NaN for a single draw."""
        draws = self.bits.shape[1]
        if draws == 1:
            return np.full(len(self.bits), np.nan, np.float32)
        return self.bits.std(axis=1, ddof=1) / math.sqrt(draws)

    def check(self, first: int = 0) -> "BitsPerDim":
        """Waits for the result and returns it if every image was solved in every draw.

        Args:
          first: number of the first image, for the error message.

        Raises:
          SolveError: some images were not solved.
        """
        ok = np.asarray(np.all(self.ok, axis=1))
        Solution(self.bits, np.max(self.evaluations, axis=1), ok).check(first)
        return self


def bits_per_dim(
    method: Method,
    net: Network,
    key: jax.Array,
    stored: Num[Array, "b H W C"],
    index: Int[Array, " b"],
    scaling: Scaling,
    solver: OdeSolver,
    divergence: Divergence,
    draws: int = 1,
    first_draw: int | Array = 0,
    context: Context = NO_CONTEXT,
) -> BitsPerDim:
    """Computes bits per dimension of stored examples. The function is pure; callers may jit it.

    Grey levels are dequantized with uniform noise of one level, so that they have a density. Its mean log is a lower
    bound on the log probability of the levels (Theis et al. 2016). Vectors already have a density. Their bits refer to
    their own units, before scaling, and may be negative.

    Args:
      method: defines prior and ODE.
      net: a trained network.
      key: random key; noise and probes depend on it, the index of the example and the number of the draw.
      stored: grey levels or vectors.
      index: index of each example in its data set.
      scaling: scaling of the network; `dequantize` is assumed to be True.
      solver: ODE solver.
      divergence: options for computing the divergence.
      draws: number of times to draw noise and probes and solve the ODE.
      first_draw: number of the first draw, so that more draws can be added later.
      context: context of each example.
    """
    dequantized = dataclasses.replace(scaling, dequantize=True)
    shape = stored.shape[1:]

    def one_draw(draw):
        keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(jax.random.fold_in(key, i), draw)))(index)
        noise = jax.vmap(lambda k: jax.random.uniform(k, shape, jnp.float32))(keys[:, 0])
        x = dequantized.to_network(stored, noise)
        found = log_prob(method, net, x, solver, divergence.draw(keys[:, 1], shape), context)
        bits = to_bits_per_dim(found.log_prob, math.prod(shape), stored_unit(scaling))
        return BitsPerDim(bits, found.evaluations, found.ok)

    by_draw = jax.lax.map(one_draw, first_draw + jnp.arange(draws))
    return jax.tree.map(jnp.transpose, by_draw)
