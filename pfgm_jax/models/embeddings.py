"""What else networks are shown: noise levels, labels, transformations, images that condition the answer."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from pfgm_jax.context import AUGMENTATION, Context
from pfgm_jax.models.layers import default_init


def positional_embedding(t: Float[Array, " B"], features: int, longest: float = 10000.0) -> Float[Array, "B F"]:
    """Computes sines and cosines of real t at geometric frequencies from 1 to 1/longest (Vaswani et al. 2017)."""
    half = features // 2
    frequencies = jnp.exp(-math.log(longest) / (half - 1) * jnp.arange(half, dtype=jnp.float32))
    angles = t[:, None] * frequencies[None]
    embedding = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
    return jnp.pad(embedding, ((0, 0), (0, features % 2)))


class FourierEmbedding(nn.Module):
    """Sines and cosines at random frequencies (Tancik et al. 2020), which are drawn once and not trained.

    Attributes:
      features: number of frequencies.
      scale: standard deviation of the frequencies.
    """

    features: int
    scale: float = 16.0

    @nn.compact
    def __call__(self, t: Float[Array, " B"]) -> Float[Array, "B 2*{self.features}"]:
        frequencies = self.param("frequencies", nn.initializers.normal(self.scale), (self.features,))
        angles = t[:, None] * jax.lax.stop_gradient(frequencies)[None] * (2 * math.pi)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


def with_augmentation(embedding: Float[Array, "B E"], context: Context) -> Float[Array, "B E"]:
    """Adds a linear map of how images were transformed, zeros where nothing is said; a layer of the calling module."""
    numbers = jnp.zeros((len(embedding), AUGMENTATION)) if context.augmentation is None else context.augmentation
    layer = nn.Dense(embedding.shape[1], use_bias=False, kernel_init=default_init(), name="augmentation")
    return embedding + layer(jnp.asarray(numbers))


def label_embedding(
    label: Num[Array | np.ndarray, "B ..."] | None, shape: tuple[int, ...], num_classes: int, label_size: int
) -> Float[Array, "B E"]:
    """Embeds labels, by layers of the calling module; examples without a label have a vector of their own.

    Args:
      label: class of each example, negative for none, or `label_size` numbers, NaN for none; None for no labels at all.
      shape: B, E.
      num_classes, label_size: one of them is 0.
    """
    count, features = shape
    if num_classes:
        classes = jnp.full(count, -1) if label is None else jnp.asarray(label)
        table = nn.Embed(num_classes + 1, features, embedding_init=nn.initializers.normal(1.0), name="label")
        return table(jnp.where(classes < 0, num_classes, classes))
    numbers = jnp.full((count, label_size), jnp.nan) if label is None else jnp.asarray(label, jnp.float32)
    given = ~jnp.isnan(numbers).any(axis=1, keepdims=True)
    of_numbers = nn.Dense(features, kernel_init=default_init(), name="label")(jnp.where(given, numbers, 0.0))
    none = nn.Embed(1, features, embedding_init=nn.initializers.normal(1.0), name="no_label")(
        jnp.zeros(count, jnp.int32)
    )
    return jnp.where(given, of_numbers, none)


def with_condition(x: Float[Array, "B H W C"], context: Context, channels: int) -> Float[Array, "B H W _"]:
    """Appends the channels of the images that condition the answer, zeros where there are none."""
    if not channels:
        return x
    image = jnp.zeros((*x.shape[:3], channels)) if context.image is None else jnp.asarray(context.image)
    return jnp.concatenate([x, image.astype(x.dtype)], axis=-1)
