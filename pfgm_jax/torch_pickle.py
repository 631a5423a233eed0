"""The pickles in files of torch.save, run without executing anything in them.

A pickle is a program for a small machine that may call any function; these run on a machine of our own, which builds
containers, numbers, text and tensors and has no other instructions.
"""

import dataclasses
import math
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

_STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class RefusedError(Exception):
    """The pickle asks for something that no checkpoint needs."""


class DamageError(Exception):
    """The pickle, or the file around it, is not as torch writes it."""


@dataclasses.dataclass(frozen=True)
class _Function:
    """A name that the pickle may ask for, and what the machine does in its place."""

    call: Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Storage:
    """The numbers of a tensor."""

    numbers: np.ndarray


_MARK = object()


class Machine:
    """Runs the instructions that the pickles of checkpoints are made of."""

    def __init__(self, storage: Callable[[Any], Storage]):
        """Creates a machine.

        Args:
          storage: finds the storage that a persistent identifier stands for.
        """
        self._storage = storage
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """Runs a program and returns the value that it leaves.

        Raises:
          RefusedError: it has instructions or names that no checkpoint needs.
          Exception: of any kind, it is damaged.
        """
        for instruction, argument, _ in pickletools.genops(program):
            if instruction.name == "STOP":
                return self._stack.pop()
            if not (self._push(instruction.name, argument) or self._combine(instruction.name)):
                raise RefusedError(f"its instruction {instruction.name} is one that no checkpoint needs")
        raise DamageError("its pickle does not end")

    def _push(self, instruction: str, argument: Any) -> bool:
        """Carries out an instruction that pushes a value or keeps one; returns whether it is such."""
        stack, memo = self._stack, self._memo
        match instruction:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(instruction == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES":
                stack.append(argument)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_look_up(*argument.split(" ", 1)))
            case _:
                return False
        return True

    def _combine(self, instruction: str) -> bool:
        """Carries out an instruction that takes values from the stack; returns whether it is such."""
        stack = self._stack
        match instruction:
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(instruction[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "APPEND":
                item = stack.pop()
                self._top(list).append(item)
            case "APPENDS":
                items = self._pop_to_mark()
                self._top(list).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_look_up(module, name))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                if not isinstance(function, _Function) or not isinstance(arguments, tuple):
                    raise RefusedError("it calls something that is not a function of checkpoints")
                stack.append(function.call(*arguments))
            case "BUILD":
                stack.pop()  # what torch hangs on dictionaries, and NumPy on types, is of no use here
                if not isinstance(stack[-1], dict | np.dtype):
                    raise RefusedError("it changes something that is not a dictionary")
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case _:
                return False
        return True

    def _pop_to_mark(self) -> list[Any]:
        at = next(i for i in range(len(self._stack) - 1, -1, -1) if self._stack[i] is _MARK)
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise DamageError(f"its pickle takes something for a {kind.__name__} that is none")
        return self._stack[-1]

    def _set_items(self, items: list[Any]) -> None:
        keys = items[::2]
        # Keys of other kinds are hashed by code that a forged file could overwhelm.
        if not all(isinstance(key, str | int) for key in keys):
            raise RefusedError("it has dictionaries whose keys are neither text nor integers")
        self._top(dict).update(zip(keys, items[1::2], strict=True))


def _look_up(module: Any, name: Any) -> Any:
    if not isinstance(module, str) or not isinstance(name, str):
        raise RefusedError("it asks for something that is not a name")
    if module == "torch" and name in _STORAGE_DTYPES:
        return np.dtype(_STORAGE_DTYPES[name])
    if (module, name) in _KNOWN:
        return _Function(_KNOWN[module, name])
    raise RefusedError(f"it asks for {module}.{name}, which no checkpoint needs")


def _rebuild_tensor(storage: Storage, offset: int, shape: tuple, stride: tuple, *_: Any) -> np.ndarray:
    numbers = storage.numbers
    if not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *stride)):
        raise DamageError("a tensor's shape is not made of integers")
    size = math.prod(shape)
    reach = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1 if size else 0
    # No tensor of a checkpoint is larger than what is stored of it.
    if max(reach, size) > numbers.size:
        raise DamageError(f"a tensor of shape {shape} reaches beyond its storage")
    strides = [s * numbers.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides, writeable=False)


def _dtype(code: str, *_: Any) -> np.dtype:
    if not re.fullmatch(r"[fiu][248]|[iu]1|b1", code):
        raise RefusedError(f"it holds a NumPy scalar of the type {code!r}, which is not a number")
    return np.dtype(code).newbyteorder("<")


def _scalar(dtype: np.dtype, content: bytes) -> Any:
    if not isinstance(dtype, np.dtype) or not isinstance(content, bytes):
        raise RefusedError("it holds a NumPy scalar that is not a number")
    return np.frombuffer(content, dtype, count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise RefusedError(f"it holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _ordered_dict(items: tuple | list = ()) -> dict:
    if items:
        raise RefusedError("it makes dictionaries in a way that no checkpoint needs")
    return {}


def _parameter(data: np.ndarray, *_: Any) -> np.ndarray:
    return data


_KNOWN = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
