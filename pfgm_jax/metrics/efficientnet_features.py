"""Features of images by EfficientNet-Lite0, whose weights a package holds: distances without a download.

They are not comparable with those of Inception's features.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, UInt8

from pfgm_jax.metrics.efficientnet import SIDE, EfficientNet, installed_weights, load_weights
from pfgm_jax.metrics.features import ExtractorOptions
from pfgm_jax.metrics.network_features import NetworkExtractor, Output, options_of_network

SMALLEST_SIDE = 64


@dataclasses.dataclass(frozen=True)
class EfficientNetExtractor(NetworkExtractor):
    """An `Extractor` of the network's features, whose `params` are those of `EfficientNet`.

    Images become squares by bilinear interpolation, which averages where it shrinks them, and v becomes
    (v - 127) / 128, as the network was trained. The side of the squares is four times their longer side, which saves
    time on small images, but at least 64 and at most 224, the size that the network was trained with.
    """

    name = "efficientnet"

    def output(self, images: UInt8[Array, "B H W C"]) -> Output:
        return Output(_network(self.params, _preprocess(images)), None)


def side_of(height: int, width: int) -> int:
    """Returns the side of the squares that images of a size become."""
    return min(max(4 * max(height, width), SMALLEST_SIDE), SIDE)


def create(options: ExtractorOptions) -> EfficientNetExtractor:
    """Creates the extractor; see `features.create_extractor`."""
    params, digest = load_weights(options.weights or installed_weights())
    params, made_with = options_of_network(params, options)
    return EfficientNetExtractor(params, digest, **made_with)


@jax.jit
def _preprocess(images: UInt8[Array, "B H W C"]) -> Float[Array, "B S S 3"]:
    count, height, width, channels = images.shape
    side = side_of(height, width)
    x = jax.image.resize(images.astype(jnp.float32), (count, side, side, channels), "linear")
    return jnp.broadcast_to((x - 127) / 128, (count, side, side, 3))


# Compiled separately, so that images of several sizes share it.
@jax.jit
def _network(params: PyTree, x: Float[Array, "B S S 3"]) -> Float[Array, "B 1280"]:
    output = EfficientNet().apply({"params": params}, x)
    assert isinstance(output, jax.Array)
    return output
