"""Chooses the noise levels of a solver's few steps for a trained model.

python -m pfgm_jax schedule --workdir DIR [--solver dpmpp_2m] [--steps 5,7,10] [--step CHECKPOINT]

The levels are those with which the solver comes nearest to the exact solutions of the model's ODE. For a small model
they take about a minute per number of steps. The run keeps them. Sample with them by
--config.sampling.ode_solver=dpmpp_2m --config.sampling.N=7 --config.sampling.schedule=calibrated.
"""

import logging

from absl import flags
from etils import epy

from pfgm_jax.commands import command_line
from pfgm_jax.errors import InputError
from pfgm_jax.folders import to_folder

with epy.lazy_imports():  # `--help` does not wait for JAX
    from pfgm_jax import calibration, config_files, schedules, workdir

FLAGS = flags.FLAGS
log = logging.getLogger("pfgm_jax")


def run(_: list[str]) -> None:
    """Chooses levels."""
    try:
        numbers = sorted({int(number) for number in FLAGS.steps})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 2:
        raise InputError(f"--steps is {','.join(FLAGS.steps)!r}; give whole numbers of at least 2, such as 5,7,10")
    folder = to_folder(FLAGS.workdir)
    config = config_files.read(folder)
    config.sampling.checkpoint = FLAGS.step or 0
    model = workdir.load_model(config, folder)
    calibrate = calibration.Calibration(model, FLAGS.solver)
    for number in numbers:
        found = calibrate(number)
        schedules.write(folder, FLAGS.solver, found.levels, model.step, model.config)
        log.info(
            "%d steps of %s: error %.4g, with its own schedule %.4g",
            number,
            FLAGS.solver,
            found.error,
            found.error_before,
        )
    log.info("Saved in %s; --config.sampling.schedule=calibrated samples with them", folder / schedules.FILE)


def main(program: str) -> None:
    """Parses the flags and chooses levels.

    Args:
      program: how it is called, for messages.
    """
    flags.DEFINE_string("workdir", None, "The run.", required=True)
    flags.DEFINE_string("solver", "dpmpp_2m", "One with a fixed number of steps, see sampling.ode_solver.")
    flags.DEFINE_list("steps", ["5", "7", "10"], "Numbers of steps.")
    flags.DEFINE_integer("step", None, "Step of the checkpoint; the newest by default.")
    command_line.define_config("Not used: the run has its own.", required=False)
    command_line.run(run, program, (__doc__ or "").replace("python -m pfgm_jax schedule", program))
