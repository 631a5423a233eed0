"""Keeps two processes from writing to the same folder."""

import contextlib
import json
import logging
import os
import platform
import time
from collections.abc import Iterator

import filelock

from pfgm_jax.errors import InputError, StorageError, WorkdirInUseError
from pfgm_jax.folders import Folder, is_local
from pfgm_jax.reading import read_json, reason

log = logging.getLogger("pfgm_jax")


@contextlib.contextmanager
def only_writer(folder: Folder) -> Iterator[None]:
    """Creates a folder and holds its lock, which the system releases however the process ends.

    Object stores have no locks; there it does nothing.

    Raises:
      WorkdirInUseError: another run holds the lock.
      StorageError: the folder cannot be made.
    """
    if not is_local(folder):
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be made ({reason(error)}); move what is in its place, or see that it can be written"
        ) from None
    lock = filelock.FileLock(folder / ".lock")
    holder = folder / ".lock.holder"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = "another run"
        with contextlib.suppress(FileNotFoundError, InputError, KeyError, TypeError):
            found = read_json(holder, "remove it")
            who = f"process {found['pid']} on {found['host']}, since {found['since']},"
        raise WorkdirInUseError(
            f"{who} is writing in {folder}; wait for it, stop it, or choose another --workdir"
        ) from None
    except (NotImplementedError, OSError) as error:
        log.warning("%s cannot be locked (%s): make sure that no other run writes there", folder, error)
        yield
        return
    try:
        mine = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # it is only told to others
            holder.write_text(json.dumps(mine))
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink()
        lock.release()
