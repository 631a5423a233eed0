"""Installs the wheel in a fresh environment, and trains, samples and loads in an empty folder.

python -m tests.wheel FOLDER_OF_THE_WHEEL
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

COMMANDS = (
    "pfgm-jax --mode train --config digits --config.training.n_iters=50",
    "pfgm-jax --mode sample --config digits --config.sampling.num_samples=8 --config.sampling.ode_solver=euler",
    "pfgm-jax datasets info --config heart",
    "pfgm-jax metrics --features=pixels --samples=runs/digits/samples/50-euler/samples.npz --reference=digits",
    "python -m pfgm_jax.convert --help",
)
LOAD = "import pfgm_jax; model = pfgm_jax.load('runs/digits'); print(pfgm_jax.__version__, model.sample(2).shape)"


def main() -> None:
    (wheel,) = Path(sys.argv[1]).resolve().glob("*.whl")
    with tempfile.TemporaryDirectory() as name:
        environment, empty = Path(name) / "venv", Path(name) / "empty"
        empty.mkdir()
        venv.create(environment, with_pip=True)
        bin_folder = environment / "bin"
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        run = lambda *command: subprocess.run(command, cwd=empty, env=clean, check=True)
        run(bin_folder / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        for command in COMMANDS:
            program, *arguments = command.split()
            print(f"$ {command}", flush=True)
            run(bin_folder / program, *arguments)
        run(bin_folder / "python", "-c", LOAD)


if __name__ == "__main__":
    main()
