"""Which checkpoints of a run are kept permanently, whatever interval it resumes with."""

import json
import zlib
from typing import Any

from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.reading import read_json

FILE = "kept.json"


def read_kept(directory: Folder, keep_last: int) -> set[int]:
    """Reads the steps that are kept permanently.

    Args:
      directory: of the checkpoints.
      keep_last: how many of the latest are kept in any case. Older ones are there because they were to be kept; runs of
        earlier versions recorded nothing else.

    Raises:
      InputError: the record is damaged.
    """
    path = directory / FILE
    cure = "write the list of steps to keep into it"
    try:
        steps = read_json(path, cure)
    except FileNotFoundError:
        steps = [int(p.name) for p in directory.iterdir() if p.name.isdecimal()] if directory.is_dir() else []
        return set(sorted(steps)[:-keep_last])
    if isinstance(steps, dict):
        steps = steps.get("steps") if steps.get("sum") == _sum_of(steps.get("steps")) else None
    if not isinstance(steps, list) or not all(type(step) is int and 0 <= step < 2**31 for step in steps):
        raise InputError(f"{path} is damaged (it is not a list of steps); {cure}")
    return set(steps)


def write_kept(directory: Folder, steps: set[int]) -> None:
    """Records the steps that are kept permanently, with a checksum: one that is lost would be deleted some day."""
    content = {"steps": sorted(steps), "sum": _sum_of(sorted(steps))}
    write_whole(directory / FILE, json.dumps(content).encode())


def _sum_of(steps: Any) -> int:
    return zlib.crc32(json.dumps(steps).encode())
