"""Kills training and evaluation by turns, at random moments, and lets them finish.

python -m tests.killing [--kills 100]
"""

import argparse
import json
import random
import shutil
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
    "--config.optim.schedule=constant",  # otherwise the learning rate would depend on n_iters
]
# An evaluation of another, of which a piece takes a good part of a second.
EVALUATION = [
    "--config=configs/digits.py",
    "--config.training.batch_size=96",
    "--config.training.n_iters=2",
    "--config.training.snapshot_sampling=False",
    "--config.model.name=mlp",
    "--config.model.nf=64",
    "--config.sampling.batch_size=16",
    "--config.sampling.ode_solver=euler",
    "--config.sampling.N=1000",
    "--config.eval.features=pixels",
]
STARTING_SHARE = 0.2
LONGEST_START, LONGEST_LIFE = 8.0, 2.5  # seconds until a kill, from the start and from the first new checkpoint


def steps_of(workdir):
    folder = workdir / "checkpoints"
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []


def start(workdir, *flags):
    """A run of its own process."""
    return begin(*FLAGS, f"--workdir={workdir}", *flags)


def begin(*flags):
    command = [sys.executable, "main.py", *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def start_saving(workdir, n_iters):
    # A checkpoint after every step, so that many are killed while they are written.
    flags = ["--config.training.snapshot_freq_for_preemption=1", f"--config.training.n_iters={n_iters}"]
    return start(workdir, *flags)


def start_evaluating(workdir, samples):
    flags = [f"--workdir={workdir}", f"--config.data.dir={workdir}", f"--config.eval.num_samples={samples}"]
    return begin("--mode=eval", *EVALUATION, *flags)


def finish(process):
    told = process.communicate(timeout=1800)[1]
    assert process.returncode == 0, told
    assert "damaged" not in told and "cannot be read" not in told, told


def kill_at_a_random_moment(process, progress, rng):
    """Kills a process: some while they start, most once there is progress, a number that grows."""
    before = progress()
    if rng.random() < STARTING_SHARE:
        time.sleep(rng.uniform(0, LONGEST_START))
    else:
        while progress() == before:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        time.sleep(rng.uniform(0, LONGEST_LIFE))
    assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()


def ema_params(workdir):
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        return checkpoints.restore_ema()


class Training:
    """A run that is killed while it trains."""

    def __init__(self, folder):
        self.folder, self.saving = folder, 0

    def kill(self, rng):
        workdir = self.folder / "killed"
        process = start_saving(workdir, 1_000_000)
        kill_at_a_random_moment(process, lambda: max(steps_of(workdir), default=0), rng)
        self.saving += any((workdir / "checkpoints").glob("*tmp*"))

    def finish(self):
        """Asserts that it ends as one that was left alone."""
        last = max(steps_of(self.folder / "killed")) + 3
        for name in ("killed", "undisturbed"):
            finish(start_saving(self.folder / name, last))
        (killed, step), (undisturbed, other) = (ema_params(self.folder / name) for name in ("killed", "undisturbed"))
        assert step == other == last
        jax.tree.map(np.testing.assert_array_equal, killed, undisturbed)
        return f"{self.saving} of them during a save; {step} steps"


class Evaluating:
    """A run that is killed while it is evaluated."""

    def __init__(self, folder):
        self.folder = folder
        finish(begin("--mode=train", *EVALUATION, f"--workdir={folder / 'killed'}"))
        shutil.copytree(folder / "killed", folder / "undisturbed")

    def _pieces(self, name):
        return sorted((self.folder / name).glob("samples/*/pieces/*.npz"))

    def kill(self, rng):
        process = start_evaluating(self.folder / "killed", 1_000_000)
        kill_at_a_random_moment(process, lambda: len(self._pieces("killed")), rng)

    def finish(self):
        """Asserts that samples and report are those of an evaluation that was left alone."""
        total = 16 * (len(self._pieces("killed")) + 3)
        for name in ("killed", "undisturbed"):
            finish(start_evaluating(self.folder / name, total))
        for killed, undisturbed in zip(self._pieces("killed"), self._pieces("undisturbed"), strict=True):
            assert killed.name == undisturbed.name
            a, b = np.load(killed), np.load(undisturbed)
            for rows in ("samples", "evaluations"):
                np.testing.assert_array_equal(a[rows], b[rows])
        (killed, undisturbed) = (self._report(name) for name in ("killed", "undisturbed"))
        assert killed == undisturbed
        return f"{total} samples and their report"

    def _report(self, name):
        (path,) = (self.folder / name).glob("eval/*.json")
        report = json.loads(path.read_text())
        report["config"]["data"].pop("dir")
        return {field: value for field, value in report.items() if field != "samples_per_second"}


def kill_and_finish(folder, kills, seed=0, kinds=(Training, Evaluating)):
    """Asserts that runs that were killed so many times, by turns, end as if left alone; returns what happened."""
    rng = random.Random(seed)
    victims = [kind(folder / kind.__name__.lower()) for kind in kinds]
    for i in range(kills):
        victims[i % len(victims)].kill(rng)
    ends = " and ".join(victim.finish() for victim in victims)
    names = " and ".join(kind.__name__.lower() for kind in kinds)
    return f"{kills} kills of {names} by turns, {ends} equal those of undisturbed ones, bit for bit"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    with tempfile.TemporaryDirectory() as folder:
        print(kill_and_finish(Path(folder), parser.parse_args().kills))


if __name__ == "__main__":
    main()
