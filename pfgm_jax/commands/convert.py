"""Converts a checkpoint of the authors' release to a workdir.

python -m pfgm_jax.convert FILE.pth --config configs/cifar10.py --workdir DIR
"""

from pathlib import Path

from absl import flags

from pfgm_jax import convert
from pfgm_jax.commands import command_line


def run(operands: list[str]) -> None:
    """Converts the file."""
    convert.convert_to_workdir(Path(operands[0]), flags.FLAGS.config, Path(flags.FLAGS.workdir))


def main(program: str) -> None:
    """Parses the flags and converts a file.

    Args:
      program: how it is called, for messages.
    """
    flags.DEFINE_string("workdir", None, "A new folder, which receives the run.", required=True)
    command_line.define_config("The config of its network; --config.GROUP.FIELD=VALUE overrides.", required=True)
    usage = (__doc__ or "").replace("python -m pfgm_jax.convert", program)
    command_line.run(run, program, usage, ("the checkpoint file",))
