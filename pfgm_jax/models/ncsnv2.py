"""NCSNv2 (Song & Ermon 2020, "Improved techniques for training score-based generative models"), a RefineNet.

It is a weaker network than NCSN++: the noise level is not an input, and there is neither attention nor dropout. The
PFGM paper (section 5) uses it to show that PFGM still works with such a network.
"""

import math
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import FieldError
from pfgm_jax.models import embeddings, layers, resample
from pfgm_jax.models.base import Network

# Each stage has a number of channels, in units of nf, and a dilation. Stages without dilation, except the first, halve
# the image.
_STAGES = {
    "below 96 pixels": ((1, 1), (2, 1), (2, 2), (2, 4)),
    "to 128 pixels": ((1, 1), (2, 1), (2, 1), (4, 2), (4, 4)),
    "larger": ((1, 1), (2, 1), (2, 1), (2, 1), (4, 2), (4, 4)),
}


def stages(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Returns the channels in units of nf and the dilation of each stage, for images of a given size."""
    side = max(height, width)
    return _STAGES["below 96 pixels" if side < 96 else "to 128 pixels" if side <= 128 else "larger"]


def sides_divisor(height: int, width: int) -> int:
    """Returns the number that the sides of an image must be divisible by."""
    return 2 ** (sum(dilation == 1 for _, dilation in stages(height, width)) - 1)


class NCSNv2(Network):
    """A RefineNet with instance normalization.

    Attributes:
      out_channels: number of output channels.
      nf: number of channels of the first stage.
      centered: whether images are in [-1, 1] rather than [0, 1].
      sigmas: noise levels to divide the output by; the network's level is an index into these. () for no division.
      nonlinearity: 'elu', 'swish', 'relu' or 'lrelu'.
      num_classes: number of classes that normalization is shown; 0 for none.
      label_size: how many numbers of a label it is shown, if it is no class.
      condition_channels: channels of images that join the input.
      dtype: type for computations; parameters, normalization, and the first and last convolution are float32.
      remat: whether to recompute blocks in the backward pass instead of storing their activations.
    """

    adjustable: ClassVar[tuple[str, ...]] = ("remat",)

    out_channels: int
    nf: int = 128
    centered: bool = True
    sigmas: tuple[float, ...] = ()
    nonlinearity: str = "elu"
    num_classes: int = 0
    label_size: int = 0
    condition_channels: int = 0
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @property
    def expects_labels(self) -> bool:
        """Whether `level` is the index of a noise level, if the network divides by noise levels."""
        return True

    def check_images(self, height: int, width: int) -> None:
        """Checks the size of images.

        Raises:
          FieldError: the size cannot be halved often enough.
        """
        divisor = sides_divisor(height, width)
        if height % divisor or width % divisor:
            cure = f"it needs sides divisible by {divisor}, but the images are {height} x {width}: choose another"
            raise FieldError("name", "ncsnv2", f"{cure} data.image_size")

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        level: Float[Array, " B"],
        context: Context = NO_CONTEXT,
        train: bool = False,
    ) -> Float[Array, "B H W out"]:
        del train
        act = layers.ACTIVATIONS[self.nonlinearity]
        again = nn.remat if self.remat else lambda module: module
        block = partial(again(_ResidualBlock), activation=act, dtype=self.dtype)
        refine = partial(again(_RefineBlock), activation=act, dtype=self.dtype)
        x = embeddings.with_condition(x if self.centered else 2.0 * x - 1.0, context, self.condition_channels)
        label = None
        if self.num_classes or self.label_size:
            kinds = self.num_classes, self.label_size
            label = embeddings.label_embedding(context.label, (len(x), 4 * self.nf), *kinds)

        widths, dilations = zip(*stages(*x.shape[1:3]), strict=True)
        h = _conv(x, self.nf, "conv_in", jnp.float32).astype(self.dtype)
        outputs = []
        for i, (width, dilation) in enumerate(zip(widths, dilations, strict=True)):
            h = block(self.nf * width, dilation, changes=i > 0, name=f"stage_{i}_block_0")(h, label)
            h = block(self.nf * width, dilation, name=f"stage_{i}_block_1")(h, label)
            outputs.append(h)

        deeper = []
        for i, output in reversed(list(enumerate(outputs))):
            features = self.nf * widths[max(i - 1, 0)]
            deeper = [refine(features, 3 if i == 0 else 1, name=f"refine_{i}")([output, *deeper])]

        h = act(InstanceNormPlus(name="norm_out")(deeper[0], label))
        return layers.over_noise_level(_conv(h, self.out_channels, "conv_out", jnp.float32), self.sigmas, level, True)


class InstanceNormPlus(nn.Module):
    """Instance normalization that preserves the channels' relative means (Song & Ermon 2020).

    Where images have labels, the label adds to scale and bias.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], label: Float[Array, "B E"] | None = None) -> Float[Array, "B H W C"]:
        near_one = lambda key, shape: 1.0 + 0.02 * jax.random.normal(key, shape)
        alpha = self.param("alpha", near_one, x.shape[-1:])
        gamma = self.param("gamma", near_one, x.shape[-1:])
        beta = self.param("beta", nn.initializers.zeros, x.shape[-1:])
        x = x.astype(jnp.float32)
        means = x.mean((1, 2), keepdims=True)
        relative = (means - means.mean(-1, keepdims=True)) * jax.lax.rsqrt(means.var(-1, ddof=1, keepdims=True) + 1e-5)
        normal = (x - means) * jax.lax.rsqrt(x.var((1, 2), keepdims=True) + 1e-5)
        alpha, beta, gamma = (weights[None, None, None] for weights in (alpha, beta, gamma))
        if label is not None:
            of_label = layers.dense(2 * x.shape[-1], "label", init_scale=0.1)(label)[:, None, None]
            of_scale, of_bias = jnp.split(of_label, 2, axis=-1)
            gamma, beta = gamma + of_scale, beta + of_bias
        return gamma * (normal + alpha * relative) + beta


