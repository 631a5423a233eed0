"""What a run leaves for people to look at: metrics.jsonl, TensorBoard, image grids."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorboardX
from jaxtyping import UInt8
from PIL import Image


class MetricWriter:
    """Writes scalars and images to `metrics.jsonl` and `tensorboard/` of a workdir.

    A run that resumes at `step` overwrites what an interrupted one had written beyond it.
    """

    def __init__(self, workdir: Path, step: int):
        path = workdir / "metrics.jsonl"
        if path.exists():
            _drop_later_lines(path, step)
        self._lines = path.open("a")
        self._events = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One line of JSON, and a point on each of TensorBoard's curves."""
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "H W C"]) -> None:
        """An image in TensorBoard."""
        self._events.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes everything."""
        self._lines.close()
        self._events.close()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _drop_later_lines(path: Path, step: int) -> None:
    """Removes lines of steps beyond `step`, and a last line that was cut off."""
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            continue
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)


def to_pixels(images: UInt8[np.ndarray, "n H W C"], levels: int) -> UInt8[np.ndarray, "n H W C"]:
    """Grey levels 0 .. levels - 1 as 0 .. 255."""
    return np.round(images * (255.0 / (levels - 1))).astype(np.uint8)


def to_picture(pixels: UInt8[np.ndarray, "H W C"]) -> Image.Image:
    """A picture of 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def image_grid(images: UInt8[np.ndarray, "n H W C"], shortest: int = 32, gap: int = 4) -> UInt8[np.ndarray, "H2 W2 C"]:
    """Images side by side in a nearly square grid on a grey ground.

    Args:
      images: 8-bit pixels.
      shortest: each image is enlarged, pixel by pixel, until its shorter side has at least this length.
      gap: pixels around each image.
    """
    n, h, w, c = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    zoom = max(1, math.ceil(shortest / min(h, w)))
    images = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    framed = np.pad(images, [(0, 0), (gap, 0), (gap, 0), (0, 0)], constant_values=128)
    cells = np.full((rows * columns, *framed.shape[1:]), 128, np.uint8)
    cells[:n] = framed
    grid = cells.reshape(rows, columns, *framed.shape[1:]).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(rows * framed.shape[1], columns * framed.shape[2], c)
    return np.pad(grid, [(0, gap), (0, gap), (0, 0)], constant_values=128)
