"""Writes the results of sampling, evaluation and likelihoods to a workdir: pictures, tables, JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorboardX
from jaxtyping import Int, Num

from pfgm_jax import config_files, pictures
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.likelihood import BitsPerDim
from pfgm_jax.reading import map_arrays, read_arrays
from pfgm_jax.trained_model import TrainedModel

# Images in the grid of restored ones.
GRID_ROWS = 16


def write_samples(
    folder: Folder,
    stored: Num[np.ndarray, "n H W C"],
    evaluations: Int[np.ndarray, " n"],
    window: tuple[float, float] | None,
    labels: Num[np.ndarray, "n ..."] | None = None,
) -> None:
    """Writes samples to samples.npz, and images also to grid.png and one PNG file each.

    Args:
      folder: of these samples and no others; if it holds more of them already, these stay.
      stored: grey levels or real numbers.
      evaluations: number of network evaluations of each sample.
      window: what pictures show as black and white; None for vectors, of which there are none.
      labels: of each sample; None for none. The grid then has one class a row.
    """
    there = _count_samples(folder)
    pictures_there = sum(1 for _ in folder.glob("[0-9]*.png")) if window else there
    if there > len(stored) or there == len(stored) == pictures_there:
        return
    if window:
        # Not of all at once, which may be more than fits in memory.
        pixels_of = lambda rows: pictures.to_pixels(stored[rows], window)
        if labels is not None and labels.ndim == 1:
            of_classes = (np.flatnonzero(labels == label) for label in np.unique(labels)[: pictures.GRID_CLASSES])
            shown = np.concatenate([rows[: pictures.CLASS_IMAGES] for rows in of_classes])
            grid = pictures.class_grid(pixels_of(shown), labels[shown])
        else:
            grid = pictures.image_grid(pixels_of(slice(pictures.GRID_IMAGES)))
        pictures.save_picture(folder / "grid.png", grid)
        digits = len(str(len(stored) - 1))
        names = {f"{i:0{digits}}.png" for i in range(len(stored))}
        for i, name in enumerate(sorted(names)):
            pictures.save_picture(folder / name, pixels_of(slice(i, i + 1))[0])
        for path in folder.glob("[0-9]*.png"):
            if path.name not in names:  # the same image under a number of fewer digits
                path.unlink()
    given = {} if labels is None else {"labels": labels}
    write = lambda file: np.savez(file, allow_pickle=False, samples=stored, evaluations=evaluations, **given)
    write_whole(folder / "samples.npz", write)  # last, since it says that the rest is there


def _count_samples(folder: Folder) -> int:
    path, cure = folder / "samples.npz", "it is written again"
    try:
        held = map_arrays(path, str(path), cure) if isinstance(path, Path) else read_arrays(path, str(path), cure)
    except (FileNotFoundError, InputError):
        return 0
    return len(held["samples"]) if isinstance(held, dict) and "samples" in held and held["samples"].ndim else 0


def write_likelihoods(
    folder: Folder, found: BitsPerDim, summary: Mapping[str, Any], files: Sequence[str] | None = None
) -> None:
    """Writes bits per dimension of each image to `table.csv` and `table.json`.

    Args:
      folder: folder for the files.
      found: bits per dimension of every image in every draw.
      summary: further content of table.json.
      files: of the images, where they come from files.
    """
    columns = zip(found.mean, found.standard_error, found.evaluations.sum(axis=1), strict=True)
    rows = [
        {
            "image": i,
            **({"file": files[i]} if files else {}),
            "bits_per_dim": float(mean),
            "standard_error": float(error),
            "evaluations": int(count),
        }
        for i, (mean, error, count) in enumerate(columns)
    ]
    lines = io.StringIO()
    table = csv.DictWriter(lines, rows[0].keys(), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    # A file's name may have bytes that are not UTF-8.
    write_whole(folder / "table.csv", lines.getvalue().encode(errors="surrogateescape"))
    # JSON has no NaN.
    finite = lambda value: None if isinstance(value, float) and not math.isfinite(value) else value
    plain = [{name: finite(value) for name, value in row.items()} for row in rows]
    content = json.dumps({**summary, "rows": plain}, indent=1, allow_nan=False)
    write_whole(folder / "table.json", f"{content}\n".encode())


def write_restored(
    folder: Folder,
    rows: Mapping[str, np.ndarray],
    summary: Mapping[str, Any],
    columns: Num[np.ndarray, "n columns H W C"],
    window: tuple[float, float] | None,
    files: Sequence[str] | None = None,
) -> None:
    """Writes restored images to restored.npz, numbers to table.json, and pictures: grid.png and one of each answer.

    Args:
      folder: of these images and no others.
      rows: `restored` [n, samples, H, W, C], `misfit` and `evaluations` [n, samples].
      summary: content of table.json, besides the misfit of each.
      columns: what a row of the grid shows.
      window: what pictures show as black and white; None for vectors, of which there are none.
      files: of the images, where they come from files.
    """
    restored = rows["restored"]
    if window:
        flat = pictures.to_pixels(columns.reshape(-1, *columns.shape[2:]), window)
        pictures.save_picture(folder / "grid.png", pictures.image_grid(flat, columns=columns.shape[1]))
        digits, samples = len(str(len(restored) - 1)), restored.shape[1]
        for i, answers in enumerate(restored):
            for j, pixels in enumerate(pictures.to_pixels(answers, window)):
                name = f"{i:0{digits}}.png" if samples == 1 else f"{i:0{digits}}-{j}.png"
                pictures.save_picture(folder / name, pixels)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: rows[name] for name in ("restored", "misfit", "evaluations")})
    write_whole(folder / "restored.npz", buffer.getvalue())
    of_files = {"files": list(files)} if files else {}
    content = json.dumps({**summary, **of_files, "misfits": rows["misfit"].tolist()}, indent=1)
    write_whole(folder / "table.json", f"{content}\n".encode(errors="surrogateescape"))


def write_report(path: Folder, workdir: Folder, model: TrainedModel, report: dict[str, Any]) -> None:
    """Writes the report of an evaluation to a file, and its numbers to TensorBoard."""
    values = config_files.to_dict(model.config)
    content = {**report, "config": {group: values[group] for group in values if group not in ("model", "optim")}}
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    numbers = {f"eval/{name}": value for name, value in report.items() if isinstance(value, float)}
    with tensorboardX.SummaryWriter(str(workdir / "tensorboard"), filename_suffix=".eval") as events:
        for name, value in numbers.items():
            events.add_scalar(name, value, model.step)


def table(reports: list[dict[str, Any]]) -> str:
    """Formats reports side by side, one value per line; then, of each, what was measured of classes, one per line."""
    names = list(dict.fromkeys(name for report in reports for name in report if name != "classes"))
    lines = [name.ljust(30) + "".join(_shown(report.get(name, "")) for report in reports) for name in names]
    for report in reports:
        classes = report.get("classes", {})
        columns = list(dict.fromkeys(name for of in classes.values() for name in of))
        lines += ["class".ljust(8) + "".join(name.rjust(14) for name in columns)] if columns else []
        lines += [
            str(label).ljust(8) + "".join(_shown(of.get(c, "")) for c in columns) for label, of in classes.items()
        ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return (f"{value:.6g}" if isinstance(value, float) else str(value)).rjust(14)
