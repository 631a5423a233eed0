"""Reads files written by torch.save, without torch and without executing anything in them.

Since torch 1.6 such a file is a zip archive of a pickle and raw tensors. The older format, which the published
Inception weights still have, is a sequence of five pickles (a magic number, the version of the format, the sizes of C
types, the object, the names of its storages) followed by the values of each storage, preceded by their count.
"""

import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pfgm_jax.errors import InputError
from pfgm_jax.reading import reason
from pfgm_jax.torch_pickle import DamageError, Machine, RefusedError, Storage

# A checkpoint's pickle holds only names and shapes; its tensors are stored separately.
LARGEST_PICKLE = 1 << 26

_OLD_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_OLD_VERSION = 1001


def read_torch_file(path: Path) -> Any:
    """Reads a file written by torch.save, with tensors as NumPy arrays, without executing code in it.

    Args:
      path: path of a file written by any version of torch.

    Returns:
      Dictionaries, lists, tuples, arrays, numbers and text, as they were saved.

    Raises:
      InputError: there is no such file, it has another format or is damaged, or it contains anything but tensors,
        containers, text and numbers.
    """
    try:
        if path.exists() and not path.is_file():
            raise DamageError("it is not a regular file")
        with path.open("rb") as file:
            old = file.read(1) == b"\x80"  # the first byte of a pickle
            file.seek(0)
            return _read_old(file, path.stat().st_size) if old else _read_archive(file)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a file that torch.save wrote") from None
    except RefusedError as error:
        raise InputError(f"{path} is refused: {_plain(error)}; nothing in it was executed") from None
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(
            f"{path} cannot be read ({_plain(error)}); it should be a file that torch.save wrote: copy it again"
        ) from None


def _plain(error: Exception) -> str:
    """Returns an error's message as one printable line, because it may contain text from the file."""
    ours = isinstance(error, RefusedError | DamageError)
    text = str(error) if ours else reason(error)
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def _read_archive(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise DamageError("it is a zip archive, but not one that torch.save wrote")
        prefix = pickles[0].removesuffix("data.pkl")
        if f"{prefix}byteorder" in archive.namelist() and _part(archive, f"{prefix}byteorder", 16) != b"little":
            raise DamageError("it was written on a big-endian machine")
        storages: dict[str, Storage] = {}

        def storage(reference: Any) -> Storage:
            kind, dtype, key, _, count = reference
            _check_reference(kind, dtype, key)
            if key not in storages:
                size = count * dtype.itemsize
                content = _part(archive, f"{prefix}data/{key}", size)
                if len(content) != size:
                    raise DamageError(f"tensor storage {key} has {len(content)} bytes instead of {size}")
                storages[key] = Storage(np.frombuffer(content, dtype))
            return storages[key]

        return Machine(storage).run(_part(archive, pickles[0], LARGEST_PICKLE))


def _part(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
        # Torch does not compress. A forged file could use compression to fill the memory.
        raise DamageError(f"its part {name} is compressed or larger than {most} bytes")
    return archive.read(entry)


def _read_old(file: BinaryIO, size: int) -> Any:
    storages: dict[str, Storage] = {}
    left = size  # all storages together cannot have more bytes than the file

    def storage(reference: Any) -> Storage:
        nonlocal left
        kind, dtype, key, _, count, view = reference
        _check_reference(kind, dtype, key)
        if view is not None:
            raise RefusedError("it has a tensor's storage within another one")
        if key not in storages:
            if not isinstance(count, int) or not 0 <= count * dtype.itemsize <= left:
                raise DamageError(f"its tensor storage {key} cannot have {count} numbers")
            left -= count * dtype.itemsize
            storages[key] = Storage(np.empty(count, dtype))
        return storages[key]

    def none(_: Any) -> Storage:
        raise RefusedError("it has tensors where only numbers and names belong")

    run = lambda find: Machine(find).run(_next_pickle(file))
    if run(none) != _OLD_MAGIC_NUMBER or run(none) != _OLD_VERSION:
        raise DamageError("it is a pickle, but not one that torch.save wrote")
    if not run(none)["little_endian"]:
        raise DamageError("it was written on a big-endian machine")
    content = run(storage)
    keys = run(none)
    if sorted(keys) != sorted(storages):
        raise DamageError("the storages that it lists are not those of its tensors")
    for key in keys:
        numbers = storages[key].numbers
        count = int.from_bytes(file.read(8), "little")
        stored = file.read(numbers.nbytes)
        if count != numbers.size or len(stored) != numbers.nbytes:
            raise DamageError(f"tensor storage {key} is cut off or has {count} numbers instead of {numbers.size}")
        numbers[:] = np.frombuffer(stored, numbers.dtype)
    return content


def _next_pickle(file: BinaryIO) -> bytes:
    """Reads the bytes of the pickle that begins at the file's position, and moves the position past them."""
    start = file.tell()
    for _ in pickletools.genops(file):
        if file.tell() - start > LARGEST_PICKLE:
            raise DamageError(f"it has a pickle of more than {LARGEST_PICKLE} bytes")
    length = file.tell() - start
    file.seek(start)
    return file.read(length)


def _check_reference(kind: Any, dtype: Any, key: Any) -> None:
    if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str):
        raise RefusedError("it refers to something that is not a tensor's storage")
