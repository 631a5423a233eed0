"""Writes training metrics and samples: metrics.jsonl, TensorBoard, grids of samples."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorboardX
from jaxtyping import UInt8

from pfgm_jax import pictures
from pfgm_jax.folders import Folder, is_local, write_whole
from pfgm_jax.reading import parse_line
from pfgm_jax.training.overfitting import Losses, losses_of_lines


class MetricWriter:
    """A writer of scalars and pictures to `metrics.jsonl`, `samples/` and `tensorboard/` in a workdir.

    A run that resumes at `step` moves to `metrics.dropped.jsonl` what an interrupted run wrote after it.
    """

    def __init__(self, workdir: Folder, step: int):
        self._path, self._pictures = workdir / "metrics.jsonl", workdir / "samples"
        self._lines, dropped = _lines_until(self._path, step)
        if dropped:
            others = workdir / "metrics.dropped.jsonl"
            before = others.read_bytes() if others.exists() else b""
            write_whole(others, before + b"".join(dropped))
        write_whole(self._path, b"".join(self._lines))
        self._events = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def losses(self) -> list[Losses]:
        """Returns the losses of the run before it resumed."""
        return losses_of_lines(self._lines)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line of JSON, and a point on each TensorBoard curve.

        Raises:
          OSError: a file cannot be written.
        """
        self._check_events()
        line = (json.dumps({"step": step, **values}) + "\n").encode()
        if is_local(self._path):
            with self._path.open("ab") as file:
                file.write(line)
        else:
            # Object stores cannot append.
            self._lines.append(line)
            write_whole(self._path, b"".join(self._lines))
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def picture(self, step: int, pixels: UInt8[np.ndarray, "H W C"]) -> None:
        """Writes a picture of samples to a file in `samples/` and to TensorBoard."""
        self._check_events()
        self._pictures.mkdir(exist_ok=True)
        pictures.save_picture(self._pictures / f"{step}.png", pixels)
        self._events.add_image("samples", pixels, step, dataformats="HWC")

    def _check_events(self) -> None:
        # tensorboardX writes events in its own thread. If the thread has failed, the queue would block forever.
        writer: Any = self._events.file_writer
        if not writer.event_writer._worker.is_alive():
            raise OSError(f"TensorBoard's events cannot be written to {self._events.logdir}")

    def close(self) -> None:
        """Flushes and closes the files."""
        self._events.close()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class NoWriter(MetricWriter):
    """A writer that does nothing, for processes other than the first."""

    def __init__(self, workdir: Folder, step: int):
        pass

    def losses(self) -> list[Losses]:
        """Returns none."""
        return []

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def picture(self, step: int, pixels: UInt8[np.ndarray, "H W C"]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def _lines_until(path: Folder, step: int) -> tuple[list[bytes], list[bytes]]:
    """Splits the lines of a file into those of steps up to `step` and the rest, such as one that was cut off."""
    kept, dropped = [], []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        own = parse_line(line).get("step")
        keeps = isinstance(own, int) and own <= step
        (kept if keeps else dropped).append(line + b"\n")
    return kept, dropped
