"""Arguments of the library's functions: checked where users call them, and converted to what the code works with."""

from typing import Any

import numpy as np

from pfgm_jax import ranges
from pfgm_jax.context import Context
from pfgm_jax.errors import FieldError, InputError, shown


def to_integer(name: str, value: Any, least: int) -> int:
    """Returns an integer argument.

    Raises:
      FieldError: it is no integer, less than `least`, or too large for int32.
    """
    if not ranges.is_integer(value) or value < least:
        raise FieldError(name, value, f"give an integer of at least {least}, below 2^31")
    return int(value)


def to_seed(value: Any) -> int:
    """Returns a seed.

    Raises:
      FieldError: it is no integer that uint32 holds.
    """
    if not ranges.is_seed(value):
        raise FieldError("seed", value, "give an integer of at least 0 and below 2^32")
    return int(value)


def to_array(what: str, value: Any) -> np.ndarray:
    """Returns an array of numbers.

    Args:
      what: what it holds, in the plural, for the message.
      value: an array, or numbers in lists of equal lengths.

    Raises:
      InputError: it is none, or its rows have different lengths.
    """
    try:
        array = np.asarray(value)
    except Exception:  # rows of different lengths, or what an object of the user's own raises
        raise InputError(f"{what} are not an array; give one of numbers, whose rows have equal lengths") from None
    if array.dtype.kind not in "buif" and array.dtype.name != "bfloat16":
        raise InputError(f"{what} are {shown(array.dtype.name)[1:-1]}; give an array of real numbers")
    return array


def to_images(value: Any, shape: tuple[int, int, int], levels: int) -> np.ndarray:
    """Returns images of a model as uint8 [n, H, W, C], or vectors as float32 [n, 1, 1, N].

    Args:
      value: an array, or numbers in lists of equal lengths.
      shape: H, W, C of the model.
      levels: its number of grey levels; 0 for vectors.

    Raises:
      InputError: they are not images of the model.
    """
    images = to_array("the images", value)
    wanted = ", ".join(map(str, shape))
    if images.ndim != 4 or images.shape[1:] != shape or not len(images):
        raise InputError(f"the images have shape {images.shape}; the model takes [n, {wanted}]")
    if levels and images.dtype != np.uint8:
        raise InputError(f"the images are {images.dtype}; give uint8 with grey levels 0 to {levels - 1}")
    if levels and images.max() >= levels:
        raise InputError(f"an image has grey level {images.max()}; the model knows 0 to {levels - 1}")
    if levels:
        return images
    with np.errstate(over="ignore"):
        vectors = images.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise InputError("some vectors are not finite in float32; leave them out")
    return vectors


def to_context(context: Any) -> Context:
    """Returns what is given of each example.

    Raises:
      InputError: it is no context.
    """
    if not isinstance(context, Context):
        raise InputError(f"the context is {shown(context)}; give a pfgm_jax.Context")
    return context
