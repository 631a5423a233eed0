"""Training steps and samples per second beside the authors' PyTorch release, on the same machine and at the same time.

    git clone https://github.com/Newbeeer/Poisson_flow
    python -m benchmarks.peer --peer Poisson_flow [--python PYTHON] [--threads 2] [--rounds 5]
    python -m benchmarks.peer --peer Poisson_flow --config cifar10 [--dtype bfloat16]      # on a GPU

PYTHON is an interpreter that has torch, SciPy, Pillow and ml_collections; TensorFlow is not needed. Both sides train
configs/digits.py with the same batch of 1,000 digits and the same first parameters, and then sample with the parameters
that the release has come to, from the same draws of the prior. They take turns, A B A B: while one computes, the other
waits. Preparing batches is left out on both sides; adding noise within a grey level is part of our step only. The
release is run as it is, but for what needs TensorFlow, and, where there is no GPU, for its calls of `.cuda()`, which do
nothing; what it imports and does not use here is replaced by nothing. configs/cifar10.py has random images in place of
CIFAR-10. --dtype is our network's; the release has float32 alone.

Only the release's side is run by PYTHON; see `benchmarks.peer_sides`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peer_sides
from benchmarks.peer_sides import CASES, SAMPLES, STEPS


class Worker:
    """One side's process, as seen from the process that compares."""

    def __init__(self, python: str, side: str, folder: Path, arguments: argparse.Namespace):
        program = [peer_sides.__file__] if side == "theirs" else ["-m", "benchmarks.peer_sides"]
        command = [python, *program, side, str(folder), arguments.peer, str(arguments.threads)]
        # A thread of torch that waits for another would otherwise spin, and keep it from a core on a busy machine.
        environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "OMP_WAIT_POLICY": "passive"}
        self._log = folder / f"{side}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )

    def __call__(self, *request: Any) -> Any:
        """Asks, and waits for the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self.close()
            raise SystemExit(f"error: {request[0]} failed; the process printed:\n{self._log.read_text()[-2000:]}")

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def prepare(folder: Path, name: str, dtype: str) -> None:
    """Writes what both sides read: configs, the batch, and the draws of the prior."""
    import jax

    from configs import cifar10, digits
    from pfgm_jax import build, config_files, datasets
    from pfgm_jax import config as config_lib
    from pfgm_jax.keys import sample_keys

    if name == "digits":
        dataset = datasets.load_dataset("digits")
        config = config_lib.fill_in(digits.get_config(), dataset)
        stored = dataset.train[np.arange(config.training.batch_size)]
    else:
        config = cifar10.get_config()
        config.training.field_reference = "batch"  # as in the release
        shape = config.training.batch_size, *build.image_shape(config)
        stored = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    config.model.dtype = dtype
    values = config_files.to_dict(config)
    (folder / "ours.json").write_text(json.dumps(values))
    # Fields that only the release has.
    values["data"] |= {"channels": config.data.num_channels}
    values["training"] |= {"continuous": True}
    values["sampling"] |= {"vs": False}
    values["model"] |= {"normalization": "GroupNorm", "attention_type": "ddpm", "conv_size": 3}
    (folder / "config.json").write_text(json.dumps(values))
    scaling, method = build.create_scaling(config), build.create_method(config)
    batch = scaling.augment(jax.random.key(0), stored, np.arange(len(stored), dtype=np.int32))
    start = method.prior_sample(sample_keys(jax.random.key(1), SAMPLES))
    np.savez(folder / "arrays.npz", stored=stored, batch=np.asarray(batch), start=np.asarray(start))


def compare(name: str, ours: list, theirs: list) -> None:
    """Prints a line of ratios."""
    ratios = np.array(theirs) / np.array(ours)
    clock, cpu = np.median(ratios, axis=0)
    spread = f"{ratios[:, 0].min():.2f} to {ratios[:, 0].max():.2f}"
    print(f"{name:58} {clock:6.2f} {spread:>15} {cpu:6.2f}", flush=True)


def main() -> None:
    """Runs both sides in turns, and prints ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="folder of a clone of the release")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--config", default="digits", choices=("digits", "cifar10"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    # JAX would keep three quarters of a GPU's memory, here and in the process of our side.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    arguments.peer = str(Path(arguments.peer).resolve())
    if not Path(arguments.peer, "models", "ncsnpp.py").is_file():
        parser.error(f"--peer is {arguments.peer}, which has no models/ncsnpp.py; give the folder of a clone")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.config, arguments.dtype)
        theirs = Worker(arguments.python, "theirs", folder, arguments)
        ours = Worker(sys.executable, "ours", folder, arguments)
        try:
            run(theirs, ours, folder, arguments)
        finally:
            theirs.close()
            ours.close()


def run(theirs: Worker, ours: Worker, folder: Path, arguments: argparse.Namespace) -> None:
    """Measures training, then sampling."""
    first, last = str(folder / "first.pth"), str(folder / "last.pth")
    theirs("save", first)
    ours("load", first)
    theirs("train", 2)
    ours("train", 2)
    where = theirs("device")
    print(f"{platform.machine()}, {where}, {arguments.threads} threads, medians of {arguments.rounds} rounds of A B")
    print(f"configs/{arguments.config}.py, our network in {arguments.dtype}")
    print(f"{'ours over theirs, per second':58} {'clock':>6} {'rounds':>15} {'CPU':>6}")
    turns = [(theirs("train", STEPS), ours("train", STEPS)) for _ in range(arguments.rounds)]
    compare("training steps", [b for _, b in turns], [a for a, _ in turns])

    theirs("save", last)
    ours("load", last)
    for case in CASES:
        ours("sample", case)
        turns = [(theirs("sample", case), ours("sample", case)) for _ in range(arguments.rounds)]
        evaluations = f"{turns[-1][1][1]} and {turns[-1][0][1]} evaluations"
        compare(f"samples, {case}, {evaluations}", [b[0] for _, b in turns], [a[0] for a, _ in turns])
        difference = np.abs(np.load(folder / "ours.npy") - np.load(folder / "theirs.npy"))
        print(f"{'':4}pixels, from 0 to 1, differ by {difference.mean():.1e} in the mean")


if __name__ == "__main__":
    main()
