"""The U-Net of score-based models (Song et al. 2021, appendix H): DDPM++ and NCSN++ and what lies between them."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pfgm_jax.models import layers

PRECISE = jax.lax.Precision.HIGHEST


class NCSNpp(nn.Module):
    """A U-Net over images whose sides 2^(levels - 1) divides.

    Attributes:
      out_channels: channels of the output.
      nf: channels of the first level.
      ch_mult: channels of each level, in units of nf.
      num_res_blocks: residual blocks per level on the way down; one more on the way up.
      attn_resolutions: levels whose shorter side is one of these attend.
      resblock_type: 'biggan', whose blocks change the size of images themselves, or 'ddpm'.
      resamp_with_conv: convolve where DDPM's blocks leave the change of size to others.
      fir, fir_kernel: filter where the size changes.
      progressive_input: 'none', or how a pyramid of the input joins each level: 'input_skip' or 'residual'.
      progressive: 'none', or how a pyramid of outputs is built up: 'output_skip' or 'residual'.
      progressive_combine: 'sum' or 'cat', how 'input_skip' joins.
      embedding_type: of the condition: 'positional', or 'fourier' of its logarithm.
      fourier_scale: standard deviation of the Fourier frequencies.
      conditional: whether the condition reaches the residual blocks.
      centered: whether images are in [-1, 1]; otherwise they are in [0, 1].
      sigmas: divide the output by the noise level. () for not at all; with 'fourier', the condition is the noise level;
        with 'positional', it is an index into these.
      nonlinearity: 'swish', 'elu', 'relu' or 'lrelu'.
      dropout: rate inside residual blocks.
      skip_rescale: divide sums of branches by √2.
      init_scale: scale of the last kernel of each block and of the network; 0 starts them at 1e-10.
      dtype: of the computation; parameters, embedding, and the first and last convolution are float32.
      remat: compute residual blocks again in the backward pass rather than keep what is inside them.
    """

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
    centered: bool = True
    sigmas: tuple[float, ...] = ()
    nonlinearity: str = "swish"
    dropout: float = 0.1
    skip_rescale: bool = True
    init_scale: float = 0.0
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], cond: Float[Array, " B"], train: bool = False
    ) -> Float[Array, "B H W out"]:
        act = layers.ACTIVATIONS[self.nonlinearity]
        common = {"skip_rescale": self.skip_rescale, "init_scale": self.init_scale, "dtype": self.dtype}
        filters = {"fir": self.fir, "fir_kernel": self.fir_kernel}
        biggan = self.resblock_type == "biggan"
        block_type = layers.ResBlockBigGAN if biggan else layers.ResBlockDDPM
        if self.remat:
            block_type = nn.remat(block_type, static_argnums=(3,))
        block = partial(block_type, activation=act, dropout=self.dropout, **common, **(filters if biggan else {}))
        attention = partial(layers.AttentionBlock, **common)
        resampler = partial(layers.Resampler, dtype=self.dtype, **filters)
        norm = partial(layers.GroupNorm, self.dtype)
        # Rounded to half precision, pixels would be off by as much as the smallest perturbations, and so would answers.
        head = partial(layers.conv3x3, self.out_channels, init_scale=self.init_scale, precision=PRECISE)
        attends = lambda h: min(h.shape[1:3]) in self.attn_resolutions

        def change_size(h, direction, name):
            if biggan:
                return block(h.shape[-1], direction=direction, name=name)(h, embedding, train)
            return resampler(direction, h.shape[-1] if self.resamp_with_conv else None, name=name)(h)

        embedding = self._embedding(cond, act)
        x = x if self.centered else 2.0 * x - 1.0
        last = len(self.ch_mult) - 1

        pyramid = x
        h = layers.conv3x3(self.nf, "conv_in", precision=PRECISE)(x).astype(self.dtype)
        skips = [h]
        for level, mult in enumerate(self.ch_mult):
            for i in range(self.num_res_blocks):
                h = block(self.nf * mult, name=f"down_{level}_block_{i}")(h, embedding, train)
                if attends(h):
                    h = attention(name=f"down_{level}_attention_{i}")(h)
                skips.append(h)
            if level < last:
                h = change_size(h, "down", f"down_{level}_resample")
                if self.progressive_input == "input_skip":
                    pyramid = resampler("down")(pyramid)
                    h = layers.Combine(self.progressive_combine, self.dtype, name=f"down_{level}_pyramid")(pyramid, h)
                elif self.progressive_input == "residual":
                    pyramid = resampler("down", h.shape[-1], name=f"down_{level}_pyramid")(pyramid)
                    h = pyramid = layers.add_skip(pyramid, h, self.skip_rescale)
                skips.append(h)

        h = block(h.shape[-1], name="middle_block_0")(h, embedding, train)
        h = attention(name="middle_attention")(h)
        h = block(h.shape[-1], name="middle_block_1")(h, embedding, train)

        pyramid = None
        for level, mult in reversed(list(enumerate(self.ch_mult))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = block(self.nf * mult, name=f"up_{level}_block_{i}")(h, embedding, train)
            if attends(h):
                h = attention(name=f"up_{level}_attention")(h)
            if self.progressive == "output_skip":
                answer = head(f"up_{level}_head")(act(norm(name=f"up_{level}_norm")(h)))
                pyramid = answer if pyramid is None else resampler("up")(pyramid) + answer
            elif self.progressive == "residual" and pyramid is None:
                y = act(norm(name=f"up_{level}_norm")(h))
                pyramid = layers.conv3x3(h.shape[-1], f"up_{level}_pyramid", self.dtype)(y)
            elif self.progressive == "residual":
                pyramid = resampler("up", h.shape[-1], name=f"up_{level}_pyramid")(pyramid)
                h = pyramid = layers.add_skip(pyramid, h, self.skip_rescale)
            if level > 0:
                h = change_size(h, "up", f"up_{level}_resample")

        if self.progressive == "output_skip":
            h = jnp.asarray(pyramid)
        else:
            h = head("conv_out")(act(norm(name="norm_out")(h)))
        return layers.over_noise_level(h, self.sigmas, cond, labels=self.embedding_type == "positional")

    def _embedding(self, cond: Float[Array, " B"], act: layers.Activation) -> Float[Array, "B E"] | None:
        if self.embedding_type == "fourier":
            embedding = layers.FourierEmbedding(self.nf, self.fourier_scale, name="fourier")(jnp.log(cond))
        else:
            embedding = layers.positional_embedding(cond, self.nf)
        if not self.conditional:
            return None
        embedding = layers.dense(4 * self.nf, "embed_0")(embedding)
        return layers.dense(4 * self.nf, "embed_1")(act(embedding))
