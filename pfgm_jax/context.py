"""What is given of each example besides its noisy self."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Num, Shaped

# How many numbers describe a transformation of an image; see `datasets.augmentation`.
AUGMENTATION = 9


class Context(NamedTuple):
    """What is given of each of b examples; None where nothing is.

    A context is a pytree of rows. It travels beside the images, row by row, through samplers, methods and networks.
    """

    label: Num[Array | np.ndarray, "b ..."] | None = None  # class, negative for none; or a vector, NaN for none
    image: Num[Array | np.ndarray, "b ..."] | None = None  # a picture that conditions the answer
    known: Num[Array | np.ndarray, "b ..."] | None = None  # what is known of an image to be restored
    mask: Shaped[Array | np.ndarray, "b ..."] | None = None  # where it is known
    augmentation: Num[Array | np.ndarray, "b 9"] | None = None  # how it was transformed; see `datasets.augmentation`


NO_CONTEXT = Context()


def is_given(label: Num[Array | np.ndarray, "..."]) -> np.ndarray:
    """Says of each label whether it is one: a class that is not negative, or numbers that are not NaN."""
    rows = np.asarray(label)
    return np.asarray(~np.isnan(rows).any(axis=-1) if rows.dtype.kind == "f" else rows >= 0)


def without_labels(label: Num[Array | np.ndarray, "b ..."], dropped: Bool[Array, " b"]) -> Num[Array, "b ..."]:
    """Returns labels of which some are not given."""
    label = jnp.asarray(label)
    none = jnp.nan if jnp.issubdtype(label.dtype, jnp.floating) else -1
    return jnp.where(dropped.reshape(-1, *[1] * (label.ndim - 1)), jnp.asarray(none, label.dtype), label)
