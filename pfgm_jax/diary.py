"""The log of a workdir, log.jsonl: what its commands reported, and the error that ended one."""

import contextlib
import datetime
import json
import logging
from collections.abc import Iterator

from pfgm_jax import sharding
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, is_local

FILE = "log.jsonl"
log = logging.getLogger("pfgm_jax")


class _Diary(logging.Handler):
    """Writes each record as a line of JSON."""

    def __init__(self, file: Folder, command: str):
        super().__init__(logging.INFO)
        self._file, self._command = file, command
        with contextlib.suppress(Exception):
            # A process that was killed may have left a line without its end.
            self._before = file.read_bytes() if file.is_file() else b""
            if self._before and not self._before.endswith(b"\n"):
                self._append(b"\n")

    def emit(self, record: logging.LogRecord) -> None:
        self.write(record.levelname.lower(), record.getMessage())

    def write(self, level: str, message: str) -> None:
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json.dumps({"time": time, "command": self._command, "level": level, "message": message})
        # Whatever fails here, such as a full disk, stops the work itself with a better message.
        with contextlib.suppress(Exception):
            self._append(f"{line}\n".encode())

    def _append(self, content: bytes) -> None:
        if is_local(self._file):
            with self._file.open("ab") as file:
                file.write(content)
        else:  # object stores cannot append
            self._before += content
            self._file.write_bytes(self._before)


@contextlib.contextmanager
def kept(workdir: Folder, command: str) -> Iterator[None]:
    """Writes what pfgm_jax reports to log.jsonl of a workdir, and the error that ends what is under way.

    What the program's level of logging leaves out is not written either.

    Args:
      workdir: of the run, which exists. Only the first process writes.
      command: what is under way, such as train.
    """
    if not sharding.is_first():
        yield
        return
    diary = _Diary(workdir / FILE, command)
    log.addHandler(diary)
    try:
        yield
    except Exception as error:
        if not isinstance(error, InputError):  # which leaves a workdir as it was
            diary.write("error", str(error) or type(error).__name__)
        raise
    finally:
        log.removeHandler(diary)
