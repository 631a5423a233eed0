"""Reconstructs an average of the parameters of a run, of any length, after its training.

python -m pfgm_jax ema --workdir DIR --length 0.07 --output NEW_DIR [--step N]

The run was trained with --config.model.ema_profiles=(0.05,0.1), by which its checkpoints keep two averages. Those of
all steps that are there are combined, so the more of them are kept (training.snapshot_freq), the nearer the result.
NEW_DIR is then a run with this average in place of the usual one: sample from it and evaluate it as from any other.
"""

from pathlib import Path

from absl import flags
from etils import epy

from pfgm_jax.commands import command_line
from pfgm_jax.errors import InputError
from pfgm_jax.folders import is_local, to_folder

with epy.lazy_imports():  # `--help` does not wait for JAX
    from pfgm_jax import averaging, workdir

FLAGS = flags.FLAGS


def run(_: list[str]) -> None:
    """Reconstructs the average."""
    if not is_local(to_folder(FLAGS.output)):
        raise InputError(f"--output is {FLAGS.output}, which is not on this machine; give a local folder, and copy it")
    output = Path(FLAGS.output)
    workdir.check_new(output, "--output")
    state, config = averaging.reconstruct(to_folder(FLAGS.workdir), FLAGS.length, FLAGS.step)
    workdir.write_new(output, state, config)


def main(program: str) -> None:
    """Parses the flags and reconstructs an average.

    Args:
      program: how it is called, for messages.
    """
    flags.DEFINE_string("workdir", None, "The run.", required=True)
    flags.DEFINE_float("length", None, "Of the average, relative to the steps: 0.001 to 0.288.", required=True)
    flags.DEFINE_string("output", None, "A new folder, which receives the run with this average.", required=True)
    flags.DEFINE_integer("step", None, "Whose average; by default that of the newest checkpoint.")
    command_line.define_config("Not used: the run has its own.", required=False)
    command_line.run(run, program, (__doc__ or "").replace("python -m pfgm_jax ema", program))
