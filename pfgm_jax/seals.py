"""Checksums of a checkpoint: of its arrays, which it holds itself, and of its files, which are in a seal beside it.

Neither file systems nor orbax notice when stored data have changed. A seal has a checksum of itself, so that its own
damage is not taken for the checkpoint's.
"""

import json
import zlib
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.reading import read_json

ENDING = ".sums.json"


class Verdict(NamedTuple):
    """What a seal says of a checkpoint.

    Attributes:
      whole: whether all files are proven to be as they were saved.
      damage: describes the first file that is not; "" if there is none, or if the seal proves nothing.
    """

    whole: bool
    damage: str


def seal_of(directory: Folder, step: int) -> Folder:
    """Returns the file with the seal of a step's checkpoint."""
    return directory / f"{step}{ENDING}"


def write_missing(directory: Folder, steps: list[int]) -> None:
    """Writes the seals of checkpoints that have none, and deletes those of checkpoints that are gone."""
    for seal in directory.glob(f"*{ENDING}"):
        if seal.name.removesuffix(ENDING) not in map(str, steps) and not seal.is_dir():
            seal.unlink(missing_ok=True)
    for step in steps:
        seal = seal_of(directory, step)
        if not seal.exists():
            files = _file_sums(directory / str(step))
            write_whole(seal, json.dumps({"files": files, "sum": _sum_of(files)}).encode())


def remove(directory: Folder, step: int) -> None:
    """Deletes the seal of a step."""
    seal = seal_of(directory, step)
    if seal.is_file():
        seal.unlink()


def verdict(directory: Folder, step: int) -> Verdict:
    """Compares the files of a checkpoint with its seal."""
    folder = directory / str(step)
    if not (folder / "state").is_dir():
        return Verdict(False, "its folder state is missing")
    sums, proven = _read(seal_of(directory, step))
    if sums is None:
        return Verdict(False, "")
    try:
        found = _file_sums(folder)
    except OSError as error:
        return Verdict(False, f"a file of it cannot be read: {error.strerror}")
    wrong = sorted(name for name in sums if sums[name] != found.get(name))
    if not wrong:
        return Verdict(True, "")
    damage = f"its file {wrong[0]} {'is missing' if wrong[0] not in found else 'is not as it was saved'}"
    return Verdict(False, damage if proven else "")


def array_sums(tree: PyTree) -> dict[str, int]:
    """Computes the CRC32 of every array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(leaf).tobytes()) for path, leaf in leaves}


def _read(seal: Folder) -> tuple[dict[str, int] | None, bool]:
    """Reads a seal: checksums by file, None without any that can be read; and whether it is itself as it was written.

    Those of earlier versions had no checksum of their own. If one contradicts its checkpoint, either may be damaged,
    and the checksums of the arrays have to tell.
    """
    try:
        content = read_json(seal, "it is not used")
        if "files" not in content:
            return {str(name): int(value) for name, value in content.items()}, False
        files = content["files"]
        return (files, True) if content["sum"] == _sum_of(files) else (None, False)
    except (OSError, InputError, ValueError, TypeError, KeyError, AttributeError):
        return None, False


def _sum_of(files: dict[str, int]) -> int:
    return zlib.crc32(json.dumps(files, sort_keys=True).encode())


def _file_sums(folder: Folder) -> dict[str, int]:
    """Computes the CRC32 of every file in a folder, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes()) for path in files}
