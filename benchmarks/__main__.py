"""What `make bench` runs, in less than ten minutes on two cores: each benchmark prints its table, which is kept.

    python -m benchmarks [NAMES] [--output benchmarks/results]

Each of them is a module of its own with a command line of its own; those that need something else (a trained model,
the authors' release, a GPU, torch) are run by themselves.
"""

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "field": ["benchmarks.field"],
    "convolutions": ["benchmarks.convolutions"],
    "step": ["benchmarks.step"],
    "sampling": ["benchmarks.sampling"],
    "startup": ["benchmarks.startup", "--rounds", "1"],
}


def machine() -> str:
    """What the figures depend on."""
    name = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next((line.split(":")[1].strip() for line in info.open() if line.startswith("model name")), name)
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in ("jax", "jaxlib", "numpy"))
    return f"{os.cpu_count()} cores of {name}; Python {platform.python_version()}, {versions}"


def main() -> None:
    """Runs them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(COMMANDS), metavar="NAMES", help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in COMMANDS:
            parser.error(f"there is no benchmark {name!r} here; choose of {', '.join(COMMANDS)}")
        start = time.perf_counter()
        command = [sys.executable, "-m", *COMMANDS[name]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"error: {' '.join(command[1:])} failed")
        shown = f"$ python {' '.join(command[1:])}\n{machine()}\n\n{done.stdout}"
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / f"{name}.txt").write_text(shown)
        print(f"{shown}\n({time.perf_counter() - start:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main()
