"""What generates, with the parameters of a run."""

import functools
from collections.abc import Iterator
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Int, Num, PyTree

from pfgm_jax import arguments, given, records
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.datasets import Split
from pfgm_jax.generator import Generator
from pfgm_jax.likelihood import BitsPerDim
from pfgm_jax.methods.base import Network
from pfgm_jax.samplers.base import Solution


class BoundModel:
    """The method, network and sampler of a config, with the parameters of a run: what evaluation is built on.

    Attributes:
      config: of the run.
      params: averaged parameters.
      step: of the checkpoint.
      examples: whose conditions samples have where none are given; None for none. See `given.of_samples`.
      generator: uses the parameters.
      method, scaling, sampler, solver: the generator's.
    """

    def __init__(self, config: ml_collections.ConfigDict, params: PyTree, step: int, examples: Split | None = None):
        self.config, self.params, self.step, self.examples = config, params, step, examples
        self.generator = Generator(config)
        self.method, self.scaling = self.generator.method, self.generator.scaling
        self.sampler, self.solver = self.generator.sampler, self.generator.solver

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """What decides the numbers that the model computes: its parameters and the options of using them."""
        return records.of_model(self.config, self.params, self.step, self.generator, self.examples)

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        return self.generator.shape

    @property
    def net(self) -> Network:
        """The network with its parameters, as methods take it."""
        return self.generator.network(self.params)

    def draw(self, n: int, seed: int, first: int = 0, context: Context | None = None) -> Iterator[Solution]:
        """Draws samples in network units, in batches; not checked; see `Generator.draw`.

        With None as context, what is given of each follows from the config and the `examples`.
        """
        if context is None:
            context = given.of_samples(self.config, seed, first, n, self.examples)
        return self.generator.draw(self.params, n, seed, first, context)

    def bits(
        self,
        stored: Num[np.ndarray, "n H W C"],
        index: Int[np.ndarray, " n"],
        seed: int,
        draws: int,
        context: Context = NO_CONTEXT,
    ) -> Iterator[tuple[int, BitsPerDim]]:
        """Computes bits per dimension in batches; not checked; see `Generator.bits`."""
        return self.generator.bits(self.params, stored, index, seed, draws, context)

    def check(self, images: Any) -> Num[np.ndarray, "n H W C"]:
        """Returns the images as an array.

        Raises:
          InputError: they are not images of the model.
        """
        return arguments.to_images(images, self.shape, self.scaling)
