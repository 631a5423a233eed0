"""What the commands share: flags, logging, and errors as one sentence with exit status 1."""

import contextlib
import functools
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from pfgm_jax import config_files, sharding
from pfgm_jax.errors import PfgmError, StorageError

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
    parser = functools.partial(_parse_flags, command=command, operands=operands, more=more)
    try:
        app.run(functools.partial(_guarded, main), flags_parser=parser)
    except SystemExit:
        # absl takes a request for help for a mistake.
        if _HELP & {*sys.argv[1:]}:
            sys.exit(0)
        raise


def set_up_logging() -> None:
    """Sends what pfgm_jax reports, and only that, to the terminal."""
    # Orbax tells of every file, and prints tracebacks of errors that it raises again later.
    absl_logging.set_verbosity(absl_logging.FATAL)
    log = logging.getLogger("pfgm_jax")
    threading.excepthook = lambda error: log.debug("in a thread", exc_info=error.exc_value)
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False


def keep_compilations() -> None:
    """Keeps what XLA compiles in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR says where."""
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    with contextlib.suppress(RuntimeError):  # there are users without a home
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(cache / "pfgm_jax" / "jax"))
        # By default only what took a second to compile is kept; a start compiles dozens of smaller ones.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def report_from_first_process_only() -> None:
    """Silences all but warnings in the other processes of a run."""
    if not sharding.is_first():
        logging.getLogger("pfgm_jax").setLevel(logging.WARNING)


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    set_up_logging()
    try:
        keep_compilations()
        main(argv[1:])
    except PfgmError as error:
        # After a failed write an orderly exit would have threads of the storage library print what they stumble on.
        _fail(str(error), at_once=isinstance(error, StorageError))
    except OSError as error:
        cure = "see that it can be written, or choose another --workdir, and run again"
        _fail(f"{error}; what was saved before is good: {cure}", at_once=True)


def _parse_flags(argv: list[str], command: str, operands: tuple[str, ...], more: int) -> list[str]:
    """Parses flags; an error in them or in the config becomes one sentence."""
    try:
        rest = FLAGS(_with_paths_of_experiments(argv))
        if FLAGS["config"].present:
            config_path = config_flags.get_config_filename(FLAGS["config"])
            if not Path(config_path).is_file():
                names = ", ".join(config_files.experiments())
                _fail(f"--config is {config_path}, and there is no such file; give the path of one, or one of {names}")
    except flags.Error as error:
        _fail(f"{error}; see {command} --help")
    except (AttributeError, KeyError) as error:
        if "get_config" in str(error):
            _fail(f"--config names a file without a function get_config ({error}); see configs/digits.py for one")
        _fail(
            f"a --config override names a field that does not exist ({error}); pfgm_jax/defaults.py lists all of them"
        )
    except (OSError, ImportError, SyntaxError, TypeError) as error:
        _fail(f"--config cannot be loaded ({error}); give the path of a file in configs/")
    if len(rest) > 1 + len(operands) + more:
        _fail(f"{rest[1 + len(operands) + more]!r} is not a flag; see {command} --help")
    if len(rest) < 1 + len(operands):
        _fail(f"{operands[len(rest) - 1]} is missing; see {command} --help")
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


def _fail(sentence: str, at_once: bool = False) -> NoReturn:
    # In one piece: other threads may be printing.
    sys.stderr.write(f"error: {' '.join(sentence.split())}\n")
    sys.stderr.flush()
    # Among several processes too: an orderly exit waits for the others, which may be waiting for this one.
    if at_once or jax.distributed.is_initialized():
        sys.stdout.flush()
        os._exit(1)
    sys.exit(1)
