"""Writes a page that shows a run: report.html in its workdir.

python -m pfgm_jax report --workdir DIR

The page has the run's config, losses, samples by step, evaluations, likelihoods and restored images. It is one file,
which any browser opens without a network, and which can be sent to others.
"""

import logging

from absl import flags
from etils import epy

from pfgm_jax.commands import command_line
from pfgm_jax.folders import to_folder

with epy.lazy_imports():  # `--help` does not wait for JAX
    from pfgm_jax.pages import run as page

FLAGS = flags.FLAGS
log = logging.getLogger("pfgm_jax")


def run(_: list[str]) -> None:
    """Writes the page."""
    log.info("The page of the run is %s", page.write(to_folder(FLAGS.workdir)))


def main(program: str) -> None:
    """Parses the flags and writes the page.

    Args:
      program: how it is called, for messages.
    """
    flags.DEFINE_string("workdir", None, "The run.", required=True)
    command_line.define_config("Not used: the run has its own.", required=False)
    command_line.run(run, program, (__doc__ or "").replace("python -m pfgm_jax report", program))
