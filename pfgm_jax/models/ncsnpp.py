"""The U-Net of score-based models (Song et al. 2021, appendix H): DDPM++, NCSN++ and variants between them."""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import FieldError
from pfgm_jax.models import embeddings, layers
from pfgm_jax.models.base import Network

PRECISE = jax.lax.Precision.HIGHEST


class NCSNpp(Network):
    """A U-Net over images whose sides are divisible by 2^(levels - 1).

    Attributes:
      out_channels: number of output channels.
      nf: number of channels of the first level.
      ch_mult: number of channels of each level, in units of nf.
      num_res_blocks: number of residual blocks per level on the way down; one more on the way up.
      attn_resolutions: attention is applied at levels whose shorter side is one of these.
      resblock_type: 'biggan', whose blocks resample images themselves, or 'ddpm'.
      resamp_with_conv: whether the resampling between 'ddpm' blocks includes a convolution.
      fir, fir_kernel: see `layers.Resampler`.
      progressive_input: 'none', or how a pyramid of the input joins each level: 'input_skip' or 'residual'.
      progressive: 'none', or how a pyramid of outputs is built up: 'output_skip' or 'residual'.
      progressive_combine: how 'input_skip' joins: 'sum' or 'cat'.
      embedding_type: 'positional' embedding of the level, 'positional_log' of a quarter of its logarithm as in EDM, or
        'fourier' embedding of its logarithm.
      fourier_scale: standard deviation of the Fourier frequencies.
      conditional: whether residual blocks receive the embedding.
      num_classes: number of classes that these are shown; 0 for none.
      label_size: how many numbers of a label these are shown, if it is no class.
      condition_channels: channels of images that join the input.
      told_of_augmentation: whether these are shown how the images were transformed, see `datasets.augmentation`.
      centered: whether images are in [-1, 1] rather than [0, 1].
      sigmas: noise levels to divide the output by; () for no division. With 'fourier' the network's level is the noise
        level; with 'positional' it is an index into these.
      nonlinearity: 'swish', 'elu', 'relu' or 'lrelu'.
      dropout: dropout rate inside residual blocks.
      skip_rescale: whether to divide sums of branches by √2.
      init_scale: initial scale of the last kernel of each block and of the network; 0 means 1e-10.
      dtype: type for computations; parameters, embedding, and the first and last convolution are float32.
      remat: whether to recompute residual blocks in the backward pass instead of storing their activations.
    """

    adjustable: ClassVar[tuple[str, ...]] = ("dropout", "fourier_scale", "init_scale", "remat")

    out_channels: int
    nf: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    resblock_type: str = "biggan"
    resamp_with_conv: bool = True
    fir: bool = False
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    progressive_input: str = "none"
    progressive: str = "none"
    progressive_combine: str = "sum"
    embedding_type: str = "positional"
    fourier_scale: float = 16.0
    conditional: bool = True
    num_classes: int = 0
    label_size: int = 0
    condition_channels: int = 0
    told_of_augmentation: bool = False
    centered: bool = True
    sigmas: tuple[float, ...] = ()
    nonlinearity: str = "swish"
    dropout: float = 0.1
    skip_rescale: bool = True
    init_scale: float = 0.0
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @property
    def expects_labels(self) -> bool:
        """Whether `level` is the index of a noise level, if the network divides by noise levels."""
        return self.embedding_type == "positional"

    @classmethod
    def takes_augmentation(cls, model: Any) -> bool:
        """Says whether residual blocks receive the embedding."""
        return bool(model.conditional)

    @classmethod
    def takes_labels(cls, model: Any) -> bool:
        """Says whether residual blocks receive the embedding."""
        return bool(model.conditional)

    def check_images(self, height: int, width: int) -> None:
        """Checks the size of images.

        Raises:
          FieldError: the size cannot be halved from level to level.
        """
        divisor = 2 ** (len(self.ch_mult) - 1)
        if height % divisor or width % divisor:
            raise FieldError(
                "ch_mult",
                self.ch_mult,
                f"these {len(self.ch_mult)} levels need sides divisible by {divisor}, but the images are {height} x "
                f"{width}: choose fewer levels or another data.image_size",
            )

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        level: Float[Array, " B"],
        context: Context = NO_CONTEXT,
        train: bool = False,
    ) -> Float[Array, "B H W out"]:
        act = layers.ACTIVATIONS[self.nonlinearity]
        parts = _Parts(self, self._embedding(level, context, act), act, train)
        x = embeddings.with_condition(x if self.centered else 2.0 * x - 1.0, context, self.condition_channels)
        h, skips = self._down(x, parts)

        h = parts.block(h, h.shape[-1], "middle_block_0")
        h = parts.attention(h, "middle_attention")
        h = parts.block(h, h.shape[-1], "middle_block_1")

        h = self._up(h, skips, parts)
        return layers.over_noise_level(h, self.sigmas, level, labels=self.expects_labels)

    def _down(self, x: Float[Array, "B H W C"], parts: "_Parts") -> tuple[Array, list[Array]]:
        """Halves the image level by level; returns the last features and the skip connections for `_up`."""
        pyramid = x
        h = layers.conv3x3(self.nf, "conv_in", precision=PRECISE)(x).astype(self.dtype)
        skips = [h]
        for i, mult in enumerate(self.ch_mult):
            for j in range(self.num_res_blocks):
                h = parts.block(h, self.nf * mult, f"down_{i}_block_{j}")
                h = parts.attention_where_due(h, f"down_{i}_attention_{j}")
                skips.append(h)
            if i < len(self.ch_mult) - 1:
                h = parts.change_size(h, "down", f"down_{i}_resample")
                if self.progressive_input == "input_skip":
                    pyramid = parts.resampler("down")(pyramid)
                    h = layers.Combine(self.progressive_combine, self.dtype, name=f"down_{i}_pyramid")(pyramid, h)
                elif self.progressive_input == "residual":
                    pyramid = parts.resampler("down", h.shape[-1], name=f"down_{i}_pyramid")(pyramid)
                    h = pyramid = layers.add_skip(pyramid, h, self.skip_rescale)
                skips.append(h)
        return h, skips

    def _up(self, h: Array, skips: list[Array], parts: "_Parts") -> Float[Array, "B H W out"]:
        """Doubles the image level by level and returns the output."""
        # Half precision would round pixels, and outputs, by as much as the smallest perturbations.
        head = partial(layers.conv3x3, self.out_channels, init_scale=self.init_scale, precision=PRECISE)
        pyramid: Any = None
        for i, mult in reversed(list(enumerate(self.ch_mult))):
            for j in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = parts.block(h, self.nf * mult, f"up_{i}_block_{j}")
            h = parts.attention_where_due(h, f"up_{i}_attention")
            if self.progressive == "output_skip":
                answer = head(f"up_{i}_head")(parts.normed(h, f"up_{i}_norm"))
                pyramid = answer if pyramid is None else parts.resampler("up")(pyramid) + answer
            elif self.progressive == "residual" and pyramid is None:
                y = parts.normed(h, f"up_{i}_norm")
                pyramid = layers.conv3x3(h.shape[-1], f"up_{i}_pyramid", self.dtype)(y)
            elif self.progressive == "residual":
                pyramid = parts.resampler("up", h.shape[-1], name=f"up_{i}_pyramid")(pyramid)
                h = pyramid = layers.add_skip(pyramid, h, self.skip_rescale)
            if i > 0:
                h = parts.change_size(h, "up", f"up_{i}_resample")
        return pyramid if self.progressive == "output_skip" else head("conv_out")(parts.normed(h, "norm_out"))

    def _embedding(
        self, level: Float[Array, " B"], context: Context, act: layers.Activation
    ) -> Float[Array, "B E"] | None:
        if self.embedding_type == "fourier":
            embedding = embeddings.FourierEmbedding(self.nf, self.fourier_scale, name="fourier")(jnp.log(level))
        else:
            shown = level if self.embedding_type == "positional" else 0.25 * jnp.log(level)
            embedding = embeddings.positional_embedding(shown, self.nf)
        if not self.conditional:
            return None
        if self.told_of_augmentation:
            embedding = embeddings.with_augmentation(embedding, context)
        if self.num_classes or self.label_size:
            kinds = self.num_classes, self.label_size
            embedding += embeddings.label_embedding(context.label, embedding.shape, *kinds)
        embedding = layers.dense(4 * self.nf, "embed_0")(embedding)
        return layers.dense(4 * self.nf, "embed_1")(act(embedding))


