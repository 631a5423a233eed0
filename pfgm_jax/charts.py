"""Curves of quality, and other curves, as pictures."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pfgm_jax import sharding
from pfgm_jax.folders import Folder, write_whole

# What samples are compared by: of images, and of vectors.
DISTANCES = {"fid": "Fréchet distance", "sliced_wasserstein": "sliced Wasserstein distance"}

Points = Sequence[Mapping[str, float]]


def write(path: Folder, curve: Any, draw: Callable[[Folder], None]) -> Folder:
    """Writes a curve as JSON, and as a picture beside it, by the first process; returns the file of the former.

    Args:
      path: of the files, without suffixes.
      curve: values of JSON.
      draw: draws the picture into a file.
    """

    def write_both():
        write_whole(path.with_suffix(".json"), (json.dumps(curve, indent=1) + "\n").encode())
        draw(path.with_suffix(".png"))

    sharding.on_first_process(write_both)
    return path.with_suffix(".json")


@contextlib.contextmanager
def axes(path: Folder, xscale: str = "log") -> Iterator[Any]:
    """Yields axes to draw on, the vertical one logarithmic, then saves them as a picture."""
    from matplotlib.figure import Figure  # takes a second, and training does not need it

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    drawn = figure.add_subplot(xscale=xscale, yscale="log")
    yield drawn
    drawn.legend()
    with path.open("wb") as file:
        figure.savefig(file, format="png", dpi=100)


def plot_quality(path: Folder, curves: Mapping[str, Points], field: str, label: str, xscale: str = "log") -> None:
    """Draws distances of samples from the data against something.

    Args:
      path: of the picture.
      curves: the points of each curve, with a distance each.
      field: what they are drawn against.
      label: what that is called.
      xscale: 'log' or 'linear'.
    """
    with axes(path, xscale) as drawn:
        for name, points in curves.items():
            distance = next(distance for distance in DISTANCES if distance in points[0])
            values = [[p[f] for p in points] for f in (field, distance)]
            drawn.plot(*values, marker="o", markersize=4, label=name)
            drawn.set(xlabel=label, ylabel=DISTANCES[distance])