class _ResidualBlock(nn.Module):
    """Two convolutions and a shortcut. They are dilated; without dilation, a block that `changes` halves the image."""

    features: int
    dilation: int
    changes: bool = False
    activation: layers.Activation = nn.elu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], label: Float[Array, "B E"] | None = None
    ) -> Float[Array, "B H2 W2 F"]:
        halves = self.changes and self.dilation == 1
        conv = partial(_conv, dtype=self.dtype, dilation=self.dilation)
        # A block that `changes` increases the number of channels in its second convolution.
        between = x.shape[-1] if self.changes else self.features
        y = conv(self.activation(InstanceNormPlus(name="norm_0")(x, label)), between, "conv_0")
        y = conv(self.activation(InstanceNormPlus(name="norm_1")(y, label)), self.features, "conv_1")
        if self.changes:
            x = conv(x, self.features, "skip", size=1 if halves else 3)
        return resample.downsample(x) + resample.downsample(y) if halves else x + y


class _RefineBlock(nn.Module):
    """A block that adapts and sums features of a stage and the next deeper one, and pools over growing windows."""

    features: int
    blocks_after: int
    activation: layers.Activation = nn.elu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, inputs: list[Float[Array, "B _ _ _"]]) -> Float[Array, "B H W F"]:
        conv = partial(_conv, dtype=self.dtype)

        def residual(h, blocks, name):
            for i in range(blocks):
                y = h
                for j in range(2):
                    y = conv(self.activation(y), h.shape[-1], f"{name}_{i}_{j}", use_bias=False)
                h = h + y
            return h

        adapted = [residual(h, 2, f"adapt_{i}") for i, h in enumerate(inputs)]
        h = adapted[0]
        if len(adapted) > 1:
            size = h.shape[1:3]
            fused = [_resize(conv(a, self.features, f"fuse_{i}"), *size) for i, a in enumerate(adapted)]
            h = fused[0] + fused[1]
        h = path = self.activation(h)
        for i in range(2):
            path = nn.max_pool(path, (5, 5), padding="SAME")
            path = conv(path, self.features, f"pool_{i}", use_bias=False)
            h = h + path
        return residual(h, self.blocks_after, "after")


def _conv(
    x: Float[Array, "B H W C"],
    features: int,
    name: str,
    dtype: DTypeLike,
    size: int = 3,
    dilation: int = 1,
    use_bias: bool = True,
) -> Float[Array, "B H W F"]:
    """Applies a size-preserving convolution, initialized as in PyTorch: uniform, variance 1 / (3 fan_in)."""
    bound = 1 / math.sqrt(size * size * x.shape[-1])
    init = lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)
    # The first and last convolution are never in half precision: they use the highest precision.
    precision = jax.lax.Precision.HIGHEST if name in ("conv_in", "conv_out") else None
    return nn.Conv(
        features,
        (size, size),
        padding=dilation * (size // 2),
        kernel_dilation=dilation,
        use_bias=use_bias,
        kernel_init=init,
        bias_init=init,
        dtype=dtype,
        precision=precision,
        name=name,
    )(x)


def _resize(x: Float[Array, "B H W C"], height: int, width: int) -> Float[Array, "B {height} {width} C"]:
    """Resizes images by linear interpolation with aligned corners."""
    for axis, new in ((1, height), (2, width)):
        old = x.shape[axis]
        if new == old:
            continue
        at = np.linspace(0, old - 1, new)
        weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old))).astype(np.float32)
        x = jnp.moveaxis(jnp.tensordot(jnp.asarray(weights, x.dtype), x, (1, axis)), 0, axis)
    return x
