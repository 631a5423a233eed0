"""Data sets from a user's own arrays."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pfgm_jax.datasets.source import Request
from pfgm_jax.datasets.split import Dataset, Split, grey_range, hold_out, portions
from pfgm_jax.errors import InputError, listed
from pfgm_jax.folders import to_path
from pfgm_jax.reading import map_arrays

# The arrays of a file, by what they are; those of the test split end in "_test".
EXAMPLES, LABELS, CONDITIONS = "x", "label", "cond"
TEST = "_test"
_NAMES = tuple(name + of for of in ("", TEST) for name in (EXAMPLES, LABELS, CONDITIONS))


class ArrayRows:
    """Examples in an array that may be on the disk, which are converted when they are read.

    Attributes:
      shape: n, H, W, C.
      dtype: uint8, uint16, int16 or float32.
    """

    def __init__(self, array: np.ndarray):
        """Wraps an array: images [n, H, W] or [n, H, W, C], or vectors [n, N]."""
        self._array = array
        kind = array.dtype.newbyteorder("=")
        self.dtype = np.dtype(np.float32) if kind.kind == "f" else kind
        inner = array.shape[1:]
        self.shape = (len(array), 1, 1, *inner) if len(inner) == 1 else (len(array), *inner[:2], *(inner[2:] or (1,)))

    def __getitem__(self, numbers: slice | np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.asarray(self._array[numbers]).astype(self.dtype, copy=False).reshape(-1, *self.shape[1:])


class Examples(NamedTuple):
    """Examples of a file, and what is given of each."""

    x: ArrayRows
    labels: np.ndarray | None
    conditions: ArrayRows | None

    def split(self, numbers: np.ndarray | None = None) -> Split:
        """Creates the split of some of the examples; None for all."""
        labels = self.labels if self.labels is None or numbers is None else self.labels[numbers]
        return Split(self.x, labels, numbers, self.conditions)


def _read_file(path: Path, where: str) -> dict[str, np.ndarray]:
    try:
        content = map_arrays(path, f"{where}, which", "save it again")
    except FileNotFoundError:
        raise InputError(f"{where}, and there is no such file; give the path of a .npy or .npz file") from None
    if isinstance(content, np.ndarray):
        return {EXAMPLES: content}
    if EXAMPLES in content:
        if unknown := [name for name in content if name not in _NAMES]:
            raise InputError(
                f"{where}, which holds the arrays {listed(unknown)} besides; name arrays {', '.join(_NAMES)}"
            )
        return content
    if len(content) != 1:
        raise InputError(
            f"{where}, which holds the arrays {listed(content)}; save a file with exactly one, or name the examples "
            f"{EXAMPLES!r}, and what is given of each {LABELS!r} or {CONDITIONS!r}"
        )
    return {EXAMPLES: next(iter(content.values()))}


def read_examples(path: Path, where: str) -> Examples:
    """Reads the arrays of a .npy or .npz file: examples, and in a .npz file their labels and conditions.

    Args:
      path: of the file.
      where: says which field names it; begins the message.

    Raises:
      InputError: the file cannot be read, or does not hold such arrays.
    """
    return _examples(_read_file(path, where), where, "")


def _examples(content: dict[str, np.ndarray], where: str, of: str, least: int = 1) -> Examples:
    """Checks the arrays of a split.

    Args:
      content: of the file.
      where: begins the message.
      of: what the names of its arrays end in.
      least: number of examples that are needed.
    """
    x = _checked_images(content[EXAMPLES + of], _named(content, where, EXAMPLES + of), least)
    labels = conditions = None
    if LABELS + of in content:
        labels = _checked_labels(content[LABELS + of], _named(content, where, LABELS + of))
    if CONDITIONS + of in content:
        conditions = _checked_images(content[CONDITIONS + of], _named(content, where, CONDITIONS + of))
        if any(b < 1 or a % b for a, b in zip(x.shape[1:3], conditions.shape[1:3], strict=True)):
            raise InputError(
                f"{where}, whose {CONDITIONS + of} has images of {conditions.shape[1]} x {conditions.shape[2]} for "
                f"examples of {x.shape[1]} x {x.shape[2]}; give conditions whose sides divide those of the examples"
            )
    for name, rows in ((LABELS, labels), (CONDITIONS, conditions)):
        if rows is not None and rows.shape[0] != x.shape[0]:
            raise InputError(
                f"{where}, whose {name + of} has {rows.shape[0]} rows for {x.shape[0]} examples; give one for each"
            )
    return Examples(x, labels, conditions)


def _named(content: dict[str, np.ndarray], where: str, name: str) -> str:
    array = content[name]
    which = "array" if len(content) == 1 else f"array {name}"
    return f"{where}, whose {which} has dtype {array.dtype.name} and shape {array.shape}"


def _checked_images(array: np.ndarray, where: str, least: int = 1) -> ArrayRows:
    if array.size == 0 or array.ndim == 0 or len(array) < least:
        needed = "one example is" if least == 1 else "2 examples are"
        why = "" if least == 1 else ", one to train on and one to hold out"
        raise InputError(f"{where}; at least {needed} needed{why}")
    real = array.dtype.kind == "f"
    if not (
        array.ndim in (3, 4) and (real or array.dtype.newbyteorder("=") in (np.uint8, np.uint16, np.int16))
    ) and not (real and array.ndim == 2):
        raise InputError(
            f"{where}; give images [n, H, W, C] of uint8, uint16, int16 or real numbers, or real vectors [n, N]"
        )
    rows = ArrayRows(array)
    if real:
        bad = [
            first + np.flatnonzero(~np.isfinite(part).all(axis=(1, 2, 3)))
            for first, part in portions(rows.__getitem__, len(array))
        ]
        bad = np.concatenate(bad)
        if len(bad):
            raise InputError(
                f"{where}; {len(bad)} of its rows hold NaN, infinity or overflow float32, the first is row {bad[0]}"
            )
    return rows


def _checked_labels(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind in "iu" and array.ndim == 1:
        if array.size and not (array.min() >= -1 and array.max() < 2**31):
            raise InputError(f"{where}, from {array.min()} to {array.max()}; classes count from 0, and -1 is none")
        return array.astype(np.int32)
    if array.dtype.kind == "f" and array.ndim in (1, 2) and array.size:
        with np.errstate(over="ignore"):
            labels = array.astype(np.float32).reshape(len(array), -1)
        if not np.isfinite(labels).all():
            row = np.flatnonzero(~np.isfinite(labels).all(axis=1))[0]
            raise InputError(f"{where}; row {row} holds NaN, infinity or overflows float32: leave that example out")
        return labels
    raise InputError(f"{where}; give integer classes [n], or real numbers [n] or [n, L]")


def load(request: Request) -> Dataset:
    """Loads the arrays of a .npy or .npz file; see `read_examples`.

    A .npz file may have a test split of its own, in arrays x_test, label_test and cond_test. Otherwise every 20th
    example is held out. The grey levels of 16 bits are those from the lowest to the highest that the data have.

    Raises:
      InputError: the file cannot be read, or does not hold such arrays of at least 2 examples.
    """
    path = to_path(request.argument, "data.dataset")
    where = f"data.dataset names {path}"
    content = _read_file(path, where)
    parts = [_examples(content, where, "", least=1 if EXAMPLES + TEST in content else 2)]
    if EXAMPLES + TEST in content:
        parts.append(_examples(content, where, TEST))
        _check_alike(where, *parts)
        splits = [part.split() for part in parts]
    else:
        if given := [name for name in content if name.endswith(TEST)]:
            raise InputError(
                f"{where}, which holds {listed(given)} but no {EXAMPLES + TEST}; add it, or leave that out"
            )
        held_out = hold_out(parts[0].x.shape[0])
        splits = [parts[0].split(np.flatnonzero(which)) for which in (~held_out, held_out)]
    kind = parts[0].x.dtype
    if kind.itemsize == 1 or kind.kind == "f":
        return Dataset(splits[0], splits[1], 256 if kind == np.uint8 else 0)
    ranges = [grey_range(part.x.__getitem__, np.arange(part.x.shape[0])) for part in parts]
    lowest = min(low for _, low in ranges)
    return Dataset(splits[0], splits[1], max(low + levels for levels, low in ranges) - lowest, lowest)


def _check_alike(where: str, train: Examples, test: Examples) -> None:
    """Checks that both splits hold the same kinds of things."""
    told: dict[str, Any] = {
        EXAMPLES: [(part.x.dtype.name, part.x.shape[1:]) for part in (train, test)],
        LABELS: [None if p.labels is None else (p.labels.dtype.name, p.labels.shape[1:]) for p in (train, test)],
        CONDITIONS: [p.conditions and (p.conditions.dtype.name, p.conditions.shape[1:]) for p in (train, test)],
    }
    for name, (a, b) in told.items():
        if a != b:
            shown = lambda kind: "missing" if kind is None else f"{kind[0]} of shape {kind[1]} each"
            raise InputError(
                f"{where}, whose {name} is {shown(a)}, and {name + TEST} {shown(b)}; give both splits the same"
            )
