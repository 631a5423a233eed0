"""Layers that the networks share. Images are [B, H, W, C]."""

import math
from collections.abc import Callable
from functools import partial

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


def default_init(scale: float = 1.0) -> jax.nn.initializers.Initializer:
    """The initializer of DDPM (Ho et al. 2020): uniform, variance scale / fan_avg; a scale of 0 stands for 1e-10."""
    return jax.nn.initializers.variance_scaling(scale or 1e-10, "fan_avg", "uniform")


def conv3x3(
    features: int,
    name: str,
    dtype: DTypeLike = jnp.float32,
    init_scale: float = 1.0,
    precision: jax.lax.Precision | None = None,
) -> nn.Conv:
    """A 3x3 convolution that keeps the image size."""
    init = default_init(init_scale)
    return nn.Conv(features, (3, 3), padding=1, kernel_init=init, dtype=dtype, precision=precision, name=name)


def conv1x1(features: int, name: str, dtype: DTypeLike = jnp.float32, init_scale: float = 1.0) -> nn.Conv:
    """A 1x1 convolution."""
    return nn.Conv(features, (1, 1), kernel_init=default_init(init_scale), dtype=dtype, name=name)


def dense(features: int, name: str, dtype: DTypeLike = jnp.float32, init_scale: float = 1.0) -> nn.Dense:
    """A fully connected layer over the last axis."""
    return nn.Dense(features, kernel_init=default_init(init_scale), dtype=dtype, name=name)


class GroupNorm(nn.Module):
    """Group normalization (Wu & He 2018) in groups of at least four channels, at most 32 groups.

    The mean of a group is that over pixels, averaged over channels by a small matrix product, so that no array is
    transposed, which on a CPU is faster than flax's module. The parameters are the same.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        channels = x.shape[-1]
        groups = next(g for g in range(max(1, min(channels // 4, 32)), 0, -1) if channels % g == 0)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        size = channels // groups
        same_group = np.kron(np.eye(groups), np.full((size, size), 1 / size)).astype(np.float32)

        def group_mean(y):
            return jnp.matmul(y.mean((1, 2)), same_group, precision=jax.lax.Precision.HIGHEST)[:, None, None]

        x = x.astype(jnp.float32)
        centred = x - group_mean(x)
        factor = scale * jax.lax.rsqrt(group_mean(centred**2) + 1e-6)
        return (centred * factor + bias).astype(self.dtype)


def positional_embedding(t: Float[Array, " B"], features: int, longest: float = 10000.0) -> Float[Array, "B F"]:
    """Sines and cosines of t at geometric frequencies from 1 to 1/longest (Vaswani et al. 2017), any real t."""
    half = features // 2
    frequencies = jnp.exp(-math.log(longest) / (half - 1) * jnp.arange(half, dtype=jnp.float32))
    angles = t[:, None] * frequencies
    embedding = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
    return jnp.pad(embedding, ((0, 0), (0, features % 2)))


class AttentionBlock(nn.Module):
    """Self-attention of one head over all pixels, added to its input."""

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
    """x + y, divided by √2 where `rescale`, which keeps the variance of independent terms."""
    return (x + y) / math.sqrt(2) if rescale else x + y


def over_noise_level(
    h: Float[Array, "B H W C"], sigmas: tuple[float, ...], level: Float[Array, " B"], labels: bool
) -> Float[Array, "B H W C"]:
    """h divided by the noise level of its image, as score models of the variance exploding kind ask for.

    Args:
      h: the answer of a network.
      sigmas: all noise levels; () leaves h as it is.
      level: of each image.
      labels: whether `level` counts the noise levels; otherwise it is the noise level.

    Returns:
      The quotient.
    """
    if not sigmas:
        return h
    sigma = jnp.asarray(sigmas)[level.astype(jnp.int32)] if labels else level
    return h / sigma[:, None, None, None]


class Resampler(nn.Module):
    """Halves or doubles an image.

    Attributes:
      direction: 'up' or 'down'.
      features: channels of a 3x3 convolution that goes with it; None for no convolution.
      fir: filter with `fir_kernel`; otherwise repeat or take means, or, before a convolution, every other pixel.
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
            # Pixels spread by two and then convolved; the bias comes after the filter.
            spread = conv(padding=2, input_dilation=2, use_bias=False)(x)
            bias = self.param("fir_bias", nn.initializers.zeros, (self.features,))
            return resample.fir_blur_after_transposed_convolution(spread, self.fir_kernel) + bias.astype(self.dtype)
        if filtered:
            x, padding = resample.fir_blur_before_strided_convolution(x, self.fir_kernel), 0
        else:
            padding = ((0, 1), (0, 1))
        return conv(strides=2, padding=padding)(x)


class ResBlockBigGAN(nn.Module):
    """The residual block of BigGAN (Brock et al. 2019), which can halve or double the image.

    Attributes:
      features: channels of the output.
      direction: 'none', 'up' or 'down'.
      fir, fir_kernel: see `Resampler`.
      activation: nonlinearity.
      dropout: rate before the last convolution.
      skip_rescale: divide the sum by √2.
      init_scale: of the last kernel.
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
    """The residual block of DDPM (Ho et al. 2020); attributes as those of `ResBlockBigGAN`."""

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
    """What both residual blocks do between their first activation and the sum."""
    y = conv3x3(block.features, "conv_0", block.dtype)(y)
    if embedding is not None:
        y += dense(block.features, "embed", block.dtype)(block.activation(embedding))[:, None, None]
    y = block.activation(GroupNorm(block.dtype, name="norm_1")(y))
    y = nn.Dropout(block.dropout, deterministic=not train)(y)
    return conv3x3(block.features, "conv_1", block.dtype, block.init_scale)(y)


class Combine(nn.Module):
    """Joins a pyramid of the input to the features of a level.

    Attributes:
      method: 'sum', or 'cat' for concatenation.
    """

    method: str = "sum"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Float[Array, "B H W P"], h: Float[Array, "B H W C"]) -> Float[Array, "B H W C2"]:
        projected = conv1x1(h.shape[-1], "conv", self.dtype)(pyramid)
        return projected + h if self.method == "sum" else jnp.concatenate([projected, h], axis=-1)


class FourierEmbedding(nn.Module):
    """Sines and cosines at random frequencies (Tancik et al. 2020), which are drawn once and not trained.

    Attributes:
      features: number of frequencies.
      scale: their standard deviation.
    """

    features: int
    scale: float = 16.0

    @nn.compact
    def __call__(self, t: Float[Array, " B"]) -> Float[Array, "B 2*{self.features}"]:
        frequencies = self.param("frequencies", nn.initializers.normal(self.scale), (self.features,))
        angles = t[:, None] * jax.lax.stop_gradient(frequencies) * (2 * math.pi)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
