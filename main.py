"""The command line: python main.py --mode train|sample --config configs/digits.py [--workdir DIR]."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

import run_lib
from pfgm_jax import cli

MODES = {"train": run_lib.train, "sample": run_lib.sample}

FLAGS = flags.FLAGS
flags.DEFINE_enum("mode", None, list(MODES), "What to do.", required=True)
flags.DEFINE_string("workdir", None, "Where the run lives; by default runs/<the config file's name>.")
config_flags.DEFINE_config_file("config", None, "A file of configs/; --config.GROUP.FIELD=VALUE overrides a field.")
flags.mark_flag_as_required("config")


def main(_: list[str]) -> None:
    """Runs a mode."""
    config_path = Path(config_flags.get_config_filename(FLAGS["config"]))
    workdir = Path(FLAGS.workdir or Path("runs") / config_path.stem)
    MODES[FLAGS.mode](FLAGS.config, workdir)


if __name__ == "__main__":
    cli.run(main, "python main.py")
