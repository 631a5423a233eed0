"""The log of a workdir, log.jsonl: what its commands reported, and the error that ended one."""

import contextlib
import datetime
import json
import logging
from collections.abc import Iterator

from pfgm_jax import sharding
from pfgm_jax.errors import InputError, PfgmError
from pfgm_jax.folders import Folder, append

FILE = "log.jsonl"
log = logging.getLogger("pfgm_jax")


class _Diary(logging.Handler):
    """Writes each record as a line of JSON."""

    def __init__(self, file: Folder, command: str):
        super().__init__(logging.INFO)
        self._file, self._command = file, command

    def emit(self, record: logging.LogRecord) -> None:
        self.write(record.levelname.lower(), record.getMessage())

    def write(self, level: str, message: str) -> None:
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json.dumps({"time": time, "command": self._command, "level": level, "message": message})
        with contextlib.suppress(OSError):  # a full disk stops the work itself, with a better message
            append(self._file, f"{line}\n".encode())


@contextlib.contextmanager
def kept(workdir: Folder, command: str) -> Iterator[None]:
    """Writes what pfgm_jax reports to log.jsonl of a workdir, and an error of its own that ends what is under way.

    Args:
      workdir: of the run, which exists. Only the first process writes.
      command: what is under way, such as train.
    """
    if not sharding.is_first():
        yield
        return
    diary, level = _Diary(workdir / FILE, command), log.level
    log.addHandler(diary)
    if log.getEffectiveLevel() > logging.INFO:  # in a program that did not set up logging
        log.setLevel(logging.INFO)
    try:
        yield
    except PfgmError as error:
        if not isinstance(error, InputError):  # which leaves a workdir as it was
            diary.write("error", str(error))
        raise
    finally:
        log.removeHandler(diary)
        log.setLevel(level)