class _Parts:
    """A factory of layers with the options of a network, created inside its `__call__`."""

    def __init__(self, net: NCSNpp, embedding: Float[Array, "B E"] | None, act: layers.Activation, train: bool):
        common = {"skip_rescale": net.skip_rescale, "init_scale": net.init_scale, "dtype": net.dtype}
        filters = {"fir": net.fir, "fir_kernel": net.fir_kernel}
        self._net, self._embedding, self._act, self._train = net, embedding, act, train
        self._biggan = net.resblock_type == "biggan"
        block_type: Any = layers.ResBlockBigGAN if self._biggan else layers.ResBlockDDPM
        if net.remat:
            block_type = nn.remat(block_type, static_argnums=(3,))
        options = {**common, **(filters if self._biggan else {})}
        self._block = partial(block_type, activation=act, dropout=net.dropout, **options)
        self._attention = partial(layers.AttentionBlock, **common)
        self.resampler = partial(layers.Resampler, dtype=net.dtype, **filters)

    def block(self, h: Array, features: int, name: str, **options: Any) -> Array:
        return self._block(features, name=name, **options)(h, self._embedding, self._train)

    def attention(self, h: Array, name: str) -> Array:
        return self._attention(name=name)(h)

    def attention_where_due(self, h: Array, name: str) -> Array:
        return self.attention(h, name) if min(h.shape[1:3]) in self._net.attn_resolutions else h

    def normed(self, h: Array, name: str) -> Array:
        return self._act(layers.GroupNorm(self._net.dtype, name=name)(h))

    def change_size(self, h: Array, direction: str, name: str) -> Array:
        if self._biggan:
            return self.block(h, h.shape[-1], name, direction=direction)
        return self.resampler(direction, h.shape[-1] if self._net.resamp_with_conv else None, name=name)(h)
