"""The command line: python main.py --mode train|sample --config configs/digits.py [--workdir DIR]."""

import logging
import sys
from pathlib import Path
from typing import NoReturn

from absl import app, flags
from ml_collections import config_flags

import run_lib
from pfgm_jax.errors import PfgmError

MODES = ("train", "sample")

FLAGS = flags.FLAGS
flags.DEFINE_enum("mode", None, MODES, "What to do.", required=True)
flags.DEFINE_string("workdir", None, "Where the run lives; by default runs/<the config file's name>.")
config_flags.DEFINE_config_file("config", None, "A file of configs/; --config.GROUP.FIELD=VALUE overrides a field.")
flags.mark_flag_as_required("config")


def _parse_flags(argv: list[str]) -> list[str]:
    """Flags, with what is wrong about them or the config in one sentence."""
    try:
        rest = FLAGS(argv)
        config_path = config_flags.get_config_filename(FLAGS["config"])
        if not Path(config_path).is_file():
            _fail(f"--config is {config_path}, and there is no such file; give the path of a file in configs/")
    except flags.Error as error:
        _fail(f"{error}; see python main.py --help")
    except (AttributeError, KeyError) as error:
        if "get_config" in str(error):
            _fail(f"--config names a file without a function get_config ({error}); see configs/digits.py for one")
        _fail(f"a --config override names a field that does not exist ({error}); configs/default.py lists all of them")
    except (OSError, ImportError, SyntaxError, TypeError) as error:
        _fail(f"--config cannot be loaded ({error}); give the path of a file in configs/")
    if len(rest) > 1:
        _fail(f"{rest[1]!r} is not a flag; see python main.py --help")
    return rest


def set_up_logging() -> None:
    """Sends what pfgm_jax reports, and only that, to the terminal."""
    log = logging.getLogger("pfgm_jax")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log.propagate = False


def _fail(sentence: str) -> NoReturn:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(1)


def main(_: list[str]) -> None:
    """Runs a mode; what is addressed to the user becomes one sentence and exit status 1."""
    set_up_logging()
    config_path = Path(config_flags.get_config_filename(FLAGS["config"]))
    workdir = Path(FLAGS.workdir or Path("runs") / config_path.stem)
    run = {"train": run_lib.train, "sample": run_lib.sample}[FLAGS.mode]
    try:
        run(FLAGS.config, workdir)
    except PfgmError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error}; what was saved before is good: make room or choose another --workdir, and run again")


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)
