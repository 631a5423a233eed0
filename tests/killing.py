"""Kills a run over and over, at random moments, and lets it finish: python -m tests.killing [--kills 50]."""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from pfgm_jax.checkpoints import Checkpoints

# A small run, of data that are there at once.
FLAGS = [
    "--mode=train",
    "--config=configs/heart.py",
    "--config.training.batch_size=100",
    "--config.training.small_batch_size=16",
    "--config.training.field_reference=batch",
    "--config.training.log_freq=2",
    "--config.training.snapshot_sampling=False",
    "--config.model.nf=64",
    "--config.model.num_res_blocks=1",
    "--config.optim.warmup=2",
]
STARTING_SHARE = 0.2
LONGEST_START, LONGEST_LIFE = 8.0, 2.5  # seconds until a kill, from the start and from the first new checkpoint


def steps_of(workdir):
    folder = workdir / "checkpoints"
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []


def start(workdir, *flags):
    """A run of its own process."""
    command = [sys.executable, "main.py", *FLAGS, f"--workdir={workdir}", *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def start_saving(workdir, n_iters):
    # A checkpoint after every step, so that many are killed while they are written.
    flags = ["--config.training.snapshot_freq_for_preemption=1", f"--config.training.n_iters={n_iters}"]
    return start(workdir, *flags)


def kill_at_a_random_moment(workdir, rng):
    """Starts the run again and kills it; returns whether it was saving."""
    before = max(steps_of(workdir), default=0)
    process = start_saving(workdir, 1_000_000)
    if rng.random() < STARTING_SHARE:
        time.sleep(rng.uniform(0, LONGEST_START))
    else:
        while max(steps_of(workdir), default=0) == before:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        time.sleep(rng.uniform(0, LONGEST_LIFE))
    process.kill()
    process.communicate()
    return any((workdir / "checkpoints").glob("*tmp*"))


def ema_params(workdir):
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        return checkpoints.restore_ema()


def kill_and_finish(folder, kills, seed=0):
    """Asserts that a run that was killed so many times ends as one that was left alone; returns what happened."""
    rng = random.Random(seed)
    saving = sum(kill_at_a_random_moment(folder / "killed", rng) for _ in range(kills))
    survived = max(steps_of(folder / "killed"))
    for name in ("killed", "undisturbed"):
        process = start_saving(folder / name, survived + 3)
        told = process.communicate(timeout=300)[1]
        assert process.returncode == 0, told
        assert "damaged" not in told, told
    (killed, step), (undisturbed, last) = (ema_params(folder / name) for name in ("killed", "undisturbed"))
    assert step == last == survived + 3
    jax.tree.map(np.testing.assert_array_equal, killed, undisturbed)
    return f"{kills} kills, {saving} of them during a save; {step} steps equal those of an undisturbed run, bit for bit"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    with tempfile.TemporaryDirectory() as folder:
        print(kill_and_finish(Path(folder), parser.parse_args().kills))


if __name__ == "__main__":
    main()
