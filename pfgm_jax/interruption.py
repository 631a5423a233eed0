"""Stops runs early without losing work, and keeps two runs from writing to the same workdir."""

import contextlib
import json
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator

import filelock

from pfgm_jax.errors import WorkdirInUseError
from pfgm_jax.folders import Folder, is_local

log = logging.getLogger("pfgm_jax")


class StopRequest:
    """A request to end the process, by SIGTERM (which clusters send before they take a machine away) or SIGINT.

    Attributes:
      signal: the signal that was received; None if there was none.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def exit_status(self) -> int:
        """Returns the exit status of a process ended by the signal, or by SIGTERM if another process received it."""
        return 128 + (self.signal or signal.SIGTERM)

    def receive(self, signum: int, _frame: object) -> None:
        """Records the first signal; if a SIGINT follows, ends the process at once."""
        if self.signal is not None and signum == signal.SIGINT:
            os._exit(128 + signum)
        self.signal = self.signal or signum


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listens for requests to stop; outside the main thread signals cannot be received, and it does nothing."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def only_writer(workdir: Folder) -> Iterator[None]:
    """Holds the lock of a workdir, which the system releases however the process ends.

    Object stores have no locks; there it does nothing.

    Raises:
      WorkdirInUseError: another run holds the lock.
    """
    if not is_local(workdir):
        yield
        return
    lock = filelock.FileLock(workdir / ".lock")
    holder = workdir / ".lock.holder"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = "another run"
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = json.loads(holder.read_text())
            who = f"process {found['pid']} on {found['host']}, since {found['since']},"
        raise WorkdirInUseError(
            f"--workdir is {workdir}, in which {who} is writing; wait for it, stop it, or choose another --workdir"
        ) from None
    except (NotImplementedError, OSError) as error:
        log.warning("%s cannot be locked (%s): make sure that no other run writes there", workdir, error)
        yield
        return
    try:
        mine = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        holder.write_text(json.dumps(mine))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
