"""The command `pfgm-jax`: the modes of main.py, and the commands that `COMMANDS` names."""

import importlib
import os
import sys

from pfgm_jax import interruption

COMMANDS = ("datasets", "convert", "metrics", "ema", "schedule", "export", "report")


def start(command: str, program: str) -> None:
    """Runs the modes or a command. SIGTERM and Ctrl-C end it at any moment, with a sentence.

    Args:
      command: "modes", or one of `COMMANDS`.
      program: how it is called, for messages.
    """
    _open_closed_streams()
    # Before anything that takes time, imports among it; to the very end.
    interruption.watch(interruption.end_at_once)
    importlib.import_module(f"pfgm_jax.commands.{command}").main(program)


def _open_closed_streams() -> None:
    """Opens standard streams that were closed, as by `2>&-`; a file that is opened later would take their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if number else "r"))


def main() -> None:
    """Runs the command that the first argument names, or else a mode."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    command = sys.argv[1]
    if command.startswith("-"):
        start("modes", "pfgm-jax")
    elif command in COMMANDS:
        del sys.argv[1]
        start(command, f"pfgm-jax {command}")
    else:
        sys.exit(f"error: {command!r} is not a command; give --mode train or one of {', '.join(COMMANDS)}")
