"""Reads files that anybody may have written: JSON, and arrays of .npy and .npz files.

Whatever a file holds, nothing in it is executed, no more memory is taken than the file's size or the machine justifies,
and the only error is an `InputError`.
"""

import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder

# Bytes of JSON that are read; what a run writes is far smaller.
LARGEST_JSON = 1 << 26
# Share of the machine's memory that the arrays of a file may fill.
MEMORY_SHARE = 0.5
# Bytes of a file from which on its arrays are left on the disk, where they can be.
MAPPED = 1 << 28


class _DamageError(Exception):
    """Says what is wrong with a file, in words for its user."""


def read_json(path: Folder, cure: str) -> Any:
    """Reads a JSON file.

    Args:
      path: of the file.
      cure: what to do about a damaged one, as the rest of a sentence.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: it cannot be read, or is not JSON.
    """
    try:
        _check_file(path)
        with path.open("rb") as file:
            content = file.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise _DamageError(f"it has more than {LARGEST_JSON} bytes")
        return parse_json(content)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except Exception as error:
        raise InputError(f"{path} is damaged ({reason(error)}); {cure}") from None


def parse_json(content: bytes) -> Any:
    """Parses JSON.

    Raises:
      InputError: it is not JSON.
    """
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError:
        raise InputError("it is not UTF-8") from None
    except (ValueError, RecursionError, MemoryError):  # integers may be too long, and nesting too deep
        raise InputError("it is not JSON") from None


def parse_line(line: bytes) -> dict[str, Any]:
    """Parses a line that should be a JSON object, such as those of metrics.jsonl; {} if it is none or was cut off."""
    try:
        found = parse_json(line)
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def read_arrays(path: Folder, what: str, cure: str) -> np.ndarray | dict[str, np.ndarray]:
    """Reads a .npy or .npz file, whatever its name is.

    Args:
      path: of the file.
      what: what it is to the user, such as "data.dataset names x.npy, which"; begins the message.
      cure: what to do about a damaged one, as the rest of a sentence.

    Returns:
      The array of a .npy file, or the arrays of a .npz file by name.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: it is damaged, of another format, or holds anything but numbers and text.
    """
    try:
        _check_file(path)
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start[:2] == b"PK":
                return _read_archive(file)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return _read_array(file, size)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"{what} cannot be read as .npy or .npz ({reason(error)}); {cure}") from None


def map_arrays(path: Path, what: str, cure: str) -> np.ndarray | dict[str, np.ndarray]:
    """Reads a .npy or .npz file like `read_arrays`, but leaves large arrays on the disk until they are indexed.

    Of a .npz file these are the arrays that are not compressed. Their checksums are not compared.
    """
    try:
        _check_file(path)
        if path.stat().st_size < MAPPED:
            return read_arrays(path, what, cure)
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return _map_array(path, file, 0, path.stat().st_size)
            arrays = {}
            with zipfile.ZipFile(file) as archive:
                for member in _members(archive):
                    name = member.filename.removesuffix(".npy")
                    if member.compress_type == zipfile.ZIP_STORED:
                        arrays[name] = _map_array(path, file, _start_of(member, file), member.file_size)
                    else:
                        arrays[name] = _read_member(archive, member)
            return arrays
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except InputError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"{what} cannot be read as .npy or .npz ({reason(error)}); {cure}") from None


def array_names(path: Path, what: str, cure: str) -> list[str]:
    """Lists the names of the arrays of a .npz file; see `read_arrays`."""
    try:
        _check_file(path)
        with zipfile.ZipFile(path) as archive:
            return [member.filename.removesuffix(".npy") for member in _members(archive)]
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except Exception as error:
        raise InputError(f"{what} cannot be read as .npz ({reason(error)}); {cure}") from None


def reason(error: Exception) -> str:
    """Says in words for the user why a file cannot be read: those of the operating system and of this project alone."""
    if isinstance(error, InputError | _DamageError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, zipfile.BadZipFile):
        return "a checksum in it is wrong" if "CRC" in str(error) else "it is not a whole zip archive"
    if isinstance(error, MemoryError):
        return "it does not fit in memory"
    return "its content is damaged or of another format"


def _check_file(path: Folder) -> None:
    """Raises an error unless a path is of a regular file; others may have no end, or wait for a writer."""
    if path.exists() and not path.is_file():
        raise _DamageError("it is a folder" if path.is_dir() else "it is not a regular file")


def _read_archive(file: Any) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive)
        _check_memory(sum(member.file_size for member in members))
        return {member.filename.removesuffix(".npy"): _read_member(archive, member) for member in members}


def _check_memory(size: int) -> None:
    if size > MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise _DamageError("its arrays are larger than the memory")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    _check_memory(member.file_size)
    with archive.open(member) as part:
        array = _read_array(part, member.file_size)
        if part.read(1):  # the checksum is compared at the end
            raise _DamageError("an array is longer than its header says")
        return array


def _start_of(member: zipfile.ZipInfo, file: Any) -> int:
    """Returns where the content of a member begins: behind its local header, whose last two parts vary in length."""
    file.seek(member.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise _DamageError("it is not a whole zip archive")
    return member.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _map_array(path: Path, file: Any, start: int, size: int) -> np.ndarray:
    file.seek(start)
    shape, fortran, dtype = _read_header(file, start + size)
    order = "F" if fortran else "C"
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", file.tell(), shape, order)


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    if not all(member.filename.endswith(".npy") for member in members):
        _refuse("it is a zip archive, but not one of arrays")
    return members


def _read_array(file: Any, size: int) -> np.ndarray:
    """Reads an array in .npy format from a file of so many bytes."""
    shape, fortran, dtype = _read_header(file, size)
    length = math.prod(shape) * dtype.itemsize
    content = np.empty(length, np.uint8)
    view, done = content.data, 0
    while done < length:
        more = file.readinto(view[done:])
        if not more:
            _refuse("it is cut off")
        done += more
    return np.ndarray(shape, dtype, content, order="F" if fortran else "C")


def _read_header(file: Any, end: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the shape, order and type of an array in .npy format whose file ends at a place."""
    lib = np.lib.format
    readers = {(1, 0): lib.read_array_header_1_0, (2, 0): lib.read_array_header_2_0}
    try:
        header = readers[lib.read_magic(file)](file)
    except Exception:
        _refuse("it does not begin as such a file does")
    shape, fortran, dtype = header
    if dtype.hasobject:
        _refuse("it holds Python objects, which could execute code")
    # Python's integers do not overflow.
    length = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or max(shape, default=0) >= 2**62 or length > end - file.tell():
        _refuse("it is cut off: its header announces more than it holds")
    return shape, fortran, dtype


def _refuse(text: str) -> NoReturn:
    raise _DamageError(text)
