"""Reads files in the format of torch.save before torch 1.6, without executing anything in them.

The published Inception weights are such a file. It holds five pickles one after the other (a magic number, the version
of the format, the sizes of C types, the object, the names of its storages) and then the numbers of each storage, with
their count before them.
"""

import pickletools
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pfgm_jax.errors import InputError
from pfgm_jax.torch_file import LARGEST_PICKLE, _Machine, _plain, _RefusedError, _Storage, read_torch_file

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001


def read_any_torch_file(path: Path) -> Any:
    """The content of a file written by any torch.save; executes no code in it.

    Args:
      path: of the file.

    Returns:
      See `torch_file.read_torch_file`.

    Raises:
      InputError: there is no such file, it is damaged, or it asks for anything else than tensors, containers, text and
        numbers.
    """
    try:
        with path.open("rb") as file:
            if file.read(1) != b"\x80":  # with which a pickle begins
                return read_torch_file(path)
            file.seek(0)
            return _read(file, path.stat().st_size)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a file that torch.save wrote") from None
    except InputError:
        raise
    except _RefusedError as error:
        raise InputError(f"{path} is refused: {_plain(error)}; nothing in it was executed") from None
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(
            f"{path} cannot be read ({_plain(error)}); it should be a file that torch.save wrote: copy it anew"
        ) from None


def _read(file: BinaryIO, size: int) -> Any:
    run = lambda machine: machine.run(_pickle(file))
    if run(_LegacyMachine(0)) != _MAGIC_NUMBER or run(_LegacyMachine(0)) != _VERSION:
        raise ValueError("it is a pickle, but not one that torch.save wrote")
    if not run(_LegacyMachine(0))["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    machine = _LegacyMachine(size)
    content = run(machine)
    machine.fill(run(_LegacyMachine(0)), file)
    return content


def _pickle(file: BinaryIO) -> bytes:
    """The bytes of the pickle that begins here; leaves the file after them."""
    start = file.tell()
    for _ in pickletools.genops(file):
        if file.tell() - start > LARGEST_PICKLE:
            raise ValueError(f"it has a pickle of more than {LARGEST_PICKLE} bytes")
    length = file.tell() - start
    file.seek(start)
    return file.read(length)


class _LegacyMachine(_Machine):
    """Makes tensors of storages whose numbers come later in the file."""

    def __init__(self, most: int):
        """Takes the bytes that all storages together may have: no more than the file."""
        self._storages, self._stack, self._memo = {}, [], {}
        self._left = most

    def _storage(self, reference: tuple) -> _Storage:
        kind, dtype, key, _, count, view = reference
        if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str) or view is not None:
            raise _RefusedError("it refers to something that is not a tensor's storage")
        if key not in self._storages:
            if not isinstance(count, int) or not 0 <= count * dtype.itemsize <= self._left:
                raise ValueError(f"its tensor storage {key} cannot have {count} numbers")
            self._left -= count * dtype.itemsize
            self._storages[key] = _Storage(np.empty(count, dtype))
        return self._storages[key]

    def fill(self, keys: list[str], file: BinaryIO) -> None:
        """Reads the numbers of the storages, in the order of their keys."""
        if sorted(keys) != sorted(self._storages):
            raise ValueError("the storages that it lists are not those of its tensors")
        for key in keys:
            numbers = self._storages[key].numbers
            count = int.from_bytes(file.read(8), "little")
            content = file.read(numbers.nbytes)
            if count != numbers.size or len(content) != numbers.nbytes:
                raise ValueError(f"tensor storage {key} is cut off or has {count} numbers instead of {numbers.size}")
            numbers[:] = np.frombuffer(content, numbers.dtype)
