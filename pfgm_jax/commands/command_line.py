"""What the commands share: flags, logging, and errors as one sentence with exit status 1.

Nothing here imports JAX, so that `--help` and mistakes in flags are answered at once.
"""

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags
from tqdm import tqdm

from pfgm_jax import config_files
from pfgm_jax.commands.config_flag import ConfigError, ConfigParser, value_error
from pfgm_jax.errors import PfgmError

FLAGS = flags.FLAGS
_HELP = {"-h", "--help", "-help", "--helpshort", "--helpfull"}


def run(
    main: Callable[[list[str]], None], command: str, usage: str | None, operands: tuple[str, ...] = (), more: int = 0
) -> None:
    """Runs a command; an error that is addressed to the user becomes one sentence and exit status 1.

    Args:
      main: receives the operands. Its flags are defined, --config among them.
      command: how it is called, for messages.
      usage: what --help begins with.
      operands: the names of what follows the command besides flags.
      more: how many may follow these.
    """
    sys.modules["__main__"].__doc__ = usage
    keep_compilations()  # a config file may import JAX
    parser = functools.partial(_parse_flags, command=command, operands=operands, more=more)
    try:
        app.run(functools.partial(_guarded, main), flags_parser=parser)
    except SystemExit:
        # absl takes a request for help for a mistake.
        if _HELP & {*sys.argv[1:]}:
            sys.exit(0)
        raise


def define_config(help_text: str, required: bool) -> None:
    """Defines --config, and the overrides of its fields that follow on the command line."""
    try:
        config_flags.DEFINE_config_file("config", None, help_text, flag_values=FLAGS)
    except flags.Error as error:  # of a file of flags
        fail(str(error))
    if required:
        flags.mark_flag_as_required("config", flag_values=FLAGS)


class _AboveBars(logging.StreamHandler):
    """Writes lines above progress bars rather than into them."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)


def set_up_logging() -> None:
    """Sends what pfgm_jax reports, and only that, to the terminal."""
    # Orbax tells of every file, and prints tracebacks of errors that it raises again later.
    absl_logging.set_verbosity(absl_logging.FATAL)
    log = logging.getLogger("pfgm_jax")
    # Its threads stumble on what their own errors have left.
    in_thread = lambda error: log.debug("in a thread", exc_info=error.exc_value)
    threading.excepthook = in_thread
    in_main = sys.unraisablehook
    sys.unraisablehook = lambda error: (
        in_main if threading.current_thread() is threading.main_thread() else in_thread
    )(error)
    log.setLevel(logging.INFO)
    log.addHandler(_AboveBars())
    log.propagate = False
    # Libraries warn with lines of their source.
    warnings.showwarning = lambda message, *_, **__: log.warning("%s", " ".join(str(message).split()))


def keep_compilations() -> None:
    """Keeps what XLA compiles in the user's cache folder; call it before JAX is imported.

    JAX_COMPILATION_CACHE_DIR says where else, and JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS what is worth keeping.
    """
    # By default only what took a second to compile is kept; a start compiles dozens of smaller ones.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    with contextlib.suppress(RuntimeError):  # there are users without a home
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "pfgm_jax" / "jax"))


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Ends the process with status 1 and one sentence where an error is addressed to the user, or the disk is full."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except PfgmError as error:
        fail(str(error))
    except BrokenPipeError:
        # Nobody reads what is printed, as behind `| head`.
        os._exit(128 + signal.SIGPIPE)
    except OSError as error:
        fail(f"{error}; what was saved before is good: see that it can be read and written, and run again")


def fail(sentence: str) -> NoReturn:
    """Prints a sentence and ends the process at once, with status 1.

    An orderly exit would wait for other processes of the run, which may be waiting for this one; and threads of the
    storage library would print what they stumble on.
    """
    with contextlib.suppress(OSError):
        # In one piece: other threads may be printing.
        sys.stderr.write(f"error: {' '.join(sentence.split())}\n")
        sys.stderr.flush()
        sys.stdout.flush()
    os._exit(1)


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    set_up_logging()
    with errors_as_sentences():
        main(argv[1:])


def _parse_flags(argv: list[str], command: str, operands: tuple[str, ...], more: int) -> list[str]:
    """Parses flags; an error in them or in the config becomes one sentence."""
    FLAGS["config"].parser = ConfigParser()
    try:
        rest = FLAGS(_with_paths_of_experiments(argv))
    except ConfigError as error:
        fail(str(error))
    except flags.IllegalFlagValueError as error:
        fail(value_error(str(error)) or f"{error}; see {command} --help")
    except flags.Error as error:
        fail(f"{error}; see {command} --help")
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        fail(f"a --config override has a value that is none of its field's; see {command} --help")
    if len(rest) > 1 + len(operands) + more:
        fail(f"{rest[1 + len(operands) + more]!r} is not a flag; see {command} --help")
    if len(rest) < 1 + len(operands):
        fail(f"{operands[len(rest) - 1]} is missing; see {command} --help")
    return rest


def _with_paths_of_experiments(argv: list[str]) -> list[str]:
    """Replaces --config NAME by the path of the config of this name, unless there is a file of this name."""
    found = list(argv)
    for i, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag not in ("--config", "-config"):
            continue
        place = i if equals else i + 1
        name = value if equals else argv[place] if place < len(argv) else ""
        if name in config_files.experiments() and not Path(name).is_file():
            path = str(config_files.folder_of_experiments() / f"{name}.py")
            found[place] = f"{flag}={path}" if equals else path
    return found
