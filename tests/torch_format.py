"""Writes files as torch.save does, without torch."""

import collections
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "i8": "LongStorage"}


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks its reader to import."""

    module: str
    name: str

    def __call__(self):
        raise NotImplementedError


@dataclass(frozen=True)
class Storage:
    key: str
    array: np.ndarray


_PythonPickler: Any = getattr(pickle, "_Pickler")  # noqa: B009  (unknown to type checkers)


class Pickler(_PythonPickler):
    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages = {}

    def reducer_override(self, obj):
        if isinstance(obj, Global):
            return obj.name
        if isinstance(obj, np.ndarray):
            storage = Storage(str(len(self.storages)), obj)
            self.storages[storage.key] = storage
            strides = tuple(s // obj.itemsize for s in np.empty(obj.shape, obj.dtype).strides)
            rebuild = Global("torch._utils", "_rebuild_tensor_v2")
            return rebuild, (storage, 0, obj.shape, strides, False, collections.OrderedDict())
        return NotImplemented

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        return "storage", Global("torch", STORAGES[obj.array.dtype.str[1:]]), obj.key, "cpu", obj.array.size

    def save_global(self, obj, name=None):
        if not isinstance(obj, Global):
            return super().save_global(obj, name)
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)
        return None


def write(path: Path, content) -> Path:
    """Writes an archive with the layout of torch.save; content is made of containers, numbers and NumPy arrays."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("archive/data.pkl", "w") as file:
            pickler = Pickler(file)
            pickler.dump(content)
        for storage in pickler.storages.values():
            archive.writestr(f"archive/data/{storage.key}", np.ascontiguousarray(storage.array).tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def checkpoint(tensors: dict[str, np.ndarray], step: int = 7, order: list[str] | None = None) -> dict:
    """A checkpoint of the authors' release, whose moving averages are half the tensors.

    Args:
      tensors: of the network.
      step: that it says.
      order: the names of the trained tensors, in which the averages come; by default that of `tensors`.
    """
    trained = [name for name in tensors if not name.endswith((".W", "sigmas")) or "NIN" in name]
    shadow = [tensors[name] / 2 for name in order or trained]
    ema = {"decay": 0.999, "num_updates": step, "shadow_params": shadow}
    return {"optimizer": {"state": {}, "param_groups": []}, "model": tensors, "ema": ema, "step": step}
