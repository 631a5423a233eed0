"""The command `pfgm-jax`: the modes of main.py, and the commands datasets, convert and metrics."""

import sys

COMMANDS = ("datasets", "convert", "metrics")


def main() -> None:
    """Runs the command that the first argument names, or else a mode."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    command = sys.argv[1]
    if not command.startswith("-") and command not in COMMANDS:
        sys.exit(f"error: {command!r} is not a command; give --mode train or one of {', '.join(COMMANDS)}")
    if command.startswith("-"):
        from pfgm_jax.commands import modes

        modes.main()
        return
    del sys.argv[1]
    program = f"pfgm-jax {command}"
    if command == "datasets":
        from pfgm_jax.commands import datasets

        datasets.main(program)
    elif command == "convert":
        from pfgm_jax.commands import convert

        convert.main(program)
    else:
        from pfgm_jax.commands import metrics

        sys.exit(metrics.main(program))
