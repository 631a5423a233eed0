"""A residual multilayer perceptron for vectors."""

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.models import embeddings, layers
from pfgm_jax.models.base import Network

# Standard deviation of data, and a time below which the noise hardly matters.
UNIT, SMALLEST_TIME = 0.5, 1e-4


class MLP(Network):
    """A residual network over all components of a vector (any [B, H, W, C], flattened), for few dimensions.

    Noise levels range over several orders of magnitude, and so do the perturbed points. The inputs of the network are
    therefore the logarithm of the noise level, and each point at several scales.

    Attributes:
      out_channels: number of output channels.
      nf: width of the hidden layers.
      num_res_blocks: number of residual layers.
      largest_label: the level of which others are a share, if levels are times or labels; None: they are noise levels,
        of the length of what is added to the points.
      num_classes: number of classes that it is shown; 0 for none.
      label_size: how many numbers of a label it is shown, if it is no class.
      condition_channels: channels of images that join the input.
      told_of_augmentation: whether it is shown how images were transformed, see `datasets.augmentation`.
      unit_points: whether points are scaled to a variance near 1, whatever their noise level.
      octaves: number of frequencies at which positions are shown too, each twice the one before; a perceptron hardly
        learns what changes from place to place without them.
    """

    takes_vectors: ClassVar[bool] = True

    out_channels: int
    nf: int = 128
    num_res_blocks: int = 4
    octaves: int = 0
    num_classes: int = 0
    label_size: int = 0
    condition_channels: int = 0
    largest_label: float | None = None
    unit_points: bool = False
    told_of_augmentation: bool = False

    @classmethod
    def takes_augmentation(cls, model: Any) -> bool:
        """Says that it can be shown how images were transformed."""
        del model
        return True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        level: Float[Array, " B"],
        context: Context = NO_CONTEXT,
        train: bool = False,
    ) -> Float[Array, "B H W out"]:
        del train
        flat = x.reshape(len(x), -1)
        # With labels, points stay of the size of the data.
        grows = self.largest_label is None and not self.unit_points
        length = level if grows else jnp.full_like(level, UNIT)
        norm = jnp.sqrt(length**2 + jnp.mean(flat**2, axis=1))[:, None]
        scales = jnp.concatenate([jnp.log(norm), self._log_level(level)[:, None]], axis=1)
        h = jnp.concatenate([flat / (1 + norm), flat / norm, flat / (0.1 + norm), 0.3 * scales], axis=1)
        waves = [jnp.array([[[1.0, 2.0, 4.0, 8.0]]]) * scales[..., None]]
        if self.octaves:
            # The whole plane within an interval, so that far away nothing oscillates.
            waves.append(math.pi * 2.0 ** jnp.arange(float(self.octaves))[None, None] * (flat / (1 + norm))[..., None])
        angles = jnp.concatenate([wave.reshape(len(x), -1) for wave in waves], axis=1)
        h = jnp.concatenate([h, jnp.sin(angles), jnp.cos(angles)], axis=1)
        if self.condition_channels:
            shown = embeddings.with_condition(x, context, self.condition_channels)[..., x.shape[-1] :]
            h = jnp.concatenate([h, shown.reshape(len(x), -1)], axis=1)
        h = layers.dense(self.nf, "in")(h)
        if self.num_classes or self.label_size:
            h += embeddings.label_embedding(context.label, h.shape, self.num_classes, self.label_size)
        if self.told_of_augmentation:
            h = embeddings.with_augmentation(h, context)
        for i in range(self.num_res_blocks):
            y = nn.silu(layers.dense(self.nf, f"block_{i}_0")(nn.LayerNorm(name=f"norm_{i}")(h)))
            h = h + layers.dense(self.nf, f"block_{i}_1", init_scale=0.1)(y)
        h = nn.silu(nn.LayerNorm(name="norm_out")(h))
        size = x.shape[1] * x.shape[2]
        # Far from the data the output is close to a multiple of the input, which products represent and sums do not.
        gate = layers.dense(1, "gate", init_scale=0.0)(h) / norm
        out = layers.dense(size * self.out_channels, "out", init_scale=0.0)(h).reshape(*x.shape[:-1], self.out_channels)
        return out + jnp.pad(gate[:, None, None] * x, [(0, 0)] * 3 + [(0, self.out_channels - x.shape[-1])])

    def _log_level(self, level: Float[Array, " B"]) -> Float[Array, " B"]:
        return jnp.log(level) if self.largest_label is None else jnp.log(level / self.largest_label + SMALLEST_TIME)
