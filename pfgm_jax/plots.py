"""Draws the field, its lines, and samples on their way along them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pfgm_jax import pictures

matplotlib.use("Agg")

# Maximum number of charges that are drawn.
MOST_CHARGES = 2000


def field_lines_and_samples(
    path: Path,
    lines: Float[np.ndarray, "T L 2"],
    heights: Float[np.ndarray, " T"],
    data: Float[np.ndarray, "n 2"],
    samples: Float[np.ndarray, "m 2"],
    radius: float,
    title: str = "Learned field lines",
) -> None:
    """Draws field lines in three dimensions from charges in the plane up to a hemisphere, and samples beside the data.

    Args:
      path: path of the PNG file.
      lines: positions of L lines at T heights.
      heights: z of each position, ascending.
      data: the charges.
      samples: samples of the model.
      radius: radius of the hemisphere, where lines are cut.
      title: title of the field lines.
    """
    figure = Figure(figsize=(15, 5.5), layout="constrained")
    space = figure.add_subplot(1, 3, 1, projection="3d")
    _draw_charges(space, data)
    _draw_lines(space, lines, heights, radius)
    _draw_hemisphere(space, radius)
    space.set(title=title)

    limit = 1.2 * np.abs(data).max()
    outside = int((np.abs(samples) > limit).any(axis=1).sum())
    of_samples = f"Samples: {outside} of {len(samples)} lie outside" if outside else "Samples"
    for place, name, points, colour in ((2, "Data", data, "crimson"), (3, of_samples, samples, "steelblue")):
        plane = figure.add_subplot(1, 3, place)
        points = points[: len(samples)]
        plane.scatter(points[:, 0], points[:, 1], s=3, color=colour)
        plane.set(title=name, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="x", ylabel="y")
    figure.savefig(path, dpi=100)


class Plane(NamedTuple):
    """A plane with the field in it."""

    title: str
    axes: tuple[str, str]  # names of the axes
    points: Float[np.ndarray, "m 2"]  # where arrows are drawn
    vectors: Float[np.ndarray, "m 2"]  # the field there; only its direction is drawn
    charges: Float[np.ndarray, "n 2"]
    lines: Float[np.ndarray, "T L 2"]  # field lines; none for L = 0


def field_arrows(path: Path, planes: Sequence[Plane]) -> None:
    """Draws the field's direction in one or more planes, side by side.

    Args:
      path: path of the PNG file.
      planes: the planes to draw; their points set the limits of the axes.
    """
    figure = Figure(figsize=(5 * len(planes), 5), layout="constrained")
    for place, plane in enumerate(planes, 1):
        axes = figure.add_subplot(1, len(planes), place)
        axes.plot(plane.lines[..., 0], plane.lines[..., 1], color="steelblue", linewidth=0.8)
        norm = np.linalg.norm(plane.vectors, axis=1, keepdims=True)
        unit = plane.vectors / np.where(norm > 0, norm, 1.0)
        x, y, u, v = plane.points[:, 0], plane.points[:, 1], unit[:, 0], unit[:, 1]
        axes.quiver(x, y, u, v, angles="xy", scale=28, width=0.004, color="0.35", pivot="mid")
        charges = _some(plane.charges)
        axes.scatter(charges[:, 0], charges[:, 1], s=4, color="crimson", zorder=3, clip_on=False)
        (left, low), (right, high) = plane.points.min(axis=0), plane.points.max(axis=0)
        axes.set(title=plane.title, xlabel=plane.axes[0], ylabel=plane.axes[1], aspect="equal")
        axes.set(xlim=(left, right), ylim=(low, high))
    figure.savefig(path, dpi=80)


def rise(
    lines: Float[np.ndarray, "T L 2"], heights: Float[np.ndarray, " T"], radius: float, stages: int
) -> Float[np.ndarray, "stages L 3"]:
    """Computes evenly spaced points on each field line from the plane to a hemisphere.

    Args:
      lines: positions of L lines at T heights.
      heights: z of each position, ascending.
      radius: radius of the hemisphere; every line must start inside it and end outside.
      stages: number of points on each line; the first is its start, the last is on the hemisphere.

    Raises:
      ValueError: a line does not cross the hemisphere.
    """
    space = np.concatenate([lines, np.broadcast_to(heights[:, None, None], (*lines.shape[:2], 1))], axis=2)
    distances = np.linalg.norm(space, axis=2)
    if (distances[0] >= radius).any() or (distances[-1] <= radius).any():
        raise ValueError(f"radius is {radius}; every line must start inside the hemisphere and end outside of it")
    found = []
    for line, distance in zip(space.transpose(1, 0, 2), distances.T, strict=True):
        after = int(np.argmax(distance > radius))
        # The last segment meets the sphere where |p + s d| = radius.
        p, d = line[after - 1], line[after] - line[after - 1]
        share = (-p @ d + np.sqrt((p @ d) ** 2 + (d @ d) * (radius**2 - p @ p))) / (d @ d)
        inside = np.concatenate([line[:after], [p + share * d]])
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(inside, axis=0), axis=1))])
        at = np.linspace(0, length[-1], stages)
        found.append(np.stack([np.interp(at, length, coordinate) for coordinate in inside.T], axis=1))
    return np.stack(found, axis=1).astype(lines.dtype)


def rise_gif(path: Path, stages: Float[np.ndarray, "T L 3"], radius: float, milliseconds: int = 80) -> None:
    """Animates charges that rise from the plane to a hemisphere, and return.

    Args:
      path: path of the GIF file.
      stages: positions of the charges, from the plane to the hemisphere; see `rise`.
      radius: radius of the hemisphere.
      milliseconds: duration of each stage; the first and the last are held longer.
    """
    colours = _angle_colours(stages[0])
    frames = []
    for positions in stages:
        figure = Figure(figsize=(4.2, 2.8), dpi=80)
        space = figure.add_axes((-0.3, -0.32, 1.6, 1.8), projection="3d")
        _draw_hemisphere(space, radius)
        space.scatter(*positions.T, s=5, color=colours, depthshade=False)
        space.set(xlim=(-radius, radius), ylim=(-radius, radius), zlim=(0, radius))
        space.set_axis_off()
        frames.append(_pixels(figure))
    there_and_back = [*frames, *frames[-2:0:-1]]
    held = {0: 10 * milliseconds, len(frames) - 1: 15 * milliseconds}
    _save_gif(path, there_and_back, [held.get(i, milliseconds) for i in range(len(there_and_back))])


def with_and_without_z(
    path: Path,
    flat_lines: Float[np.ndarray, "T L 2"],
    lines: Float[np.ndarray, "S L 2"],
    heights: Float[np.ndarray, " S"],
    data: Float[np.ndarray, "n 2"],
    samples: Float[np.ndarray, "m 2"],
    radius: float,
) -> None:
    """Draws where field lines end without and with the additional dimension, to show why it is needed.

    Args:
      path: path of the PNG file.
      flat_lines: trajectories of the field of charges in the plane itself, from far away inwards.
      lines: field lines of the same charges in space, at S heights.
      heights: z of each position, ascending.
      data: the charges.
      samples: ends of trajectories from the uniform hemisphere.
      radius: radius at which lines are cut.
    """
    figure = Figure(figsize=(15, 5.5), layout="constrained")
    axes = figure.add_subplot(1, 3, 1)
    charges, limit = _some(data), 1.8 * np.abs(data).max()
    axes.scatter(charges[:, 0], charges[:, 1], s=1, color="crimson", alpha=0.4)
    axes.plot(flat_lines[..., 0], flat_lines[..., 1], color="steelblue", linewidth=0.8)
    axes.scatter(flat_lines[-1, :, 0], flat_lines[-1, :, 1], s=30, color="black", zorder=3)
    axes.set(title="Without z: all end in one point", xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    space = figure.add_subplot(1, 3, 2, projection="3d")
    _draw_charges(space, data)
    _draw_lines(space, lines, heights, radius)
    _draw_hemisphere(space, radius)
    space.set(title="With z: each ends elsewhere", zlabel="")
    axes = figure.add_subplot(1, 3, 3)
    axes.scatter(charges[:, 0], charges[:, 1], s=1, color="crimson", alpha=0.4)
    axes.scatter(samples[:, 0], samples[:, 1], s=8, color="black")
    axes.set(title="Where they end, seen from above", xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    figure.savefig(path, dpi=80)


def trajectory_grid(path: Path, pixels: UInt8[np.ndarray, "T n H W C"], heights: Float[np.ndarray, " T"]) -> None:
    """Draws samples on their way from the prior to the data: one sample per row, one z per column.

    Args:
      path: path of the PNG file.
      pixels: pixels of n samples at T heights; 1, 3 or 4 channels.
      heights: z of each column.
    """
    columns, rows, height, width, _ = pixels.shape
    gap = max(1, round(0.06 * max(height, width)))
    framed = np.pad(pixels, [(0, 0), (0, 0), (gap, 0), (gap, 0), (0, 0)], constant_values=255)
    whole = framed.transpose(1, 2, 0, 3, 4).reshape(rows * (height + gap), columns * (width + gap), -1)
    figure = Figure(figsize=(0.9 * columns, 0.9 * rows * height / width + 0.5))
    top = 0.4 / figure.get_figheight()
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0 - top))
    axes.imshow(whole if whole.shape[2] > 1 else whole[..., 0], cmap="gray", vmin=0, vmax=255, aspect="auto")
    axes.set(xticks=gap + (width - 1) / 2 + (width + gap) * np.arange(columns), yticks=[])
    axes.set_xticklabels([f"z = {z:.2g}" for z in heights])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=80)


def trajectory_gif(path: Path, pixels: UInt8[np.ndarray, "T n H W C"], milliseconds: int = 80) -> None:
    """Animates a grid of samples that moves from the prior to the data.

    Args:
      path: path of the GIF file.
      pixels: pixels of n samples at T moments; 1 or 3 channels.
      milliseconds: duration of each moment; the last is held longer.
    """
    frames = [pictures.image_grid(moment, gap=2) for moment in pixels]
    _save_gif(path, frames, [milliseconds] * (len(frames) - 1) + [20 * milliseconds])


def _some(charges: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "m 2"]:
    """Returns at most MOST_CHARGES evenly spaced charges."""
    return charges[:: -(-len(charges) // MOST_CHARGES)]


def _angle_colours(positions: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "L 4"]:
    """Returns colours by the direction in the plane."""
    angle = np.arctan2(positions[:, 1], positions[:, 0])
    return matplotlib.colormaps["hsv"]((angle + np.pi) / (2 * np.pi))


def _draw_charges(space, data: Float[np.ndarray, "n 2"]) -> None:
    charges = _some(data)
    space.scatter(charges[:, 0], charges[:, 1], 0, s=1, color="crimson")


def _draw_lines(space, lines: Float[np.ndarray, "T L 2"], heights: Float[np.ndarray, " T"], radius: float) -> None:
    """Draws lines up to where they leave the hemisphere."""
    inside = np.sum(lines**2, axis=-1) + heights[:, None] ** 2 <= radius**2
    colours = _angle_colours(lines[0])
    for i in range(lines.shape[1]):
        keep = inside[:, i]
        space.plot(lines[keep, i, 0], lines[keep, i, 1], heights[keep], color=colours[i], linewidth=0.6)


def _draw_hemisphere(space, radius: float) -> None:
    # A wireframe, because a shaded surface would break up into patches in the few colours of a GIF.
    azimuth, polar = np.meshgrid(np.linspace(0, 2 * np.pi, 61), np.linspace(0, np.pi / 2, 31))
    space.plot_wireframe(
        radius * np.sin(polar) * np.cos(azimuth),
        radius * np.sin(polar) * np.sin(azimuth),
        radius * np.cos(polar),
        rcount=7,
        ccount=20,
        color="lightsteelblue",
        linewidth=0.5,
    )
    space.set(xlabel="x", ylabel="y", zlabel="z")
    space.set_box_aspect((1, 1, 0.5))


def _pixels(figure: Figure) -> UInt8[np.ndarray, "H W 3"]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _save_gif(path: Path, frames: Sequence[UInt8[np.ndarray, "H W C"]], milliseconds: Sequence[int]) -> None:
    """Saves frames as a GIF that loops: grey frames exactly, coloured frames with a common palette of 256 colours."""
    shown = [pictures.to_picture(frame) for frame in frames]
    if shown[0].mode != "L":
        some = Image.fromarray(np.concatenate(frames[:: -(-len(frames) // 8)]))
        # A palette by coverage: by frequency, the few bright pixels would lose to the many background pixels.
        palette = some.quantize(256, method=Image.Quantize.MAXCOVERAGE)
        colours = np.reshape(palette.getpalette() or [], (-1, 3))
        colours[colours.sum(axis=1).argmax()] = 255  # the background, which the palette only approximates
        palette.putpalette(colours.ravel().tolist())
        shown = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in shown]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=list(milliseconds), loop=0)
