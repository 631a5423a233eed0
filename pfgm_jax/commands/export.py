"""Writes the averaged weights of a run and its config to one file, for others to use.

python -m pfgm_jax export --workdir DIR --output MODEL.safetensors [--step N]

pfgm_jax.load("MODEL.safetensors") opens it, and any program that knows the format safetensors reads the weights.
"""

from absl import flags
from etils import epy

from pfgm_jax.commands import command_line
from pfgm_jax.folders import to_folder

with epy.lazy_imports():  # `--help` does not wait for JAX
    from pfgm_jax import config_files, exports, loading

FLAGS = flags.FLAGS


def run(_: list[str]) -> None:
    """Writes the file."""
    folder, output = to_folder(FLAGS.workdir), to_folder(FLAGS.output)
    exports.write(output, config_files.read(folder), *loading.load_params(folder, FLAGS.step))


def main(program: str) -> None:
    """Parses the flags and writes the file.

    Args:
      program: how it is called, for messages.
    """
    flags.DEFINE_string("workdir", None, "The run.", required=True)
    flags.DEFINE_string("output", None, "The file, whose name ends with .safetensors.", required=True)
    flags.DEFINE_integer("step", None, "Step of the checkpoint; the newest by default.")
    command_line.define_config("Not used: the run has its own.", required=False)
    command_line.run(run, program, (__doc__ or "").replace("python -m pfgm_jax export", program))
