"""What generates: the method, network and sampler of a config, compiled, for any parameters of the network."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Float, Int, Num, PyTree

from pfgm_jax import build, datasets, latents, likelihood, models, sampling
from pfgm_jax.arguments import to_array
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import InputError
from pfgm_jax.keys import Keys, key_of_samples, sample_keys
from pfgm_jax.likelihood import BitsPerDim
from pfgm_jax.methods.base import Method, Network
from pfgm_jax.samplers.base import OdeSolver, Sampler, Solution
from pfgm_jax.sharding import Devices


class Generator:
    """Draws samples, encodes, decodes and measures likelihoods, in batches, on all devices.

    Samples are drawn and latents solved `sampling.batch_size` rows at a time, likelihoods `eval.batch_size`.

    Attributes:
      config: whose fields are filled in.
      method, scaling, sampler: what the config says.
      solver: of latents; the sampler where it solves ODEs.
    """

    def __init__(self, config: ml_collections.ConfigDict, method: Method | None = None):
        """Creates what a config says.

        Args:
          config: whose fields are filled in.
          method: in place of the config's.
        """
        self.config = config
        self.method, self.scaling = method or build.create_guided_method(config), build.create_scaling(config)
        self.sampler, self.solver = build.create_sampler(config), build.create_ode_solver(config)
        self._model, self._devices = models.create_model(config), Devices.all()
        # What is compiled for a method of its own goes with the generator.
        self._own: dict[Any, Callable] | None = None if method is None else {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        return build.image_shape(self.config)

    def network(self, params: PyTree) -> Network:
        """Returns the network with parameters, as methods take it."""
        return _network(self._model, params)

    def batch_size(self, n: int) -> int:
        """Returns how many of n rows are worked on at a time."""
        return self._devices.round_up(min(self.config.sampling.batch_size, n))

    def draw(
        self, params: PyTree, n: int, seed: int, first: int = 0, context: Context = NO_CONTEXT
    ) -> Iterator[Solution]:
        """Draws samples number `first` to `first + n` in network units, in batches; not checked.

        Args:
          params: of the network.
          n: how many.
          seed: with the number of the sample, decides it.
          first: number of the first.
          context: of each of the n samples.

        Raises:
          InputError: the context is of another number of samples.
        """
        context = _rows(context, n)
        size = self.batch_size(n)
        samples = Keys.from_seed(seed, self._devices.whole).samples
        key = key_of_samples(samples, context.image is not None, context.known is not None)
        sample = self._compiled(create_sampling, self.method, self._model, self.sampler, self._devices, size)
        for start in range(0, n, size):
            rows = _batch(context, start, size)
            yield _first_rows(sample(params, key, np.int32(first + start), rows), min(size, n - start))

    def encode(
        self, params: PyTree, x: Float[np.ndarray, "n H W C"], context: Context = NO_CONTEXT
    ) -> Float[np.ndarray, "n H W C"]:
        """Follows the ODE from images in network units to latents.

        Raises:
          InputError: the context is of another number of images.
          SolveError: the ODE could not be solved.
        """
        return self._solve(latents.encode, params, x, context)

    def decode(
        self, params: PyTree, z: Float[np.ndarray, "n H W C"], context: Context = NO_CONTEXT
    ) -> Float[np.ndarray, "n H W C"]:
        """Follows the ODE from latents to images in network units.

        Raises:
          InputError: the context is of another number of latents.
          SolveError: the ODE could not be solved.
        """
        return self._solve(latents.decode, params, z, context)

    def bits(
        self,
        params: PyTree,
        stored: Num[np.ndarray, "n H W C"],
        index: Int[np.ndarray, " n"],
        seed: int,
        draws: int,
        context: Context = NO_CONTEXT,
    ) -> Iterator[tuple[int, BitsPerDim]]:
        """Computes bits per dimension in batches, each with the number of its first image; not checked.

        Args:
          params: of the network.
          stored: grey levels or vectors.
          index: with the seed, decides the noise of each.
          seed: of noise and probes.
          draws: of noise and probes, for each image.
          context: of each image.

        Raises:
          InputError: the context is of another number of images.
        """
        context = _rows(context, len(stored))
        size = self._devices.round_up(min(self.config.eval.batch_size, len(stored)))
        key = Keys.from_seed(seed, self._devices.whole).likelihood
        method, solver = self.method.for_densities(), build.create_likelihood_solver(self.config)
        divergence = build.create_divergence(self.config)
        parts = method, self._model, self.scaling, solver, divergence, self._devices, draws
        bits = self._compiled(create_likelihood, *parts)
        for first in range(0, len(stored), size):
            part, rows, of_rows = _batch((stored, index, context), first, size)
            found = bits(params, key, part, rows, of_rows)
            yield first, _first_rows(found, min(size, len(stored) - first))

    def _solve(
        self, solve: Callable, params: PyTree, x: Float[np.ndarray, "n H W C"], context: Context
    ) -> Float[np.ndarray, "n H W C"]:
        context = _rows(context, len(x))
        size = self.batch_size(len(x))
        compiled = self._compiled(_solving, solve, self.method, self._model, self.solver, self._devices)
        ends = []
        for first in range(0, len(x), size):
            found = compiled(params, *_batch((x, context), first, size))
            ends.append(_first_rows(found, min(size, len(x) - first)).check(first).x)
        return np.concatenate(ends)

    def _compiled(self, create: Any, *parts: Any) -> Callable:
        if self._own is None:
            return create(*parts)
        if (create, parts) not in self._own:
            self._own[create, parts] = create.__wrapped__(*parts)
        return self._own[create, parts]


# What is compiled is shared by all generators of equal parts, as of the checkpoints of a run.
_shared = functools.lru_cache(maxsize=64)


def _network(model: nn.Module, params: PyTree) -> Network:
    return lambda x, level, context=NO_CONTEXT: jnp.asarray(model.apply({"params": params}, x, level, context))


@_shared
def create_sampling(method: Method, model: nn.Module, sampler: Sampler, devices: Devices, n: int) -> Callable:
    """Creates `sampling.sample` of n samples, shared out: (params, key, number of the first, context) -> Solution."""

    def sample(params, key, first, context):
        keys, context = devices.split((sample_keys(key, n, first), context))
        return sampling.sample(method, _network(model, params), sampler, keys, context)

    return jax.jit(sample, out_shardings=devices.whole)


@_shared
def _solving(solve: Callable, method: Method, model: nn.Module, solver: OdeSolver, devices: Devices) -> Callable:
    def solve_rows(params, x, context):
        x, context = devices.split((x, context))
        return solve(method, _network(model, params), x, solver, context)

    return jax.jit(solve_rows, out_shardings=devices.whole)


@_shared
def create_likelihood(
    method: Method,
    model: nn.Module,
    scaling: datasets.Scaling,
    solver: OdeSolver,
    divergence: likelihood.Divergence,
    devices: Devices,
    draws: int,
) -> Callable:
    """Creates `likelihood.bits_per_dim`, shared out: (params, key, stored, index, context) -> BitsPerDim."""

    def bits(params, key, stored, index, context):
        net = _network(model, params)
        stored, context = devices.split((stored, context))
        options = {"draws": draws, "context": context}
        return likelihood.bits_per_dim(method, net, key, stored, index, scaling, solver, divergence, **options)

    return jax.jit(bits, out_shardings=devices.whole)


def _rows(context: Context, n: int) -> Context:
    """Returns the context as arrays of n rows."""
    given = {name: rows for name, rows in context._asdict().items() if rows is not None}
    arrays = {name: to_array(f"the context's {name}s", rows) for name, rows in given.items()}
    for name, rows in arrays.items():
        if rows.ndim == 0 or len(rows) != n:
            found = f"{len(rows)} rows" if rows.ndim else f"the single value {rows}"
            raise InputError(f"the context's {name} has {found} for {n} images; give one row for each image")
    return Context(**arrays)


def _batch(rows: PyTree, first: int, size: int) -> Any:
    """Returns rows `first` to `first + size`; what is missing at the end repeats the last."""

    def part(array):
        some = array[first : first + size]
        return np.pad(some, [(0, size - len(some)), *[(0, 0)] * (some.ndim - 1)], mode="edge")

    return jax.tree.map(part, rows)


def _first_rows(tree: Any, n: int) -> Any:
    """Fetches the first n rows of every array."""
    return jax.tree.map(lambda a: np.asarray(a)[:n], tree)
