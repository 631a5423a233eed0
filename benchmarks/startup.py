"""From the command to the first training step: with an empty compilation cache, and with what the run before left.

    python -m benchmarks.startup [--config configs/digits.py] [--rounds 3]

In turns: a run with an empty cache, a run with its cache, and a process that only imports JAX and adds two numbers,
which is the least that any of them can take. The first step is done when metrics.jsonl has its line.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LEAST = "import jax.numpy as jnp; print(jnp.ones(()) + 1)"
LONGEST = 1800  # seconds


def first_step(config: str, cache: Path) -> float:
    """Seconds from the command to the first line of metrics.jsonl; the run is then killed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log, workdir = Path(folder, "log"), Path(folder, "run")
        command = [sys.executable, "main.py", "--mode", "train", "--config", config, "--workdir", str(workdir)]
        command += ["--config.training.log_freq=1"]
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(cache),
        }
        metrics = workdir / "metrics.jsonl"
        start = time.perf_counter()
        with log.open("w") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while not (metrics.is_file() and metrics.stat().st_size):
                if process.poll() is not None or time.perf_counter() - start > LONGEST:
                    raise SystemExit(f"error: the run took no step; it printed:\n{log.read_text()[-2000:]}")
                time.sleep(0.01)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def least() -> float:
    """Seconds of a process that does nothing but start JAX."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", LEAST], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/digits.py")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds: dict[str, list[float]] = {"cold": [], "warm": [], "JAX alone": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for name in ("cold", "warm"):
                rounds[name].append(first_step(arguments.config, Path(cache)))
        rounds["JAX alone"].append(least())
    print(f"from the command to the first step of {arguments.config}, medians of {arguments.rounds} rounds")
    cold = np.array(rounds["cold"])
    for name, values in rounds.items():
        print(f"{name:10} {np.median(values):6.1f} s, {np.median(values / cold):.2f} of a cold start")


if __name__ == "__main__":
    main()
