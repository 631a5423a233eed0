"""The modes of the command line: train, sample, eval, likelihood, restore and reflow."""

import logging
import time
from pathlib import Path

from absl import flags
from etils import epy
from ml_collections import config_flags

from pfgm_jax.commands import command_line
from pfgm_jax.folders import to_folder

with epy.lazy_imports():  # `--help` does not wait for JAX
    from pfgm_jax import executables, run_lib, sharding

_BEGAN = time.time()  # before the config and most modules are loaded
MODES = ("train", "sample", "eval", "likelihood", "restore", "reflow")

FLAGS = flags.FLAGS
USAGE = """--mode train|sample|eval|likelihood|restore|reflow --config CONFIG [--workdir DIR]
    [--config.GROUP.FIELD=VALUE ...]

CONFIG is a file, or the name of one in configs/, such as digits. Installed by pip, `pfgm-jax` also has the commands
datasets, convert, metrics, ema and schedule: pfgm-jax datasets --help."""


def run_mode(_: list[str]) -> None:
    """Runs the mode that the flags name."""
    sharding.start_processes(FLAGS.multihost)
    if not sharding.is_first():
        logging.getLogger("pfgm_jax").setLevel(logging.WARNING)
    config_path = Path(config_flags.get_config_filename(FLAGS["config"]))
    executables.keep(_BEGAN)
    workdir = to_folder(FLAGS.workdir or f"runs/{config_path.stem}")
    run = {
        "train": run_lib.train,
        "sample": run_lib.sample,
        "eval": run_lib.evaluate,
        "likelihood": run_lib.likelihood,
        "restore": run_lib.restore,
        "reflow": run_lib.reflow,
    }
    run[FLAGS.mode](FLAGS.config, workdir)


def main(program: str) -> None:
    """Parses the flags and runs a mode.

    Args:
      program: how it is called, for messages.
    """
    flags.DEFINE_enum("mode", None, MODES, "What to do.", required=True)
    flags.DEFINE_string("workdir", None, "Where the run lives; by default runs/<the config's name>.")
    flags.DEFINE_bool("multihost", False, "Several processes form one run, even where the environment does not say so.")
    help_text = "A config file, or the name of one in configs/; --config.GROUP.FIELD=VALUE overrides a field."
    command_line.define_config(help_text, required=True)
    command_line.run(run_mode, program, f"{program} {USAGE}")
