"""Layers that the networks share. Images are [B, H, W, C]."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def default_init(scale: float = 1.0) -> jax.nn.initializers.Initializer:
    """The initializer of DDPM (Ho et al. 2020): uniform, variance scale / fan_avg; a scale of 0 stands for 1e-10."""
    return jax.nn.initializers.variance_scaling(scale or 1e-10, "fan_avg", "uniform")


def conv3x3(features: int, name: str, dtype: DTypeLike = jnp.float32, init_scale: float = 1.0) -> nn.Conv:
    """A 3x3 convolution that keeps the image size."""
    return nn.Conv(features, (3, 3), padding=1, kernel_init=default_init(init_scale), dtype=dtype, name=name)


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


def upsample(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C"]:
    """Twice the size, by repetition."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def downsample(x: Float[Array, "B H W C"]) -> Float[Array, "B H/2 W/2 C"]:
    """Half the size, by means of 2x2 pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


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


class ResBlockBigGAN(nn.Module):
    """The residual block of BigGAN (Brock et al. 2019), which can halve or double the image."""

    features: int
    resample: str = "none"  # 'none', 'up' or 'down'
    dropout: float = 0.0
    skip_rescale: bool = True
    init_scale: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], embedding: Float[Array, "B E"] | None, train: bool
    ) -> Float[Array, "B H2 W2 F"]:
        resample = {"none": lambda y: y, "up": upsample, "down": downsample}[self.resample]
        y = nn.silu(GroupNorm(self.dtype, name="norm_0")(x))
        y, x = resample(y), resample(x)
        y = conv3x3(self.features, "conv_0", self.dtype)(y)
        if embedding is not None:
            y += dense(self.features, "embed", self.dtype)(nn.silu(embedding))[:, None, None]
        y = nn.silu(GroupNorm(self.dtype, name="norm_1")(y))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = conv3x3(self.features, "conv_1", self.dtype, self.init_scale)(y)
        if x.shape[-1] != self.features or self.resample != "none":
            x = conv1x1(self.features, "skip", self.dtype)(x)
        return add_skip(x, y, self.skip_rescale)
