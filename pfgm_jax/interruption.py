"""Ends processes early without losing work, by SIGTERM (which clusters send before they take a machine away) or SIGINT.

What is on disk is whole at any moment, so a process may end at any moment. Training ends after the step that it is in,
and saves it; everything else ends at once, and says what is saved.
"""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LONGEST_WAIT = 1.0  # seconds for a terminal that takes no text

# What is saved now, by the work that is under way; the innermost comes last.
_saved: list[Callable[[], str]] = [lambda: "what was saved before is kept"]


class StopRequest:
    """A request to end the process after the step that it is in.

    Attributes:
      signal: the signal that was received; None if there was none.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def exit_status(self) -> int:
        """Returns the exit status of a process ended by the signal, or by SIGTERM if another process received it."""
        return 128 + (self.signal or signal.SIGTERM)

    def receive(self, signum: int) -> None:
        """Records the first signal; if a SIGINT follows, ends the process at once."""
        if self.signal is not None and signum == signal.SIGINT:
            end_at_once(signum)
        self.signal = self.signal or signum


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listens for requests to stop; see `watch`."""
    request = StopRequest()
    undo = watch(request.receive)
    try:
        yield request
    finally:
        undo()


def watch(receive: Callable[[int], None]) -> Callable[[], None]:
    """Has a function called, in a thread of its own, whenever SIGTERM or SIGINT arrives.

    Python runs its own handlers in the main thread and between its instructions: not while XLA compiles, which can take
    minutes. Here the system's handler writes to a pipe, which the thread reads. Outside the main thread signals cannot
    be received, and nothing happens.

    Args:
      receive: takes the number of the signal.

    Returns:
      Goes back to what was called before.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    threading.Thread(target=_pass_on, args=(reading, receive), daemon=True).start()
    pipe_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    handlers_before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}

    def undo() -> None:
        for number, handler in handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(pipe_before)
        os.close(writing)

    return undo


def _pass_on(reading: int, receive: Callable[[int], None]) -> None:
    with open(reading, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            if number[0] in SIGNALS:
                receive(number[0])


@contextlib.contextmanager
def saving(what: Callable[[], str]) -> Iterator[None]:
    """Makes known what is saved while some work is under way.

    Args:
      what: tells it in a main clause, such as "10 of 100 samples are saved in FOLDER"; called from another thread.
    """
    _saved.append(what)
    try:
        yield
    finally:
        _saved.remove(what)


def saved_now() -> str:
    """Returns what is saved, in a main clause."""
    return _saved[-1]()


def farewell(saved: str) -> str:
    """Returns the sentence of a process that was asked to stop.

    Args:
      saved: what is saved, in a main clause.
    """
    return f"Asked to stop; {saved}. To resume, run the same command again"


def end_at_once(signum: int) -> NoReturn:
    """Says what is saved, and ends the process, whatever its other threads are doing."""
    with contextlib.suppress(OSError, ValueError):
        # The terminal may have stopped, or a pager may read no more; a progress bar may be on the line.
        if select.select([], [2], [], _LONGEST_WAIT)[1]:
            os.write(2, f"\n{farewell(saved_now())}\n".encode())
    os._exit(128 + signum)
