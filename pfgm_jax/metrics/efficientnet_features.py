"""Features of images by EfficientNet-Lite0, whose weights a package holds: distances without a download.

They do not compare with those of Inception's features.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, UInt8

from pfgm_jax.metrics.efficientnet import SIDE, EfficientNet, installed_weights, load_weights
from pfgm_jax.metrics.features import ExtractorOptions
from pfgm_jax.metrics.network_features import NetworkExtractor, Output, options_of_network


@dataclasses.dataclass(frozen=True)
class EfficientNetExtractor(NetworkExtractor):
    """An `Extractor` of the network's features, whose `params` are those of `EfficientNet`.

    Images become 224 x 224 by bilinear interpolation, which averages where it shrinks them, and v becomes
    (v - 127) / 128, as the network was trained.
    """

    name = "efficientnet"

    def output(self, images: UInt8[Array, "B H W C"]) -> Output:
        return Output(_network(self.params, _preprocess(images)), None)


def create(options: ExtractorOptions) -> EfficientNetExtractor:
    """Creates the extractor; see `features.create_extractor`."""
    params, digest = load_weights(options.weights or installed_weights())
    params, made_with = options_of_network(params, options)
    return EfficientNetExtractor(params, digest, **made_with)


@jax.jit
def _preprocess(images: UInt8[Array, "B H W C"]) -> Float[Array, "B 224 224 3"]:
    count, _, _, channels = images.shape
    x = jax.image.resize(images.astype(jnp.float32), (count, SIDE, SIDE, channels), "linear")
    return jnp.broadcast_to((x - 127) / 128, (count, SIDE, SIDE, 3))


# Compiled separately, so that all image sizes share it.
@jax.jit
def _network(params: PyTree, x: Float[Array, "B 224 224 3"]) -> Float[Array, "B 1280"]:
    output = EfficientNet().apply({"params": params}, x)
    assert isinstance(output, jax.Array)
    return output
