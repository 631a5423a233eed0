"""Arguments of the library's functions: checked where users call them, and converted to what the code works with."""

import math
from typing import Any

import numpy as np

from pfgm_jax import ranges
from pfgm_jax.context import Context
from pfgm_jax.datasets.scaling import Scaling
from pfgm_jax.datasets.split import enlarged
from pfgm_jax.errors import FieldError, InputError, shown


def to_integer(name: str, value: Any, least: int) -> int:
    """Returns an integer argument.

    Raises:
      FieldError: it is no integer, less than `least`, or too large for int32.
    """
    if not ranges.is_integer(value) or value < least:
        raise FieldError(name, value, f"give an integer of at least {least}, below 2^31")
    return int(value)


def to_number(name: str, value: Any) -> float:
    """Returns a number.

    Raises:
      FieldError: it is no finite number.
    """
    if not ranges.is_number(value) or not math.isfinite(value):
        raise FieldError(name, value, "give a number")
    return float(value)


def to_seed(value: Any) -> int:
    """Returns a seed.

    Raises:
      FieldError: it is no integer that uint32 holds.
    """
    if not ranges.is_seed(value):
        raise FieldError("seed", value, "give an integer of at least 0 and below 2^32")
    return int(value)


def to_hashable(value: Any) -> Any:
    """Returns an option with its arrays and lists as tuples, so that options can be compared."""
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        value = np.asarray(value).tolist()
    return tuple(map(to_hashable, value)) if isinstance(value, list | tuple) else value


def check_hashable(name: str, value: Any) -> None:
    """Checks that an option is one that can be compared with others.

    Raises:
      FieldError: it cannot, as a list or a dictionary.
    """
    try:
        hash(value)
    except TypeError:
        raise FieldError(name, value, "give text, a number, a tuple or an array of numbers") from None


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


def to_images(value: Any, shape: tuple[int, int, int], scaling: Scaling) -> np.ndarray:
    """Returns images of a model as integers [n, H, W, C], real images or vectors [n, 1, 1, N] as float32.

    Args:
      value: an array, or numbers in lists of equal lengths.
      shape: H, W, C of the model.
      scaling: of the model.

    Raises:
      InputError: they are not images of the model.
    """
    levels, lowest, kind = scaling.levels, scaling.lowest, scaling.stored_dtype
    images = to_array("the images", value)
    wanted = ", ".join(map(str, shape))
    if images.ndim != 4 or images.shape[1:] != shape or not len(images):
        raise InputError(f"the images have shape {images.shape}; the model takes [n, {wanted}]")
    highest = lowest + levels - 1
    if levels and images.dtype != np.uint8 and (kind == np.uint8 or images.dtype.kind not in "iu"):
        raise InputError(f"the images are {images.dtype}; give {kind} with grey levels {lowest} to {highest}")
    if levels and not lowest <= images.min() <= images.max() <= highest:
        beyond = images.min() if images.min() < lowest else images.max()
        raise InputError(f"an image has grey level {beyond}; the model knows {lowest} to {highest}")
    if levels:
        return images.astype(kind, copy=False)
    with np.errstate(over="ignore"):
        reals = images.astype(np.float32)
    if not np.isfinite(reals).all():
        what = "vectors" if shape[:2] == (1, 1) else "images"
        raise InputError(f"some {what} are not finite in float32; leave them out")
    return reals


def to_conditions(value: Any, shape: tuple[int, int, int], channels: int) -> np.ndarray:
    """Returns images that condition those of a model, with their pixels repeated to the size of these.

    Args:
      value: [n, h, w, channels], whose sides divide those of the model's images; or numbers in lists.
      shape: H, W, C of the model.
      channels: of its conditions.

    Raises:
      InputError: they are no such images.
    """
    images = to_array("the conditions", value)
    height, width, _ = shape
    fits = images.ndim == 4 and images.size and images.shape[3] == channels
    if not fits or height % images.shape[1] or width % images.shape[2]:
        raise InputError(
            f"the conditions have shape {images.shape}; the model takes [n, {height}, {width}, {channels}], or images "
            "whose sides divide these"
        )
    if not np.isfinite(images.astype(np.float32)).all():
        raise InputError("some conditions are not finite in float32; leave them out")
    return enlarged(images, height, width)


def to_labels(label: Any, num_classes: int, label_size: int, counts: tuple[int, ...] = ()) -> np.ndarray:
    """Returns labels as an array: classes, one or several; or numbers, [label_size] of one or [n, label_size].

    Args:
      label: a class or classes, -1 for none; or numbers, NaN for none.
      num_classes, label_size: one of them is 0.
      counts: training examples of each class; () if that is not known.

    Raises:
      FieldError: it is no such label; the field is 'label'.
    """
    values = to_array("the labels", label)
    if label_size:
        with np.errstate(over="ignore"):
            numbers = values.astype(np.float32)
        if label_size == 1 and numbers.ndim < 2:
            numbers = numbers[..., None]  # of single numbers
        missing = np.isnan(numbers).all(axis=-1, keepdims=True) if numbers.ndim in (1, 2) and numbers.size else False
        if numbers.ndim not in (1, 2) or numbers.shape[-1] != label_size or not (np.isfinite(numbers) | missing).all():
            some = "a finite number" if label_size == 1 else f"{label_size} finite numbers"
            raise FieldError("label", label, f"give {some} for each label, as the model has learned")
        return numbers
    whole = values.astype(np.int64) if np.isfinite(values).all() else None
    if whole is None or values.ndim > 1 or values.dtype.kind == "b" or not (whole == values).all() or not values.size:
        raise FieldError("label", label, "give one class, or a tuple with a class for each sample")
    if whole.min() < -1 or whole.max() >= num_classes:
        raise FieldError("label", label, f"the model knows classes 0 to {num_classes - 1}; -1 is none")
    unseen = sorted({int(c) for c in whole.ravel() if c >= 0 and counts and not counts[c]})
    if unseen:
        raise FieldError("label", label, f"no training example was of class {unseen[0]}: choose another")
    return whole.astype(np.int32)


def check_label_rows(labels: Any, num_classes: int, label_size: int, where: str) -> None:
    """Checks that labels of examples are of the kind that a network is shown.

    Args:
      labels: classes [n], or numbers [n, label_size].
      num_classes, label_size: of the network; one of them is 0.
      where: says whose labels they are; begins the message.

    Raises:
      InputError: they are of another kind.
    """
    rows = np.asarray(labels)
    if label_size:
        if rows.dtype.kind != "f" or rows.ndim != 2 or rows.shape[1] != label_size:
            kind = "classes" if rows.dtype.kind in "iu" else f"labels of shape {rows.shape[1:]}"
            raise InputError(f"{where} {kind}, but the network is shown {label_size} real numbers; choose such labels")
    elif rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise InputError(f"{where} no classes as labels, but the network is shown classes; choose integers as labels")
    elif rows.size and not -1 <= rows.min() <= rows.max() < num_classes:
        beyond = rows.min() if rows.min() < -1 else rows.max()
        raise InputError(
            f"{where} the class {beyond}, but the network knows 0 to {num_classes - 1}; leave such examples out"
        )


def to_context(context: Any) -> Context:
    """Returns what is given of each example.

    Raises:
      InputError: it is no context.
    """
    if not isinstance(context, Context):
        raise InputError(f"the context is {shown(context)}; give a pfgm_jax.Context")
    return context
