"""Pickles that would execute something, in every kind of file that could hold one."""

import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np

from tests.hostile import readers
from tests.hostile.case import Case
from tests.hostile.readers import harmless, watched


class Payload:
    """Executes something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def payloads(canary):
    """What a pickle can execute, by name; each leaves the canary."""
    code = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": Payload(os.system, f": > {canary}"),
        "eval": Payload(eval, code),
        "exec": Payload(exec, code),
        "touch": Payload(Path.touch, Path(canary)),
        "subprocess": Payload(subprocess.call, ["touch", str(canary)]),
        "import": Payload(__import__, "this"),
        "np.load": Payload(np.load, str(canary)),
    }


def _object_npy(payload) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([payload, 1], object), allow_pickle=True)
    return buffer.getvalue()


def _zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _structured_npy(payload) -> bytes:
    buffer = io.BytesIO()
    array = np.zeros(2, [("a", "f4"), ("b", object)])
    array["b"] = payload
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


# Files around a payload.
FORMS = {
    "bare, protocol 0": lambda p: pickle.dumps(p, 0),
    "bare, protocol 2": lambda p: pickle.dumps(p, 2),
    "bare, protocol 5": lambda p: pickle.dumps(p, 5),
    "array of objects": _object_npy,
    "records of objects": _structured_npy,
    "archive of objects": lambda p: _zipped({f"{n}.npy": _object_npy(p) for n in ("samples", "mu", "sigma", "bits")}),
    "pickles in an archive": lambda p: _zipped({f"{n}.npy": pickle.dumps(p) for n in ("samples", "mu", "sigma")}),
    "archive of torch": lambda p: _zipped({"archive/data.pkl": pickle.dumps({"model": p}, 2)}),
    "two archives of torch": lambda p: _zipped({"a/data.pkl": pickle.dumps(p), "b/data.pkl": pickle.dumps(p)}),
    "TorchScript": lambda p: _zipped({"a/data.pkl": pickle.dumps(p, 2), "a/code/__torch__.py": b"import os"}),
}


def _attempt(read, name, form, kind):
    def attempt(folder):
        with watched(folder) as inner:
            (inner / name).write_bytes(form(payloads(folder / "executed")[kind]))
            harmless(read, inner / name)

    return attempt


def _old_format(folder):
    """The older format of torch: five pickles, of which each could hold a payload."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, [])
    for place in range(5):
        with watched(folder / str(place)) as inner:
            payload = payloads(folder / str(place) / "executed")["os.system"]
            content = b"".join(pickle.dumps(payload if i == place else part, 2) for i, part in enumerate(parts))
            (inner / "x.pth").write_bytes(content)
            for _, read in readers.TORCH.values():
                harmless(read, inner / "x.pth")


def _names(names):
    def attempt(folder):
        with watched(folder) as inner:
            for name in names:
                content = f"c{name.replace(' ', chr(10))}\n(X\x01\x00\x00\x00atR.".encode()
                (inner / "x.pth").write_bytes(_zipped({"archive/data.pkl": content}))
                harmless(readers.TORCH["checkpoints"][1], inner / "x.pth")

    return attempt


# Names that look as if they were of checkpoints, and lead elsewhere.
NAMES = {
    "attributes of known functions": ["torch._utils _rebuild_tensor_v2.__globals__", "numpy dtype.__class__"],
    "known functions of other modules": ["os _rebuild_tensor_v2", "builtins OrderedDict", "collections eval"],
    "loaders of torch": ["torch load", "torch._utils load", "torch.serialization load", "torch hub.load"],
    "loaders of NumPy": ["numpy load", "numpy fromfile", "numpy.f2py compile", "numpy.testing runstring"],
    "imports": ["builtins __import__", "importlib import_module", "pkgutil resolve_name", "runpy run_path"],
    "getattr": ["builtins getattr", "operator attrgetter", "functools partial", "types FunctionType"],
}


def _pickled(program: bytes):
    def attempt(folder):
        with watched(folder) as inner:
            (inner / "x.pth").write_bytes(_zipped({"archive/data.pkl": program}))
            for _, read in readers.TORCH.values():
                harmless(read, inner / "x.pth")

    return attempt


# Programs that would fill the memory or the stack.
PROGRAMS = {
    "lists in lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "a dictionary that holds itself": b"\x80\x02}q\x00K\x01h\x00s.",
    "a list that doubles": b"\x80\x02](K\x01" + b"e]q\x00(h\x00h\x00" * 60 + b"e.",
    "marks without end": b"\x80\x02" + b"(" * 500_000 + b".",
    "an integer of a megabyte": b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x7f" * (1 << 20) + b".",
    "text of 4 GiB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of 2^63": b"\x80\x05\x8e" + b"\xff" * 8 + b"abc.",
    "a frame of 2^63": b"\x80\x05\x95" + b"\xff" * 8 + b"N.",
    "no end": b"\x80\x02" + b"N0" * 1000,
    "protocol 255": b"\x80\xffN.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent identifier": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "code points that are none": b"\x80\x02X\x03\x00\x00\x00\xed\xa0\x80.",
}


def cases() -> list[Case]:
    """All of them."""
    opened = {**readers.ARRAYS, **readers.TORCH}
    kinds = [*payloads("none")]
    tried = [(what, form) for form in FORMS for what in opened]
    made = []
    for i, (what, form) in enumerate(tried):
        kind = kinds[i % len(kinds)]
        made.append(
            Case(f"{form} with {kind}, read as {what}", _attempt(opened[what][1], opened[what][0], FORMS[form], kind))
        )
    made += [Case(f"pickle that asks for {what}", _names(names)) for what, names in NAMES.items()]
    made.append(Case("pickles in the older format of torch", _old_format))
    made += [Case(f"pickle of {what}", _pickled(program)) for what, program in PROGRAMS.items()]
    return made
