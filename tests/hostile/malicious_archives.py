"""Archives that would fill memory or disk, or write outside their folder; arrays and JSON of huge declared sizes."""

import contextlib
import io
import json
import struct
import tarfile
import zipfile
from typing import Any

from pfgm_jax.datasets import lsun, prepare
from pfgm_jax.datasets.cifar10 import CIFAR10
from pfgm_jax.errors import InputError
from tests.hostile import readers
from tests.hostile.case import Case, assert_refused
from tests.hostile.readers import harmless, watched


def npy(shape: Any, dtype: Any = "|u1", content=b"", fortran=False) -> bytes:
    """An array whose header says anything."""
    header = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive(parts: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return buffer.getvalue()


def named(array: bytes) -> bytes:
    """An archive in which every reader finds the array under the name that it looks for."""
    return archive({f"{name}.npy": array for name in ("samples", "mu", "sigma", "bits")})


def forged_size(whole: bytes, size: int) -> bytes:
    """An archive whose directory says that every part has another size."""
    content = bytearray(whole)
    for signature, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = content.find(signature)
        while place >= 0:
            content[place + at : place + at + 4] = struct.pack("<I", size)
            place = content.find(signature, place + 4)
    return bytes(content)


# Arrays whose headers lie, or cannot be.
ARRAYS = {
    "a terabyte": npy((10**12,)),
    "a terabyte of text": npy((1,), "<U250000000000"),
    "2^80 numbers": npy((2**40, 2**40)),
    "2^64 numbers of none": npy((2**63, 2, 0)),
    "a negative side": npy((-1, 5)),
    "two negative sides": npy((-2, -3)),
    "a side that is no integer": npy((2.5,)),
    "a side of 4000 digits": npy(f"({'9' * 4000},)"),
    "300 dimensions": npy((1,) * 300, content=b"\0"),
    "a type of records of a terabyte": npy((2,), [("a", "<f4", (10**6, 10**6))]),
    "a type of objects": npy((2,), "|O", bytes(16)),
    "a type that is none": npy((2,), "|Z9"),
    "a type that is code": npy((2,), "__import__('os').system('touch executed')"),
    "a shape that is code": npy("__import__('os').system('touch executed')"),
    "a header in parentheses": npy("(" * 3000),
    "a header of minus signs": npy("-" * 8000 + "1"),
    "a void of nothing": npy((10**9,), "|V0"),
    "dates": npy((2, 3), "<M8[s]", bytes(48)),
    "complex numbers": npy((2, 3), "<c16", bytes(96)),
    "longer than it says": npy((2, 3), "|u1", bytes(10**6)),
}


def _bomb(levels=1):
    content = named(npy((10**8,), "|u1", bytes(10**8)))
    for _ in range(levels - 1):
        content = archive({"samples.npy": content})
    return content


# Archives that expand, lie or lead outside.
ARCHIVES = {
    "100 MB of zeros": lambda: _bomb(),
    "an archive in an archive": lambda: _bomb(2),
    "a size of 4 GiB": lambda: forged_size(named(npy((2, 3), "|u1", bytes(6))), 2**32 - 2),
    "a size of 0": lambda: forged_size(named(npy((2, 3), "|u1", bytes(6))), 0),
    "less than is there": lambda: forged_size(named(npy((20, 30), "|u1", bytes(600))), 200),
    "20,000 parts": lambda: archive({f"{i}.npy": b"" for i in range(20_000)}),
    "parent folders": lambda: archive({f"{'../' * 9}tmp/outside.npy": npy((2,), "|u1", b"12")}),
    "an absolute name": lambda: archive({"/tmp/outside.npy": npy((2,), "|u1", b"12")}),
    "a name of Windows": lambda: archive({"C:\\outside.npy": npy((2,), "|u1", b"12")}),
    "a name that prints colours": lambda: archive({"\x1b[31mred.npy": b"", "\r\nerror: all is well.npy": b""}),
    "a name of 60,000 letters": lambda: archive({"a" * 60_000 + ".npy": b""}),
    "twice the same name": lambda: archive({"mu.npy": npy((1,), "|u1", b"1")}) * 2,
    "compressed as bzip2": lambda: archive({"samples.npy": npy((9,), "|u1", bytes(9))}, zipfile.ZIP_BZIP2),
    "compressed as LZMA": lambda: archive({"samples.npy": npy((9,), "|u1", bytes(9))}, zipfile.ZIP_LZMA),
    "nothing": lambda: archive({}),
    "a part of torch of 1 GB": lambda: archive({"archive/data.pkl": b"\x80\x02" + bytes(10**8)}),
}
# JSON that would fill the stack, the memory or an integer.
TEXTS = {
    "lists in lists": b"[" * 500_000,
    "groups in groups": b'{"data":' * 100_000,
    "an integer of a million digits": b"9" * 1_000_000,
    "an exponent": b'{"data": {"dataset": "x"}, "training": {"n_iters": 1e999999999}}',
    "100 MB": b'"' + b"a" * (100 << 20) + b'"',
    "names of Python": b'{"__class__": {"__init__": 1}, "data": {"__dict__": 3, "keys": 4}}',
    "a name with a dot": b'{"data": {"a.b": 1}, "training": {}, "sampling": {}, "model": {}, "optim": {}}',
    "another encoding": json.dumps({"data": 1}).encode("utf-16"),
    "NUL": b"\0" * 1000,
    "paths": json.dumps({g: {"dir": "../../.."} for g in ("data", "training", "sampling", "model", "optim")}).encode(),
}


def _attempt(read, name, content):
    def attempt(folder):
        with watched(folder) as inner:
            (inner / name).write_bytes(content() if callable(content) else content)
            harmless(read, inner / name)

    return attempt


def _member(name, kind=tarfile.REGTYPE, link="", size=0):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


FIRST = "cifar-10-batches-bin/data_batch_1.bin"
# Members of CIFAR-10's archive.
MEMBERS = {
    "a link to a password": [_member(FIRST, tarfile.SYMTYPE, "/etc/passwd")],
    "a link to parent folders": [_member(FIRST, tarfile.SYMTYPE, "../../../../etc/passwd")],
    "a hard link": [_member(FIRST, tarfile.LNKTYPE, "/etc/passwd")],
    "a link to itself": [_member(FIRST, tarfile.SYMTYPE, "data_batch_1.bin")],
    "a device": [_member(FIRST, tarfile.CHRTYPE)],
    "a pipe": [_member(FIRST, tarfile.FIFOTYPE)],
    "a folder": [_member(FIRST, tarfile.DIRTYPE)],
    "parent folders": [_member("../../outside", size=3), _member("/tmp/outside", size=3)],
    "1 GB of zeros": [_member(FIRST, size=1 << 30)],
}


class Zeros:
    """A file of zeros without end."""

    def read(self, length: int, /) -> bytes:
        return bytes(length)


def _tar(members, whole=True):
    def attempt(folder):
        with watched(folder) as inner:
            manual = inner / "downloads" / "manual"
            manual.mkdir(parents=True)
            with tarfile.open(manual / CIFAR10.files[0].name, "w:gz", compresslevel=1) as made:
                for member in members:
                    content: Any = Zeros() if whole else None
                    made.addfile(member, content)
            with contextlib.redirect_stderr(io.StringIO()):
                assert_refused(lambda: prepare.prepare("cifar10", inner), "cifar10")

    return attempt


def _zip_of_lsun(names):
    def attempt(folder):
        with watched(folder) as inner:
            path = inner / "bedroom_train_lmdb.zip"
            path.write_bytes(archive(dict.fromkeys(names, b"x" * 9)))
            harmless(lambda path: _lenient(lambda: lsun._extract(path)), path)

    return attempt


def _lenient(act):
    try:
        act()
    except OSError as error:  # the preparation makes a sentence of it
        raise InputError("the archive lacks its folder") from error


def cases() -> list[Case]:
    """All of them."""
    made = []
    for i, (name, content) in enumerate(ARRAYS.items()):
        whats = [*readers.ARRAYS]
        for what in (whats[0], whats[1 + i % (len(whats) - 1)]):
            file, read = readers.ARRAYS[what]
            whole = content if what in ("arrays:", "--samples") else named(content)
            made.append(Case(f"{name}, read as {what}", _attempt(read, file, whole)))
    opened = [*readers.ARRAYS.items(), *readers.TORCH.items()]
    for i, (name, content) in enumerate(ARCHIVES.items()):
        for what, (file, read) in (opened[i % len(opened)], opened[(i + 3) % len(opened)]):
            made.append(Case(f"archive of {name}, read as {what}", _attempt(read, file, content)))
    for name, content in TEXTS.items():
        for what, (file, read) in readers.JSON.items():
            made.append(Case(f"{name}, read as {what}", _attempt(read, file, content)))
    made += [Case(f"CIFAR-10 with {name}", _tar(members)) for name, members in MEMBERS.items()]
    made.append(Case("CIFAR-10 with a part cut off", _tar([_member(FIRST, size=3073 * 5)], whole=False)))
    outside = (
        ["../outside", "bedroom_train_lmdb/../../outside"],
        ["/tmp/outside"],
        [f"bedroom_train_lmdb/{'../' * 40}tmp/outside"],
    )
    made += [Case(f"LSUN with {names[0][:30]}", _zip_of_lsun(names)) for names in outside]
    return made
