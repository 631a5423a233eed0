"""Layers shared by the networks. Images are [B, H, W, C]."""

import math
from collections.abc import Callable
from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pfgm_jax.models import resample

Activation = Callable[[Array], Array]
ACTIVATIONS: dict[str, Activation] = {
    "swish": nn.silu,
    "elu": nn.elu,
    "relu": nn.relu,
    "lrelu": partial(nn.leaky_relu, negative_slope=0.2),
}


# Compiled, and the same for the same scale, so that JAX traces it once for all kernels of a shape.
@cache
def default_init(scale: float = 1.0) -> jax.nn.initializers.Initializer:
    """Returns DDPM's initializer (Ho et al. 2020): uniform, variance scale / fan_avg; a scale of 0 means 1e-10."""
    return jax.jit(jax.nn.initializers.variance_scaling(scale or 1e-10, "fan_avg", "uniform"), static_argnums=(1, 2))


def conv3x3(
    features: int,
    name: str,
    dtype: DTypeLike = jnp.float32,
    init_scale: float = 1.0,
    precision: jax.lax.Precision | None = None,
) -> nn.Conv:
    """Creates a 3x3 convolution that keeps the image size."""
    init = default_init(init_scale)
    return nn.Conv(features, (3, 3), padding=1, kernel_init=init, dtype=dtype, precision=precision, name=name)


def conv1x1(features: int, name: str, dtype: DTypeLike = jnp.float32, init_scale: float = 1.0) -> nn.Conv:
    """Creates a 1x1 convolution."""
    return nn.Conv(features, (1, 1), kernel_init=default_init(init_scale), dtype=dtype, name=name)


def dense(features: int, name: str, dtype: DTypeLike = jnp.float32, init_scale: float = 1.0) -> nn.Dense:
    """Creates a fully connected layer over the last axis."""
    return nn.Dense(features, kernel_init=default_init(init_scale), dtype=dtype, name=name)


