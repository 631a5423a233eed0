"""Memory that many large samples take: drawn in pieces, compared by features, and written to files.

    python -m benchmarks.memory [--images 50000] [--side 256] [--folder runs/memory]

The samples are squares of random colours, so that no network is needed, and the features are means of their pixels, as
many as Inception's. Everything else is the code of `--mode eval` and `--mode sample`. Printed is the most memory that
the process held at a time, without pages of files, which the system takes back when it needs them. The folder takes
three times the bytes of the samples on the disk, and is deleted.
"""

import argparse
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from pfgm_jax import metrics, reports
from pfgm_jax.metrics.features import Features
from pfgm_jax.pieces import rows_in_pieces

PIECE, FEATURES = 100, 2048


def held() -> int:
    """Bytes of memory of this process that are no pages of files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["RssAnon"].split()[0])


class Peak:
    """The most memory that is held while it is open."""

    def __enter__(self) -> "Peak":
        self.most, self._open = held(), True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._open:
            self.most = max(self.most, held())
            time.sleep(0.01)

    def __exit__(self, *_) -> None:
        self._open = False
        self._thread.join()


class Means:
    """An extractor of means of pixels."""

    @property
    def record(self) -> dict[str, Any]:
        """Says what it is."""
        return {"features": "means"}

    def __call__(self, images: np.ndarray) -> Features:
        """Computes them."""
        parts = images.reshape(len(images), FEATURES, -1)
        return Features(parts.mean(axis=2, dtype=np.float32), None)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--folder", type=Path, default=Path("runs/memory"))
    arguments = parser.parse_args()
    side = arguments.side

    def draw(first: int) -> dict[str, np.ndarray]:
        colours = np.random.default_rng(first).integers(0, 256, (PIECE, 1, 1, 3), dtype=np.uint8)
        return {"samples": np.tile(colours, (1, side, side, 1)), "evaluations": np.full(PIECE, 20)}

    size = arguments.images * side * side * 3
    print(f"{arguments.images} images of {side} x {side}: {size / 1e9:.2f} GB; {held() / 1e9:.2f} GB held before")
    try:
        with Peak() as peak:
            rows = rows_in_pieces(arguments.folder / "pieces", arguments.images, PIECE, draw, "sample")
        print(f"drawn: {peak.most / 1e9:.2f} GB", flush=True)
        with Peak() as peak:
            metrics.extract(rows["samples"], Means())
        print(f"features: {peak.most / 1e9:.2f} GB", flush=True)
        with Peak() as peak:
            reports.write_samples(arguments.folder, rows["samples"], rows["evaluations"], (0.0, 255.0))
        print(f"written: {peak.most / 1e9:.2f} GB", flush=True)
    finally:
        shutil.rmtree(arguments.folder)


if __name__ == "__main__":
    main()
