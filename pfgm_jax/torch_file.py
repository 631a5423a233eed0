"""Reads files written by torch.save, without torch and without executing anything in them.

Such a file is a zip archive of a pickle and raw tensors. A pickle is a program; ours is run by an interpreter that
knows tensors, dictionaries, lists and numbers, and refuses everything else.
"""

import collections
import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pfgm_jax.errors import InputError

_STORAGE_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


def read_torch_file(path: Path) -> Any:
    """The content of a file written by torch.save, with tensors as NumPy arrays; executes no code in it.

    Args:
      path: of a file in the zip format, which torch 1.6 and later write.

    Returns:
      Dictionaries, lists, tuples, arrays, numbers and text, as they were saved.

    Raises:
      InputError: there is no such file, it is of another format or damaged, or it asks for anything else than tensors,
        containers, text and numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if len(pickles) != 1:
                raise pickle.UnpicklingError("it is a zip archive, but not one that torch.save wrote")
            prefix = pickles[0].removesuffix("data.pkl")
            if f"{prefix}byteorder" in archive.namelist() and archive.read(f"{prefix}byteorder") != b"little":
                raise pickle.UnpicklingError("it was written on a big-endian machine")
            with archive.open(pickles[0]) as file:
                return _Unpickler(file, archive, prefix).load()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a checkpoint") from None
    except _Refused as error:
        raise InputError(f"{path} is refused: {error}; nothing in it was executed") from None
    except Exception as error:  # a damaged file can fail in any way
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{path} cannot be read ({reason}); it should be a file in the zip format of torch.save, torch 1.6 or "
            "later: copy it anew"
        ) from None


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that no checkpoint needs."""


class _Unpickler(pickle.Unpickler):
    """Knows what a checkpoint is made of, and nothing else."""

    def __init__(self, file, archive: zipfile.ZipFile, prefix: str):
        super().__init__(file)
        self._archive, self._prefix = archive, prefix

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise _Refused(f"it asks for {module}.{name}, which no checkpoint needs")

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise _Refused(f"it refers to a {kind!r}, which no checkpoint needs")
        entry = self._archive.getinfo(f"{self._prefix}data/{key}")
        if entry.file_size != count * dtype.itemsize:
            raise pickle.UnpicklingError(
                f"tensor storage {key} has {entry.file_size} bytes instead of {count * dtype.itemsize}"
            )
        return np.frombuffer(self._archive.read(entry), dtype)


def _rebuild_tensor(storage: np.ndarray, offset: int, shape: tuple, stride: tuple, *_: Any) -> np.ndarray:
    size = math.prod(shape)
    reach = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1 if size else 0
    # A checkpoint has no tensor that is larger than what is stored of it; a forged one could fill the memory so.
    if min((offset, *shape, *stride)) < 0 or max(reach, size) > len(storage):
        raise pickle.UnpicklingError(f"a tensor of shape {shape} reaches beyond its storage")
    strides = [s * storage.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides).copy()


class _NumpyDtype:
    """Stands for numpy.dtype in the pickle: knows numbers, and ignores its state."""

    def __init__(self, code: str, *_: Any):
        if not re.fullmatch(r"[fiu][248]|[iu]1|b1", code):
            raise _Refused(f"it holds a NumPy scalar of the type {code!r}, which is not a number")
        self.dtype = np.dtype(code).newbyteorder("<")

    def __setstate__(self, _: Any) -> None:
        pass


def _numpy_scalar(dtype: _NumpyDtype, content: bytes) -> Any:
    return np.frombuffer(content, dtype.dtype, count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"it holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _ordered_dict(*items: Any) -> dict:
    return collections.OrderedDict(*items)


_KNOWN = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
    ("numpy", "dtype"): _NumpyDtype,
    ("_codecs", "encode"): _encode,
}
