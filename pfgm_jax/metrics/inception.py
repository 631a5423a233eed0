"""The network of the Fréchet Inception distance: Inception-v3 as TensorFlow published it on 2015-12-05.

The architecture is that of Szegedy et al. 2016 ("Rethinking the Inception Architecture for Computer Vision") with three
peculiarities of the published graph: average pooling leaves out padding, the last block uses max pooling instead, and
there are 1008 classes. Modules and layers are named as in PyTorch's versions. The batch normalization after every
convolution is folded into its kernel and bias (see `weights`).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SIDE = 299
FEATURES, CLASSES = 2048, 1008
_HIGHEST = jax.lax.Precision.HIGHEST


class InceptionOutput(NamedTuple):
    """The network's output for a batch of images.

    Attributes:
      features: output of the last pooling layer, used by FID, KID, precision and recall.
      logits: logits of the classes.
      unbiased_logits: logits without the bias of the last layer, used by the Inception score.
    """

    features: Float[Array, "B 2048"]
    logits: Float[Array, "B 1008"]
    unbiased_logits: Float[Array, "B 1008"]


class _Conv(nn.Module):
    """A convolution followed by a ReLU."""

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    strides: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        kernel = self.param(
            "kernel", nn.initializers.he_normal(), (*self.kernel_size, x.shape[-1], self.features), jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        # On CPU, XLA takes two to three times as long with VALID padding.
        inner = self.padding == "VALID" and self.strides == 1
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.strides, self.strides),
            "SAME" if inner else self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=_HIGHEST,
        )
        if inner:
            rows, columns = (slice(n // 2, -(n // 2)) for n in self.kernel_size)
            y = y[:, rows, columns]
        return jax.nn.relu(y + bias[None, None, None])


def _halve(x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 C"]:
    return nn.max_pool(x, (3, 3), (2, 2))


def _local_mean(x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """Averages over 3 x 3 windows, leaving out padding."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _local_maximum(x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    return nn.max_pool(x, (3, 3), (1, 1), "SAME")


class _MixedA(nn.Module):
    """A block at 35 x 35 pixels (the paper's figure 5)."""

    pool_features: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W F"]:
        a = _Conv(64, name="branch1x1")(x)
        b = _Conv(48, name="branch5x5_1")(x)
        b = _Conv(64, (5, 5), name="branch5x5_2")(b)
        c = _Conv(64, name="branch3x3dbl_1")(x)
        c = _Conv(96, (3, 3), name="branch3x3dbl_2")(c)
        c = _Conv(96, (3, 3), name="branch3x3dbl_3")(c)
        d = _Conv(self.pool_features, name="branch_pool")(_local_mean(x))
        return jnp.concatenate([a, b, c, d], axis=-1)


class _MixedB(nn.Module):
    """A block from 35 x 35 to 17 x 17 pixels."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        a = _Conv(384, (3, 3), 2, "VALID", name="branch3x3")(x)
        b = _Conv(64, name="branch3x3dbl_1")(x)
        b = _Conv(96, (3, 3), name="branch3x3dbl_2")(b)
        b = _Conv(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(b)
        return jnp.concatenate([a, b, _halve(x)], axis=-1)


class _MixedC(nn.Module):
    """A block at 17 x 17 pixels, with 7 x 7 kernels factored into rows and columns (the paper's figure 6)."""

    inner: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W F"]:
        row, column = (1, 7), (7, 1)
        a = _Conv(192, name="branch1x1")(x)
        b = _Conv(self.inner, name="branch7x7_1")(x)
        b = _Conv(self.inner, row, name="branch7x7_2")(b)
        b = _Conv(192, column, name="branch7x7_3")(b)
        c = _Conv(self.inner, name="branch7x7dbl_1")(x)
        c = _Conv(self.inner, column, name="branch7x7dbl_2")(c)
        c = _Conv(self.inner, row, name="branch7x7dbl_3")(c)
        c = _Conv(self.inner, column, name="branch7x7dbl_4")(c)
        c = _Conv(192, row, name="branch7x7dbl_5")(c)
        d = _Conv(192, name="branch_pool")(_local_mean(x))
        return jnp.concatenate([a, b, c, d], axis=-1)


class _MixedD(nn.Module):
    """A block from 17 x 17 to 8 x 8 pixels."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        a = _Conv(192, name="branch3x3_1")(x)
        a = _Conv(320, (3, 3), 2, "VALID", name="branch3x3_2")(a)
        b = _Conv(192, name="branch7x7x3_1")(x)
        b = _Conv(192, (1, 7), name="branch7x7x3_2")(b)
        b = _Conv(192, (7, 1), name="branch7x7x3_3")(b)
        b = _Conv(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(b)
        return jnp.concatenate([a, b, _halve(x)], axis=-1)


class _MixedE(nn.Module):
    """A block at 8 x 8 pixels, with branches that fork (the paper's figure 7)."""

    maximum: bool  # whether to use max pooling instead of average pooling

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W F"]:
        row, column = (1, 3), (3, 1)
        a = _Conv(320, name="branch1x1")(x)
        b = _Conv(384, name="branch3x3_1")(x)
        b = [_Conv(384, row, name="branch3x3_2a")(b), _Conv(384, column, name="branch3x3_2b")(b)]
        c = _Conv(448, name="branch3x3dbl_1")(x)
        c = _Conv(384, (3, 3), name="branch3x3dbl_2")(c)
        c = [_Conv(384, row, name="branch3x3dbl_3a")(c), _Conv(384, column, name="branch3x3dbl_3b")(c)]
        pooled = _local_maximum(x) if self.maximum else _local_mean(x)
        d = _Conv(192, name="branch_pool")(pooled)
        return jnp.concatenate([a, *b, *c, d], axis=-1)


class Inception(nn.Module):
    """A network from 299 x 299 pixels in about [-1, 1] to features and logits, in float32 at the highest precision."""

    @nn.compact
    def __call__(self, x: Float[Array, "B 299 299 3"]) -> InceptionOutput:
        x = _Conv(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = _Conv(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = _Conv(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = _halve(x)
        x = _Conv(80, name="Conv2d_3b_1x1")(x)
        x = _Conv(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = _halve(x)
        for name, pool_features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = _MixedA(pool_features, name=name)(x)
        x = _MixedB(name="Mixed_6a")(x)
        for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = _MixedC(inner, name=name)(x)
        x = _MixedD(name="Mixed_7a")(x)
        x = _MixedE(maximum=False, name="Mixed_7b")(x)
        x = _MixedE(maximum=True, name="Mixed_7c")(x)
        features = x.mean((1, 2))
        unbiased = nn.Dense(CLASSES, use_bias=False, precision=_HIGHEST, name="fc")(features)
        bias = self.param("fc_bias", nn.initializers.zeros, (CLASSES,))
        return InceptionOutput(features, unbiased + bias[None], unbiased)
