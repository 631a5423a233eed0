import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from scipy import integrate

from pfgm_jax import plots
from pfgm_jax.pictures import image_grid


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they were when they were saved."""
    figures = []
    save = Figure.savefig

    def record(figure, *arguments, **options):
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", record)
    return figures


def size(path):
    with Image.open(path) as picture:
        return picture.size


def frames(path):
    with Image.open(path) as gif:
        for frame in ImageSequence.Iterator(gif):
            yield frame.copy(), frame.info["duration"]


def straight_lines(slopes, heights):
    return heights[:, None, None] * np.asarray(slopes, np.float32)


def test_straight_lines_rise_evenly_to_the_hemisphere():
    slopes = np.array([[0.0, 0.0], [3.0, -4.0], [0.1, 0.2]], np.float32)
    heights = np.geomspace(1e-4, 10, 40)
    stages = plots.rise(straight_lines(slopes, heights), heights, radius=2.0, stages=5)
    unit = np.c_[slopes, np.ones(3)] / np.sqrt(1 + (slopes**2).sum(1, keepdims=True))
    exact = np.linspace(0, 2, 5)[:, None, None] * unit
    np.testing.assert_allclose(stages, exact, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(stages[-1], axis=1), 2.0, rtol=1e-6)


def test_curved_lines_rise_evenly_along_their_length():
    heights = np.linspace(0, 3, 2000)
    lines = np.stack([heights**2, np.zeros_like(heights)], axis=1)[:, None]
    stages = plots.rise(lines, heights, radius=2.0, stages=9)[:, 0]
    length = lambda z: integrate.quad(lambda u: math.hypot(1, 2 * u), 0, z)[0]
    top = math.sqrt((math.sqrt(17) - 1) / 2)  # z⁴ + z² = 4
    lengths = [length(z) for z in stages[:, 2]]
    np.testing.assert_allclose(lengths, np.linspace(0, length(top), 9), atol=1e-3)
    np.testing.assert_allclose(stages[:, 0], stages[:, 2] ** 2, atol=1e-3)


@pytest.mark.parametrize("radius", [1e-5, 100.0])
def test_rising_asks_for_lines_that_cross_the_hemisphere(radius):
    heights = np.geomspace(1e-4, 10, 40)
    with pytest.raises(ValueError, match=f"radius is {radius}; every line must start inside"):
        plots.rise(straight_lines([[0.0, 0.0]], heights), heights, radius, stages=3)


def test_rising_charges_move_up_and_back(tmp_path):
    heights = np.geomspace(1e-4, 10, 40)
    slopes = np.random.default_rng(0).normal(size=(50, 2))
    stages = plots.rise(straight_lines(slopes, heights), heights, radius=2.0, stages=6)
    plots.rise_gif(tmp_path / "rise.gif", stages, radius=2.0, milliseconds=50)
    pictures, durations = zip(*frames(tmp_path / "rise.gif"), strict=True)
    assert durations == (500, 50, 50, 50, 50, 750, 50, 50, 50, 50)

    def width(picture):
        """Of what is drawn in strong colours, in pixels."""
        rgb = np.asarray(picture.convert("RGB"), int)
        columns = np.flatnonzero((rgb.max(-1) - rgb.min(-1) > 150).any(0))
        return columns.max() - columns.min()

    widths = [width(picture) for picture in pictures]
    assert widths[0] < widths[2] < widths[4] < widths[5]
    assert widths[1:5] == widths[:5:-1]


def test_moving_trajectories_show_every_moment_to_the_bit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 8, 8, 1), np.uint8)
    plots.trajectory_gif(tmp_path / "samples.gif", pixels, milliseconds=40)
    found = list(frames(tmp_path / "samples.gif"))
    assert [duration for _, duration in found] == [40, 40, 40, 40, 800]
    for (picture, _), moment in zip(found, pixels, strict=True):
        np.testing.assert_array_equal(np.asarray(picture.convert("L")), image_grid(moment, gap=2)[..., 0])


@pytest.mark.parametrize(("channels", "height"), [(1, 8), (3, 12)])
def test_grid_of_trajectories_has_a_sample_in_each_row_and_a_height_in_each_column(tmp_path, drawn, channels, height):
    values = np.random.default_rng(0).integers(0, 256, (4, 3, 1, 1, channels))
    pixels = np.broadcast_to(values, (4, 3, height, 8, channels)).astype(np.uint8)
    plots.trajectory_grid(tmp_path / "grid.png", pixels, np.array([20.0, 1.5, 0.1, 0.001]))
    labels = [label.get_text() for label in drawn[0].axes[0].get_xticklabels()]
    assert labels == ["z = 20", "z = 1.5", "z = 0.1", "z = 0.001"]
    with Image.open(tmp_path / "grid.png") as png:
        picture = np.asarray(png.convert("RGB"))
    top = 32  # of the labels
    cells = (picture.shape[0] - top) / 3, picture.shape[1] / 4
    for column in range(4):
        for row in range(3):
            centre = picture[top + int((row + 0.5) * cells[0]), int((column + 0.5) * cells[1])]
            expected = np.broadcast_to(values[column, row, 0, 0], 3)
            np.testing.assert_allclose(centre, expected, atol=1)


def test_arrows_have_the_direction_of_the_field(tmp_path, drawn):
    rng = np.random.default_rng(0)
    points, vectors, charges = rng.normal(size=(3, 30, 2))
    vectors[0] = 0
    plane = plots.Plane("Plane", ("x", "z"), points, vectors, charges, rng.normal(size=(5, 3, 2)))
    plots.field_arrows(tmp_path / "arrows.png", [plane, plane._replace(lines=np.zeros((2, 0, 2)))])
    first, second = drawn[0].axes
    (arrows,) = (c for c in first.collections if hasattr(c, "U"))
    np.testing.assert_allclose(arrows.get_offsets(), points)
    unit = vectors[1:] / np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    np.testing.assert_allclose(np.c_[arrows.U, arrows.V], np.r_[[[0, 0]], unit])
    for line, exact in zip(first.lines, plane.lines.transpose(1, 0, 2), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), exact)
    assert not second.lines
    assert first.get_xlim() == (points[:, 0].min(), points[:, 0].max())
    assert size(tmp_path / "arrows.png") == (800, 400)


def test_lines_in_space_are_cut_at_the_hemisphere(tmp_path, drawn):
    heights = np.geomspace(1e-3, 10, 50)
    lines = straight_lines([[0.0, 1.0], [2.0, 0.0]], heights)
    data = samples = np.random.default_rng(0).normal(size=(5000, 2))
    plots.field_lines_and_samples(
        tmp_path / "lines.png", lines, heights, data, samples[:100], radius=3.0, title="Lines"
    )
    plots.with_and_without_z(tmp_path / "z.png", lines[::-1], lines, heights, data, samples[:100], radius=3.0)
    first, second = drawn
    assert [axes.get_title() for axes in first.axes] == ["Lines", "Data", "Samples"]
    for space in (first.axes[0], second.axes[1]):
        assert len(space.lines) == 2
        for line in space.lines:
            distance = np.linalg.norm(np.array(line.get_data_3d()), axis=0)
            assert distance.max() <= 3.0 < distance.max() * (heights[1] / heights[0])
    flat = second.axes[0]
    np.testing.assert_allclose([line.get_xydata()[-1] for line in flat.lines], lines[0])
    for name in ("lines.png", "z.png"):
        assert size(tmp_path / name)[0] >= 1000


def test_formulas_of_the_theory_are_where_its_links_say():
    text = Path("docs/theory.md").read_text()
    links = re.findall(r"\[([^\]]*)\]\(([^)]+)\)", text)
    files = [(name, Path("docs") / target) for name, target in links if not target.startswith("http")]
    assert len(files) > 15
    for name, path in files:
        assert path.is_file(), path
        for function in re.findall(r"`(\w+)`", name):
            assert f"def {function}(" in path.read_text(), (function, path)
