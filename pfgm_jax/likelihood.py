"""Log densities and bits per dimension by the change of variables along the ODE.

The ODE dx/dt = v(x, t) carries the data's density to the prior's. Along a trajectory from y at t_data to x at t_prior,

    log p(y) = log prior(x) + ∫ div v dt,        t from t_data to t_prior

(Chen et al. 2018, theorem 1), where t is the logarithm of the noise level. The divergence is the trace of the Jacobian
dv/dx: exactly, by one product with each unit vector, or estimated by random probes e as e·(dv/dx)e (Hutchinson 1989).
Either needs products of the Jacobian with vectors, which forward differentiation gives at about the cost of v.

What is measured is the density of the ODE as it is solved: take `Method.for_densities`. Solvers that do not choose
their steps step in e^t, in which log densities are far from straight; likelihoods ask for an adaptive one.
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
# Unit vectors that the exact divergence takes at a time: the network's memory for so many images per image.
UNIT_VECTORS = 32


@dataclasses.dataclass(frozen=True)
class Divergence:
    """How to find the divergence.

    Attributes:
      name: 'rademacher' or 'gaussian', by which the components of Hutchinson's probes are drawn, or 'exact'. Of the two
        estimates, both unbiased, that of Rademacher probes (±1) varies less.
      probes: averaged in each solve of the ODE; the exact divergence has none.
    """

    fields: ClassVar[Mapping[str, str]] = {"name": "eval.divergence"}

    name: str = "rademacher"
    probes: int = 1

    def __post_init__(self):
        ranges.check(self, name=ranges.one_of(DIVERGENCES), probes=ranges.at_least(1))

    def draw(self, keys: Key[Array, " b"], shape: tuple[int, ...]) -> Probes | None:
        """Probes for images of a shape, those of each image from its own key; None where the divergence is exact."""
        if self.name == "exact":
            return None
        distribution = jax.random.rademacher if self.name == "rademacher" else jax.random.normal
        return jax.vmap(lambda key: distribution(key, (self.probes, *shape), jnp.float32), out_axes=1)(keys)


def estimated_divergence(
    f: VectorField, x: Float[Array, "b *shape"], probes: Float[Array, "k b *shape"]
) -> tuple[Float[Array, "b *shape"], Float[Array, " b"]]:
    """f(x), and Hutchinson's estimate of its divergence: the mean of e·(df/dx)e over the probes e.

    Args:
      f: a vector field, of which each row of the result depends on the same row of x alone.
      x: where.
      probes: of mean zero and covariance one, for which the estimate is unbiased.
    """
    value, products = jax.vmap(lambda e: jax.jvp(f, (x,), (e,)), out_axes=(None, 0))(probes)
    return value, jnp.mean(jnp.sum(probes * products, axis=range(2, probes.ndim)), axis=0)


def exact_divergence(
    f: VectorField, x: Float[Array, "b *shape"], unit_vectors: int = UNIT_VECTORS
) -> tuple[Float[Array, "b *shape"], Float[Array, " b"]]:
    """f(x) and its divergence, from N products of the Jacobian with unit vectors.

    Args:
      f: a vector field, of which each row of the result depends on the same row of x alone.
      x: where; N is the number of components of a row.
      unit_vectors: taken at a time.
    """
    dim = math.prod(x.shape[1:])

    def diagonal_element(i):
        unit = jnp.zeros((1, dim), x.dtype).at[:, i].set(1.0).reshape(1, *x.shape[1:])
        column = jax.jvp(f, (x,), (jnp.broadcast_to(unit, x.shape),))[1]
        return column.reshape(len(x), dim)[:, i]

    elements = jax.lax.map(diagonal_element, jnp.arange(dim), batch_size=min(unit_vectors, dim))
    return f(x), jnp.sum(elements, axis=0)


class Likelihood(NamedTuple):
    """Log densities image by image, in nats, and the parts they are the sum of. `check` it on the host."""

    log_prob: Float[Array | np.ndarray, " b"]  # density in network units; not a number where the solve failed
    prior: Float[Array | np.ndarray, " b"]  # log density of the prior at `latent`
    volume: Float[Array | np.ndarray, " b"]  # the divergence, integrated over t from the data to the prior
    latent: Float[Array | np.ndarray, "b H W C"]  # where the image's trajectory meets the prior
    evaluations: Int[Array | np.ndarray, " b"]  # of the velocity and its divergence
    ok: Bool[Array | np.ndarray, " b"]  # the image is finite, and so is all of the above

    def check(self, first: int = 0) -> "Likelihood":
        """Returns itself if every image was solved; waits for the result.

        Args:
          first: number of the first image, by which a failed one is named.

        Raises:
          SolveError: some were not.
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
    """Computes the log density at x of the data's distribution as the network knows it; pure, to be jitted.

    The tolerances of an adaptive solver hold for x and, with equal weight, for the log density per dimension in nats.

    Args:
      method: prior and ODE.
      net: a trained network.
      x: images in network units.
      solver: how to solve the ODE.
      probes: [k, b, H, W, C], of Hutchinson's estimate of the divergence; None: the exact divergence.
      context: of each image.

    Returns:
      The log densities; where x is not finite or the solve failed, `ok` says so.
    """
    dim, shape = math.prod(x.shape[1:]), x.shape[1:]
    finite = jnp.all(jnp.isfinite(x), axis=(1, 2, 3))
    # An image that is not finite would be tried in ever smaller steps, to no end.
    start = jnp.where(finite[:, None, None, None], x, 1.0)

    # The state has x and, N times over, the volume per dimension: the error norm is a mean over components, of which a
    # single one would hardly count among thousands.
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
    return Likelihood(jnp.where(ok, prior + volume, jnp.nan), prior, volume, latent, solved.evaluations, ok)


