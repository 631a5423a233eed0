"""Long computations whose results are saved piece by piece, so that an interrupted one goes on where it stopped."""

import contextlib
import io
import logging
import math
import tempfile
import time
from collections.abc import Callable

import numpy as np

from pfgm_jax import sharding
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, is_local, write_whole
from pfgm_jax.interruption import saving
from pfgm_jax.locks import only_writer
from pfgm_jax.progress import progress_bar
from pfgm_jax.reading import read_arrays

log = logging.getLogger("pfgm_jax")

Rows = dict[str, np.ndarray]
# Bytes of rows from which on they are left on the disk.
LARGE = 1 << 28
# What a piece holds besides its rows.
_OF_PIECES = {"first", "seconds"}
_CURE = "its rows are computed again"


def rows_in_pieces(folder: Folder, total: int, size: int, compute: Callable[[int], Rows], unit: str) -> Rows:
    """Computes rows and saves them piece by piece; reads the pieces that are there already, of whatever lengths.

    All processes must call it; process 0 writes, and shows a progress bar.

    Args:
      folder: folder for one file per piece, of nothing but these rows.
      total: number of rows.
      size: number of rows per piece.
      compute: number of a piece's first row -> arrays of `size` rows; rows beyond `total` are ignored.
      unit: what a row is, as "image".

    Returns:
      Arrays of `total` rows, and of the pieces that they come from the seconds [pieces] and lengths [pieces]. Arrays of
      `LARGE` bytes or more are mapped from a file without a name, which is gone with them.

    Raises:
      WorkdirInUseError: another process is computing them.
      InputError: a folder is in the place of a piece.
    """
    pieces = _Pieces(folder)
    with contextlib.ExitStack() as stack:
        sharding.on_first_process(lambda: stack.enter_context(only_writer(folder)))
        found = sharding.on_first_process(lambda: _count_rows(folder, total))
        done = int(sharding.first_text("" if found is None else str(found)))
        while pieces.rows < done:
            pieces.append(_read_piece(folder, pieces.rows))
        stack.enter_context(saving(lambda: f"{pieces.rows:,} of {total:,} {unit}s are saved in {folder}"))
        bar = stack.enter_context(progress_bar(total, unit, min(pieces.rows, total)))
        while (first := pieces.rows) < total:
            start = time.perf_counter()
            piece = {name: rows[: total - first] for name, rows in compute(first).items()}
            piece |= {"first": np.array(first), "seconds": np.array(time.perf_counter() - start)}
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **piece)
            sharding.on_first_process(lambda f=first, b=buffer: write_whole(_piece(folder, f), b.getvalue()))
            pieces.append(piece)
            bar.update(_length(piece))
    return pieces.together(total)


class _Pieces:
    """Pieces that are on the disk, and in memory too as long as they are small."""

    def __init__(self, folder: Folder):
        self._folder = folder
        self._held: list[Rows | None] = []
        self._lengths: list[int] = []
        self._seconds: list[float] = []
        self._bytes = 0

    @property
    def rows(self) -> int:
        """Returns the number of rows of all pieces."""
        return sum(self._lengths)

    def append(self, piece: Rows) -> None:
        """Adds the next piece."""
        self._lengths.append(_length(piece))
        self._seconds.append(float(piece["seconds"]))
        self._held.append(piece)
        self._bytes += sum(rows.nbytes for rows in piece.values())
        if self._bytes >= LARGE:
            self._held = [None] * len(self._held)

    def together(self, total: int) -> Rows:
        """Returns the first `total` rows; see `rows_in_pieces`."""
        found: Rows = {}
        first = 0
        for piece, length in zip(self._held, self._lengths, strict=True):
            piece = _read_piece(self._folder, first) if piece is None else piece
            for name in piece.keys() - _OF_PIECES:
                rows = piece[name][: total - first]
                if name not in found:
                    found[name] = self._empty((total, *rows.shape[1:]), rows.dtype)
                found[name][first : first + len(rows)] = rows
            first += length
        return {**found, "seconds": np.array(self._seconds), "lengths": np.array(self._lengths)}

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if math.prod(shape) * dtype.itemsize < LARGE:
            return np.empty(shape, dtype)
        # Beside the pieces, where there is room for as much, and not in a /tmp that is in memory.
        with tempfile.TemporaryFile(dir=self._folder if is_local(self._folder) else None) as file:
            return np.memmap(file, dtype, "w+", shape=shape)


def _piece(folder: Folder, first: int) -> Folder:
    return folder / f"{first:08}.npz"


def _read_piece(folder: Folder, first: int) -> Rows:
    path = _piece(folder, first)
    content = read_arrays(path, str(path), _CURE)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a single array; {_CURE}")
    return content


def _length(piece: Rows) -> int:
    return next(len(rows) for name, rows in piece.items() if name not in _OF_PIECES)


def _count_rows(folder: Folder, total: int) -> int:
    """Counts the rows of the pieces up to the first one that is missing or damaged, or to `total`."""
    for path in folder.glob("*.npz"):
        if path.is_dir():
            raise InputError(f"{path} is a folder, where a file is kept; move it to another place")
    first = 0
    while first < total and _piece(folder, first).exists():
        try:
            piece = _read_piece(folder, first)
            length = _length(piece) if bool(piece["first"] == first) else 0
        except InputError as error:
            log.warning("%s", error)
            break
        except Exception:  # arrays of other names or shapes than a piece's can fail in any way
            length = 0
        if not length:
            log.warning("%s does not hold rows from number %d on; %s", _piece(folder, first), first, _CURE)
            break
        first += length
    return first
