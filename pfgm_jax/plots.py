"""Pictures of the field and of samples in the plane."""

from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

matplotlib.use("Agg")


def field_lines_and_samples(
    path: Path,
    lines: Float[np.ndarray, "T L 2"],
    heights: Float[np.ndarray, " T"],
    data: Float[np.ndarray, "n 2"],
    samples: Float[np.ndarray, "m 2"],
    radius: float,
) -> None:
    """Field lines in three dimensions from charges in the plane up to a hemisphere, and samples beside the data.

    Args:
      path: of the picture, a PNG file.
      lines: positions of L lines at T heights.
      heights: z of each position, ascending.
      data: the charges.
      samples: drawn by the model.
      radius: of the hemisphere, at which lines are cut.
    """
    figure = Figure(figsize=(15, 5.5), layout="constrained")
    space = figure.add_subplot(1, 3, 1, projection="3d")
    charges = data[:: max(1, len(data) // 2000)]
    space.scatter(charges[:, 0], charges[:, 1], 0, s=1, color="crimson")
    inside = np.sum(lines**2, axis=-1) + heights[:, None] ** 2 <= radius**2
    angle = np.arctan2(lines[0, :, 1], lines[0, :, 0])
    colours = matplotlib.colormaps["hsv"]((angle + np.pi) / (2 * np.pi))
    for i in range(lines.shape[1]):
        keep = inside[:, i]
        space.plot(lines[keep, i, 0], lines[keep, i, 1], heights[keep], color=colours[i], linewidth=0.6)
    azimuth, polar = np.meshgrid(np.linspace(0, 2 * np.pi, 60), np.linspace(0, np.pi / 2, 16))
    space.plot_surface(
        radius * np.sin(polar) * np.cos(azimuth),
        radius * np.sin(polar) * np.sin(azimuth),
        radius * np.cos(polar),
        color="steelblue",
        alpha=0.12,
        linewidth=0,
    )
    space.set(title="Learned field lines", xlabel="x", ylabel="y", zlabel="z")
    space.set_box_aspect((1, 1, 0.5))

    limit = 1.2 * np.abs(data).max()
    for place, title, points, colour in ((2, "Data", data, "crimson"), (3, "Samples", samples, "steelblue")):
        plane = figure.add_subplot(1, 3, place)
        points = points[: len(samples)]
        plane.scatter(points[:, 0], points[:, 1], s=3, color=colour)
        plane.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="x", ylabel="y")
    figure.savefig(path, dpi=100)
