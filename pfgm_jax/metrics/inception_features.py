"""Features of images by the Inception network, as published results have them."""

import dataclasses
import functools
from typing import Any

import jax
from jaxtyping import Array, Float, PyTree, UInt8

from pfgm_jax.errors import InputError
from pfgm_jax.metrics import inception
from pfgm_jax.metrics.features import ExtractorOptions
from pfgm_jax.metrics.front_ends import preprocess
from pfgm_jax.metrics.network_features import NetworkExtractor, Output, options_of_network
from pfgm_jax.metrics.weights import load_weights, obtain_weights
from pfgm_jax.registry import FRONT_ENDS


@dataclasses.dataclass(frozen=True)
class InceptionExtractor(NetworkExtractor):
    """An `Extractor` of the Inception network's features and logits; `params` are those of `Inception`.

    Attributes:
      front_end: how images are resized; see `front_ends`.
    """

    name = "inception"

    front_end: str = "tensorflow"

    @property
    def settings(self) -> dict[str, Any]:
        return {"front_end": self.front_end}

    def output(self, images: UInt8[Array, "B H W C"]) -> Output:
        found = _network(self.params, _preprocess(images, self.front_end))
        return Output(found.features, found.unbiased_logits)


def create(options: ExtractorOptions) -> InceptionExtractor:
    """Creates the extractor; see `features.create_extractor`."""
    if options.front_end not in FRONT_ENDS:
        raise InputError(f"the front end is {options.front_end!r}; choose one of {', '.join(FRONT_ENDS)}")
    params, digest = load_weights(options.weights or obtain_weights(options.directory))
    params, made_with = options_of_network(params, options)
    return InceptionExtractor(params, digest, **made_with, front_end=options.front_end)


@functools.partial(jax.jit, static_argnames="front_end")
def _preprocess(images: UInt8[Array, "B H W C"], front_end: str) -> Float[Array, "B 299 299 3"]:
    return preprocess(images, front_end)


# Compiled separately from the front end, so that all image sizes share it.
@jax.jit
def _network(params: PyTree, x: Float[Array, "B 299 299 3"]) -> inception.InceptionOutput:
    output = inception.Inception().apply({"params": params}, x)
    assert isinstance(output, inception.InceptionOutput)
    return output
