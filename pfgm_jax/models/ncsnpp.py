"""The U-Net of score-based models (Song et al. 2021, appendix H) in its DDPM++ form."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.models import layers


class NCSNpp(nn.Module):
    """A U-Net over images whose sides 2^(levels - 1) divides.

    Attributes:
      out_channels: channels of the output.
      nf: channels of the first level.
      ch_mult: channels of each level, in units of nf.
      num_res_blocks: residual blocks per level on the way down; one more on the way up.
      attn_resolutions: levels whose shorter side is one of these attend.
      dropout: rate inside residual blocks.
      conditional: whether the scalar condition is used at all.
      skip_rescale: divide sums of branches by √2.
      init_scale: scale of the last kernel of each block and of the network; 0 starts them at 1e-10.
    """

    out_channels: int
    nf: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    dropout: float = 0.1
    conditional: bool = True
    skip_rescale: bool = True
    init_scale: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], cond: Float[Array, " B"], train: bool = False
    ) -> Float[Array, "B H W out"]:
        block = partial(
            layers.ResBlockBigGAN,
            dropout=self.dropout,
            skip_rescale=self.skip_rescale,
            init_scale=self.init_scale,
        )
        attention = partial(layers.AttentionBlock, skip_rescale=self.skip_rescale, init_scale=self.init_scale)
        attends = lambda h: min(h.shape[1:3]) in self.attn_resolutions

        embedding = None
        if self.conditional:
            embedding = layers.dense(4 * self.nf, "embed_0")(layers.positional_embedding(cond, self.nf))
            embedding = layers.dense(4 * self.nf, "embed_1")(nn.silu(embedding))

        last = len(self.ch_mult) - 1
        h = layers.conv3x3(self.nf, "conv_in")(x)
        skips = [h]
        for level, mult in enumerate(self.ch_mult):
            for i in range(self.num_res_blocks):
                h = block(self.nf * mult, name=f"down_{level}_block_{i}")(h, embedding, train)
                if attends(h):
                    h = attention(name=f"down_{level}_attention_{i}")(h)
                skips.append(h)
            if level < last:
                h = block(h.shape[-1], "down", name=f"down_{level}_resample")(h, embedding, train)
                skips.append(h)

        h = block(h.shape[-1], name="middle_block_0")(h, embedding, train)
        h = attention(name="middle_attention")(h)
        h = block(h.shape[-1], name="middle_block_1")(h, embedding, train)

        for level, mult in reversed(list(enumerate(self.ch_mult))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = block(self.nf * mult, name=f"up_{level}_block_{i}")(h, embedding, train)
            if attends(h):
                h = attention(name=f"up_{level}_attention")(h)
            if level > 0:
                h = block(h.shape[-1], "up", name=f"up_{level}_resample")(h, embedding, train)

        h = nn.silu(layers.GroupNorm(name="norm_out")(h))
        return layers.conv3x3(self.out_channels, "conv_out", init_scale=self.init_scale)(h)
