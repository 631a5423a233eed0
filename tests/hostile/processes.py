"""Command lines as processes that start in no time, forked from one that has imported everything.

Each can be made to meet something at a chosen moment: a signal, a disk that is full, a folder that is gone.
"""

import atexit
import contextlib
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

from tests.compiling import QUICKLY

PATIENCE = 120.0  # seconds

# Calls `act` in the n-th call of a function of a module or class, of those with arguments for which `when` holds.
AT = """
import functools, importlib, os, resource, shutil, signal, sys, threading, time
def at(place, n, act, when=lambda *_, **__: True):
    *path, name = place.split(".")
    owner, depth = None, len(path)
    while owner is None:
        try:
            owner = importlib.import_module(".".join(path[:depth]))
        except ModuleNotFoundError:
            depth -= 1
    for part in path[depth:]:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []
    @functools.wraps(original)
    def wrapped(*arguments, **more):
        if when(*arguments, **more):
            calls.append(None)
        if len(calls) == n and when(*arguments, **more):
            act()
        return original(*arguments, **more)
    setattr(owner, name, wrapped)
def send(*signals, pause=0.0, hold=60.0):
    for number in signals:
        os.kill(os.getpid(), number)
        time.sleep(pause)
    time.sleep(hold)
"""


class Outcome(NamedTuple):
    """The end of a process: exit status, negative where a signal ended it; standard error and output."""

    status: int
    told: str
    printed: str


class Process:
    """A command line under way.

    Attributes:
      pid: of the process.
      told: file of what it writes to standard error.
    """

    def __init__(self, pid: int, told: Path):
        self.pid, self.told = pid, told
        self._status: int | None = None

    def poll(self) -> int | None:
        """Returns the exit status, negative where a signal ended it; None while it runs."""
        if self._status is None:
            self._status = _ask({"poll": self.pid})
        return self._status

    def outcome(self) -> Outcome:
        """Waits for the end."""
        deadline = time.monotonic() + PATIENCE
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                self.send(9)
                raise AssertionError(f"it did not end:\n{self.stderr()[-2000:]}")
            time.sleep(0.01)
        return Outcome(status, self.stderr(), self.told.with_name(f"{self.told.name}.out").read_text())

    def send(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def stderr(self) -> str:
        return self.told.read_text(errors="replace")


def begin(folder: Path, program: str, *arguments: str, before: str = "") -> Process:
    """Starts main.py or a module.

    Args:
      folder: for what it writes to standard error and output.
      program: "main.py", or a module such as "pfgm_jax.metrics".
      *arguments: of the command line.
      before: Python code that the process runs first; see `AT`.
    """
    told = folder / f"told-{time.monotonic_ns()}"
    request = {"program": program, "arguments": arguments, "before": AT + before, "told": str(told)}
    pid = _ask(request)
    assert pid is not None
    return Process(pid, told)


def run(folder: Path, program: str, *arguments: str, before: str = "") -> Outcome:
    """Starts a command line and waits for its end."""
    return begin(folder, program, *arguments, before=before).outcome()


@functools.cache
def _server() -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.hostile.processes"]
    # All compile the same few functions.
    cache = tempfile.TemporaryDirectory()
    defaults = {
        "JAX_COMPILATION_CACHE_DIR": cache.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": QUICKLY,
    }
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**defaults, **os.environ}, text=True
    )

    def end():
        server.communicate()  # which closes its input
        cache.cleanup()

    atexit.register(end)
    return server


def _ask(request: dict) -> int | None:
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


def _fork(program: str, arguments: list[str], before: str, told: str) -> int:
    if child := os.fork():
        return child
    status = 1
    # A terminal's hangup ends a process, also where these checks themselves were started to outlive theirs (nohup).
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, f"{told}.out"), (2, told)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        sys.argv = [program, *arguments]
        exec(before, {})
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _poll(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


if __name__ == "__main__":
    import run_lib
    from pfgm_jax import convert
    from pfgm_jax.commands import datasets, metrics, modes

    _ = run_lib.train, convert.convert_to_workdir, datasets.np.array, metrics.features.extract, modes.sharding.is_first
    # JAX warns of forks, which threads do not survive; it has none before its first array.
    warnings.simplefilter("ignore", RuntimeWarning)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_poll(asked["poll"]) if "poll" in asked else _fork(**asked)), flush=True)
