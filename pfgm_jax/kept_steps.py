"""Which checkpoints of a run are kept permanently, whatever interval it resumes with."""

import json

from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole

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
    if not path.exists():
        steps = [int(p.name) for p in directory.iterdir() if p.name.isdigit()] if directory.is_dir() else []
        return set(sorted(steps)[:-keep_last])
    try:
        return {int(step) for step in json.loads(path.read_text())}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); write the list of steps to keep into it") from None


def write_kept(directory: Folder, steps: set[int]) -> None:
    """Records the steps that are kept permanently."""
    write_whole(directory / FILE, json.dumps(sorted(steps)).encode())