def stored_unit(scaling: Scaling) -> float:
    """The length in network units of one unit of the stored data: of one grey level, or of 1 in a vector."""
    return (scaling.high - scaling.low) / scaling.levels if scaling.levels else 1.0 / scaling.scale


def to_bits_per_dim(log_prob: Float[Array | np.ndarray, "*b"], dim: int, unit: float) -> Array | np.ndarray:
    """Bits per dimension, -log p / (N ln 2) - log2 unit.

    Args:
      log_prob: in nats, of the density in network units.
      dim: N.
      unit: length in network units of what counts as 1. For images it is one grey level, (high - low) / levels: with
        256 levels in [-1, 1], 7 is added. For vectors it is 1 in the data's own units, see `stored_unit`.
    """
    return -log_prob / (dim * math.log(2)) - math.log2(unit)


class BitsPerDim(NamedTuple):
    """Bits per dimension of every image in every draw. `check` it on the host."""

    bits: Float[Array | np.ndarray, "b draws"]  # not a number where the solve failed
    evaluations: Int[Array | np.ndarray, "b draws"]  # of the velocity and its divergence
    ok: Bool[Array | np.ndarray, "b draws"]

    @property
    def mean(self) -> Float[Array | np.ndarray, " b"]:
        """The mean over draws, an unbiased estimate."""
        return self.bits.mean(axis=1)

    @property
    def standard_error(self) -> Float[Array | np.ndarray, " b"]:
        """Of the mean over draws; not a number where there is only one."""
        draws = self.bits.shape[1]
        if draws == 1:
            return np.full(len(self.bits), np.nan, np.float32)
        return self.bits.std(axis=1, ddof=1) / math.sqrt(draws)

    def check(self, first: int = 0) -> "BitsPerDim":
        """Returns itself if every image was solved in every draw; waits for the result.

        Args:
          first: number of the first image, by which a failed one is named.

        Raises:
          SolveError: some were not.
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
    """Bits per dimension of stored examples; pure, to be jitted by the caller.

    Grey levels are dequantized: uniform noise of one level gives them a density, of which the mean log bounds the log
    probability of the levels from below (Theis et al. 2016). Vectors have a density already; their bits are of that in
    their own units, before scaling, and may be negative.

    Args:
      method: prior and ODE.
      net: a trained network.
      key: with the index of the example and the number of the draw, decides the noise and the probes.
      stored: grey levels or vectors.
      index: of each example in its data set.
      scaling: the network's; its `dequantize` is taken to be True.
      solver: how to solve the ODE.
      divergence: how to find the divergence.
      draws: how many times noise and probes are drawn and the ODE is solved.
      first_draw: number of the first draw, so that more of them can be added later.
      context: of each example.
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
