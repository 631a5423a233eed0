"""What is given of each example besides its noisy self."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Num

# How many numbers describe a transformation of an image; see `datasets.augmentation`.
AUGMENTATION = 9


class Context(NamedTuple):
    """What is given of each of b examples; None where nothing is.

    A context is a pytree of rows. It travels beside the images, row by row, through samplers, methods and networks.
    """

    label: Num[Array | np.ndarray, "b ..."] | None = None  # class, or a vector
    image: Num[Array | np.ndarray, "b ..."] | None = None  # a picture that conditions the answer
    known: Num[Array | np.ndarray, "b ..."] | None = None  # what is known of an image to be restored
    mask: Num[Array | np.ndarray, "b ..."] | None = None  # where it is known
    augmentation: Num[Array | np.ndarray, "b 9"] | None = None  # how it was transformed; see `datasets.augmentation`


NO_CONTEXT = Context()
