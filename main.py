"""The command line: python main.py --mode train|sample|eval|likelihood --config configs/digits.py [--workdir DIR]."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

import run_lib
from pfgm_jax import cli, sharding
from pfgm_jax.folders import to_folder

MODES = {
    "train": run_lib.train,
    "sample": run_lib.sample,
    "eval": run_lib.evaluate,
    "likelihood": run_lib.likelihood,
}

FLAGS = flags.FLAGS
flags.DEFINE_enum("mode", None, list(MODES), "What to do.", required=True)
flags.DEFINE_string("workdir", None, "Where the run lives; by default runs/<the config file's name>.")
flags.DEFINE_bool("multihost", False, "Several processes form one run, even where the environment does not say so.")
config_flags.DEFINE_config_file("config", None, "A file of configs/; --config.GROUP.FIELD=VALUE overrides a field.")
flags.mark_flag_as_required("config")


def main(_: list[str]) -> None:
    """Runs a mode."""
    sharding.start_processes(FLAGS.multihost)
    cli.report_from_first_process_only()
    config_path = Path(config_flags.get_config_filename(FLAGS["config"]))
    workdir = to_folder(FLAGS.workdir or f"runs/{config_path.stem}")
    MODES[FLAGS.mode](FLAGS.config, workdir)


if __name__ == "__main__":
    cli.run(main, "python main.py")