class GroupNorm(nn.Module):
    """Group normalization (Wu & He 2018) with groups of at least four channels, and at most 32 groups.

    It averages over pixels, then the averages over the channels of a group. This transposes no image, and on a CPU it
    is faster than flax's module. The parameters are the same.

    In float32 the variance is that of centred pixels, which are read once more. In bfloat16 it is the mean of squares
    less the square of the mean, which one pass gives: its float32 rounding is smaller than that of the input.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], added: Float[Array, "B C"] | None = None) -> Float[Array, "B H W C"]:
        """Normalizes x, or x + `added`, which is then never an image itself."""
        channels = x.shape[-1]
        groups = next(g for g in range(max(1, min(channels // 4, 32)), 0, -1) if channels % g == 0)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        return _group_norm(x, added, scale, bias, groups).astype(self.dtype)


def group_mean_by_product(groups: int, y: Float[Array, "B C"]) -> Float[Array, "B C"]:
    """Replaces each channel by the mean of its group, by a product with a matrix."""
    size = y.shape[-1] // groups
    same_group = np.kron(np.eye(groups), np.full((size, size), 1 / size)).astype(np.float32)
    return jnp.matmul(y, same_group, precision=jax.lax.Precision.HIGHEST)


def group_mean_by_reshaping(groups: int, y: Float[Array, "B C"]) -> Float[Array, "B C"]:
    """Replaces each channel by the mean of its group, by a sum over one more axis."""
    parts = y.reshape(len(y), groups, -1)
    return jnp.broadcast_to(parts.mean(-1, keepdims=True), parts.shape).reshape(y.shape)


# Compiled by itself, so that JAX traces and differentiates it once for all layers of a shape; XLA merges it with the
# rest of the network.
@partial(jax.jit, static_argnames="groups")
def _group_norm(
    x: Float[Array, "B H W C"],
    added: Float[Array, "B C"] | None,
    scale: Float[Array, " C"],
    bias: Float[Array, " C"],
    groups: int,
) -> Float[Array, "B H W C"]:
    channels = x.shape[-1]
    # A GPU would start a kernel for each product, and a TPU has no layout for groups of a few channels.
    ways = {"cuda": group_mean_by_reshaping, "default": group_mean_by_product}
    group_mean = partial(jax.lax.platform_dependent, **{name: partial(way, groups) for name, way in ways.items()})
    coarse = x.dtype == jnp.bfloat16
    x = x.astype(jnp.float32)
    shift = jnp.zeros((len(x), channels)) if added is None else added.astype(jnp.float32)
    mean = x.mean((1, 2))
    if coarse:
        variance = jnp.maximum((x**2).mean((1, 2)) - mean**2, 0)
    else:
        variance = ((x - mean[:, None, None]) ** 2).mean((1, 2))
    centre = group_mean(mean + shift)
    variance = group_mean(variance + (mean + shift - centre) ** 2)
    factor = scale[None] * jax.lax.rsqrt(variance + 1e-6)
    return (x - (centre - shift)[:, None, None]) * factor[:, None, None] + bias[None, None, None]


class AttentionBlock(nn.Module):
    """Single-head self-attention over all pixels, added to its input."""

    skip_rescale: bool = True
    init_scale: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        b, h, w, c = x.shape
        y = GroupNorm(self.dtype, name="norm")(x).reshape(b, h * w, 1, c)
        q, k, v = (dense(c, name, self.dtype, init_scale=0.1)(y) for name in ("query", "key", "value"))
        y = jax.nn.dot_product_attention(q, k, v).reshape(b, h, w, c)
        y = dense(c, "out", self.dtype, init_scale=self.init_scale)(y)
        return add_skip(x, y, self.skip_rescale)


def add_skip(x: Array, y: Array, rescale: bool) -> Array:
    """Returns x + y; `rescale` divides by √2, which preserves the variance of independent terms."""
    return (x + y) / math.sqrt(2) if rescale else x + y


def _level_of_label(sigmas: Float[Array, " L"], label: Float[Array, " B"]) -> Float[Array, " B"]:
    below = jnp.clip(jnp.floor(label), 0, len(sigmas) - 1).astype(jnp.int32)
    above = jnp.minimum(below + 1, len(sigmas) - 1)
    return sigmas[below] * (sigmas[above] / sigmas[below]) ** (label - below.astype(label.dtype))


def over_noise_level(
    h: Float[Array, "B H W C"], sigmas: tuple[float, ...], level: Float[Array, " B"], labels: bool
) -> Float[Array, "B H W C"]:
    """Divides h by the noise level of each image, as in variance-exploding score models.

    Args:
      h: output of a network.
      sigmas: all noise levels; () leaves h unchanged.
      level: noise level, or its index, of each image.
      labels: whether `level` is an index into `sigmas` rather than the noise level itself; between two indices the
        noise level is between theirs, evenly in its logarithm.

    Returns:
      The quotient.
    """
    if not sigmas:
        return h
    sigma = _level_of_label(jnp.asarray(sigmas), level) if labels else level
    return h / sigma[:, None, None, None]


class Resampler(nn.Module):
    """A layer that halves or doubles the image size.

    Attributes:
      direction: 'up' or 'down'.
      features: output channels of a 3x3 convolution that is included; None for no convolution.
      fir: whether to filter with `fir_kernel`. Otherwise pixels are repeated, averaged, or, if there is a convolution,
        skipped by its stride of 2.
      fir_kernel: taps of the separable filter.
    """

    direction: str
    features: int | None = None
    fir: bool = False
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        up, filtered = self.direction == "up", self.fir
        if self.features is None:
            if filtered:
                return (resample.fir_upsample if up else resample.fir_downsample)(x, self.fir_kernel)
            return (resample.upsample if up else resample.downsample)(x)
        name = "fir_conv" if filtered else "conv"
        conv = partial(nn.Conv, self.features, (3, 3), kernel_init=default_init(), dtype=self.dtype, name=name)
        if up and not filtered:
            return conv(padding=1)(resample.upsample(x))
        if up:
            # A transposed convolution, whose bias is added after the filter.
            spread = conv(padding=2, input_dilation=2, use_bias=False)(x)
            bias = self.param("fir_bias", nn.initializers.zeros, (self.features,))
            y = resample.fir_blur_after_transposed_convolution(spread, self.fir_kernel)
            return y + bias.astype(self.dtype)[None, None, None]
        if filtered:
            x, padding = resample.fir_blur_before_strided_convolution(x, self.fir_kernel), 0
        else:
            padding = ((0, 1), (0, 1))
        return conv(strides=2, padding=padding)(x)


class ResBlockBigGAN(nn.Module):
    """The residual block of BigGAN (Brock et al. 2019), which can halve or double the image size.

    Attributes:
      features: number of output channels.
      direction: 'none', 'up' or 'down'.
      fir, fir_kernel: see `Resampler`.
      activation: nonlinearity.
      dropout: dropout rate before the last convolution.
      skip_rescale: whether to divide the sum by √2.
      init_scale: scale of the last kernel's initial values.
    """

    features: int
    direction: str = "none"
    fir: bool = False
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    activation: Activation = nn.silu
    dropout: float = 0.0
    skip_rescale: bool = True
    init_scale: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], embedding: Float[Array, "B E"] | None, train: bool
    ) -> Float[Array, "B H2 W2 F"]:
        y = self.activation(GroupNorm(self.dtype, name="norm_0")(x))
        if self.direction != "none":
            resampler = Resampler(self.direction, None, self.fir, self.fir_kernel, self.dtype)
            x, y = resampler(x), resampler(y)
        y = _residual_branch(self, y, embedding, train)
        if x.shape[-1] != self.features or self.direction != "none":
            x = conv1x1(self.features, "skip", self.dtype)(x)
        return add_skip(x, y, self.skip_rescale)


class ResBlockDDPM(nn.Module):
    """The residual block of DDPM (Ho et al. 2020), with the attributes of `ResBlockBigGAN`."""

    features: int
    activation: Activation = nn.silu
    dropout: float = 0.0
    skip_rescale: bool = True
    init_scale: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], embedding: Float[Array, "B E"] | None, train: bool
    ) -> Float[Array, "B H W F"]:
        y = self.activation(GroupNorm(self.dtype, name="norm_0")(x))
        y = _residual_branch(self, y, embedding, train)
        if x.shape[-1] != self.features:
            x = dense(self.features, "skip_dense", self.dtype, init_scale=0.1)(x)
        return add_skip(x, y, self.skip_rescale)


def _residual_branch(block, y: Array, embedding: Array | None, train: bool) -> Array:
    """Applies the layers that both residual blocks have between their first activation and the sum."""
    y = conv3x3(block.features, "conv_0", block.dtype)(y)
    added = None
    if embedding is not None:
        added = dense(block.features, "embed", block.dtype)(block.activation(embedding))
    y = block.activation(GroupNorm(block.dtype, name="norm_1")(y, added))
    y = nn.Dropout(block.dropout, deterministic=not train)(y)
    return conv3x3(block.features, "conv_1", block.dtype, block.init_scale)(y)


class Combine(nn.Module):
    """A layer that joins a pyramid of the input to the features of a level.

    Attributes:
      method: 'sum', or 'cat' for concatenation.
    """

    method: str = "sum"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Float[Array, "B H W P"], h: Float[Array, "B H W C"]) -> Float[Array, "B H W C2"]:
        projected = conv1x1(h.shape[-1], "conv", self.dtype)(pyramid)
        return projected + h if self.method == "sum" else jnp.concatenate([projected, h], axis=-1)
