"""Fashion-MNIST from the published files to the training loop: prepares it, reads it back, and trains a few steps.

    python -m benchmarks.fashion_mnist [--data_dir DIR] [--steps 20]

The files come from Debian's package dataset-fashion-mnist where it is installed (apt install it first), unless they are
in DIR/downloads; without either they are downloaded. One epoch of each split is read as training reads it, put in the
order of its index, and compared with the bytes of the published file. A reduced network of configs/fashion_mnist.py is
then trained by run_lib.train. Without --data_dir everything is in a temporary folder.
"""

import argparse
import gzip
import hashlib
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import run_lib
from configs import fashion_mnist
from pfgm_jax import datasets
from pfgm_jax.commands import command_line
from pfgm_jax.datasets import prepare
from pfgm_jax.datasets.fashion_mnist import FASHION_MNIST
from pfgm_jax.downloads import obtain

BATCH = 1000
REDUCED = {
    "training.batch_size": 256,
    "training.small_batch_size": 32,
    "training.log_freq": 1,
    "training.eval_freq": 10,
    "training.snapshot_sampling": False,
    "model.nf": 16,
    "model.num_res_blocks": 1,
    "optim.lr": 1e-3,
    "optim.warmup": 10,
}


def epoch(split: datasets.Split) -> tuple[np.ndarray, np.ndarray]:
    """Reads an epoch in batches, as training does; returns its images and labels in the order of their index."""
    images, labels = np.zeros(split.shape, np.uint8), np.full(len(split), -1, np.int32)
    steps = len(split) // BATCH
    for batch in datasets.step_batches(split, seed=0, batch_size=BATCH, rows=BATCH, start=0, stop=steps):
        assert batch.label is not None
        images[batch.index], labels[batch.index] = batch.stored, batch.label
    return images, labels


def read_back(directory: Path) -> None:
    """Compares what comes back with the published files.

    Raises:
      AssertionError: they differ.
    """
    dataset = datasets.load_dataset("fashion_mnist", directory=directory)
    paths = [obtain(file, directory / "downloads") for file in FASHION_MNIST.files]
    for name, split, files in (("train", dataset.train, paths[:2]), ("test", dataset.test, paths[2:])):
        start = time.perf_counter()
        images, labels = epoch(split)
        seconds = time.perf_counter() - start
        found = hashlib.sha256(images.tobytes()).hexdigest()
        # What follows the headers.
        pixels, classes = gzip.decompress(files[0].read_bytes())[16:], gzip.decompress(files[1].read_bytes())[8:]
        expected = hashlib.sha256(pixels).hexdigest()
        print(f"{name}: {len(images):,} images in {seconds:.1f} s, the first epoch, in which they are decoded")
        print(f"  SHA-256 {found} of its images")
        print(f"          {expected} of those of {files[0].name}", flush=True)
        assert found == expected, "the images differ"
        assert labels.astype(np.uint8).tobytes() == classes, "the labels differ"
        counts = np.bincount(labels, minlength=len(FASHION_MNIST.classes))
        print("  labels equal; " + ", ".join(f"{c} {n}" for c, n in zip(FASHION_MNIST.classes, counts, strict=True)))


def train(directory: Path, workdir: Path, steps: int) -> None:
    """Trains a reduced network, and prints its losses."""
    config = fashion_mnist.get_config()
    config.update_from_flattened_dict({**REDUCED, "data.dir": str(directory), "training.n_iters": steps})
    start = time.perf_counter()
    assert int(run_lib.train(config, workdir).step) == steps
    print(f"{steps} steps in {time.perf_counter() - start:.0f} s, with compilation")
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        found = json.loads(line)
        print(f"  step {found['step']:3} " + ", ".join(f"{k} {v:.4f}" for k, v in found.items() if "loss" in k))


def main() -> None:
    """Prepares, reads back and trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="folder of data sets; a temporary one by default")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    command_line.set_up_logging()
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.data_dir or Path(temporary)
        start = time.perf_counter()
        path = prepare.prepare("fashion_mnist", directory)
        print(f"prepared in {time.perf_counter() - start:.0f} s in {path}", flush=True)
        read_back(directory)
        train(directory, Path(temporary) / "run", arguments.steps)


if __name__ == "__main__":
    main()
