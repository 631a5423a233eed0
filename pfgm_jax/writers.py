"""What a run leaves for people to look at: metrics.jsonl, TensorBoard, image grids."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorboardX
from jaxtyping import UInt8
from PIL import Image

from pfgm_jax.folders import Folder, is_local, write_whole
from pfgm_jax.likelihood import BitsPerDim


class MetricWriter:
    """Writes scalars and pictures to `metrics.jsonl`, `samples/` and `tensorboard/` of a workdir.

    A run that resumes at `step` overwrites what an interrupted one had written beyond it.
    """

    def __init__(self, workdir: Folder, step: int):
        self._path, self._pictures = workdir / "metrics.jsonl", workdir / "samples"
        self._lines = _lines_until(self._path, step)
        write_whole(self._path, "".join(self._lines).encode())
        self._events = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One line of JSON, and a point on each of TensorBoard's curves.

        Raises:
          OSError: they cannot be written.
        """
        self._check_events()
        line = json.dumps({"step": step, **values}) + "\n"
        if is_local(self._path):
            with self._path.open("a") as file:
                file.write(line)
        else:
            # Objects cannot be appended to.
            self._lines.append(line)
            write_whole(self._path, "".join(self._lines).encode())
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def picture(self, step: int, pixels: UInt8[np.ndarray, "H W C"]) -> None:
        """A picture of samples, as a file in `samples/` and in TensorBoard."""
        self._check_events()
        self._pictures.mkdir(exist_ok=True)
        save_picture(self._pictures / f"{step}.png", pixels)
        self._events.add_image("samples", pixels, step, dataformats="HWC")

    def _check_events(self) -> None:
        # A thread of tensorboardX's own writes them; what is queued for it after it has failed waits for ever.
        writer: Any = self._events.file_writer
        if not writer.event_writer._worker.is_alive():
            raise OSError(f"TensorBoard's events cannot be written to {self._events.logdir}")

    def close(self) -> None:
        """Flushes everything."""
        self._events.close()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class NoWriter(MetricWriter):
    """What a process has that leaves writing to another."""

    def __init__(self, workdir: Folder, step: int):
        pass

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def picture(self, step: int, pixels: UInt8[np.ndarray, "H W C"]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _lines_until(path: Folder, step: int) -> list[str]:
    """The lines of a file but those of steps beyond `step`, and a last line that was cut off."""
    kept = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            continue
    return kept


def write_likelihoods(folder: Folder, found: BitsPerDim, summary: Mapping[str, Any]) -> None:
    """Bits per dimension image by image, as `table.csv` and `table.json`.

    Args:
      folder: receives the files.
      found: of every image in every draw.
      summary: what else table.json holds.
    """
    columns = zip(found.mean, found.standard_error, found.evaluations.sum(axis=1), strict=True)
    rows = [
        {"image": i, "bits_per_dim": float(mean), "standard_error": float(error), "evaluations": int(count)}
        for i, (mean, error, count) in enumerate(columns)
    ]
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    write_whole(folder / "table.csv", ("\n".join(lines) + "\n").encode())
    # JSON has no NaN.
    plain = [{k: v if math.isfinite(v) else None for k, v in row.items()} for row in rows]
    content = json.dumps({**summary, "rows": plain}, indent=1, allow_nan=False)
    write_whole(folder / "table.json", f"{content}\n".encode())


def to_pixels(images: UInt8[np.ndarray, "n H W C"], levels: int) -> UInt8[np.ndarray, "n H W C"]:
    """Grey levels 0 .. levels - 1 as 0 .. 255."""
    return np.round(images * (255.0 / (levels - 1))).astype(np.uint8)


def to_picture(pixels: UInt8[np.ndarray, "H W C"]) -> Image.Image:
    """A picture of 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def save_picture(path: Folder, pixels: UInt8[np.ndarray, "H W C"]) -> None:
    """Writes a picture as a PNG file."""
    with path.open("wb") as file:
        to_picture(pixels).save(file, format="PNG")


def image_grid(
    images: UInt8[np.ndarray, "n H W C"], shortest: int = 32, gap: int = 4, columns: int = 0
) -> UInt8[np.ndarray, "H2 W2 C"]:
    """Images side by side in a grid on a grey ground.

    Args:
      images: 8-bit pixels.
      shortest: each image is enlarged, pixel by pixel, until its shorter side has at least this length.
      gap: pixels around each image.
      columns: of the grid; 0 for one that is nearly square.
    """
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    zoom = max(1, math.ceil(shortest / min(h, w)))
    images = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    framed = np.pad(images, [(0, 0), (gap, 0), (gap, 0), (0, 0)], constant_values=128)
    cells = np.full((rows * columns, *framed.shape[1:]), 128, np.uint8)
    cells[:n] = framed
    grid = cells.reshape(rows, columns, *framed.shape[1:]).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(rows * framed.shape[1], columns * framed.shape[2], c)
    return np.pad(grid, [(0, gap), (0, gap), (0, 0)], constant_values=128)
