"""The page of a run: report.html in its workdir, with config, losses, samples, evaluations and restored images.

It is one file that needs no network: what it shows is in it, pictures among it.
"""

import base64
import contextlib
import datetime
import io
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

import pfgm_jax.version
from pfgm_jax import config_files, defaults, diary, sharding
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.reading import parse_line, read_json

log = logging.getLogger("pfgm_jax")

FILE = "report.html"
# Points of a curve, pictures by step, pixels of a picture's longer side and lines of the log; more would make the page
# slow.
MOST_POINTS, MOST_GRIDS, LARGEST_PICTURE, MOST_LINES = 1000, 30, 900, 200
# Of a results folder's numbers: what says where or how, and not what was found.
_NOT_NUMBERS = {"config", "rows", "misfits", "files", "classes", "hash"}
_TEMPLATE = epath.resource_path("pfgm_jax") / "pages" / "run.html"
_PLACE = "/*content*/null"


def write(workdir: Folder) -> Folder:
    """Writes the page of a run, and returns its file.

    Args:
      workdir: of the run.

    Raises:
      InputError: there is no run, or its config.json is damaged.
    """
    # In a script only the end of an element would be read as anything but text.
    content = json.dumps(_plain(collect(workdir)), allow_nan=False).replace("</", "<\\/")
    write_whole(workdir / FILE, _TEMPLATE.read_text().replace(_PLACE, content).encode())
    return workdir / FILE


def update(workdir: Folder) -> None:
    """Writes the page of a run, or a warning if it cannot be written."""
    try:
        write(workdir)
    except Exception as error:  # of the disk, of an object store, or of another process that writes it
        log.warning("%s was not written (%s)", workdir / FILE, error)


@contextlib.contextmanager
def reported(workdir: Folder, command: str) -> Iterator[None]:
    """Keeps the log of a workdir while a command is under way, and writes its page however that ends.

    Args:
      workdir: of the run.
      command: such as train.
    """
    try:
        with diary.kept(workdir, command):
            yield
    finally:
        if sharding.is_first() and (workdir / "config.json").exists():
            update(workdir)


def collect(workdir: Folder) -> dict[str, Any]:
    """Collects what the page shows, in values of JSON; files that are damaged are named in `problems`.

    Args:
      workdir: of the run.

    Raises:
      InputError: there is no run, or its config.json is damaged.
    """
    problems: list[str] = []
    lines = _lines(workdir / "metrics.jsonl")
    return {
        "name": workdir.name,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": pfgm_jax.version.__version__,
        "step": lines[-1]["step"] if lines else 0,
        "seconds": _seconds(lines),
        "config": _config(workdir),
        "curves": _curves(lines),
        "grids": _grids(workdir / "samples"),
        "evaluations": _evaluations(workdir / "eval", problems),
        "samples": _results(workdir / "samples", problems),
        "likelihoods": _results(workdir / "likelihood", problems),
        "restored": _results(workdir / "restored", problems),
        "dropped": _interruptions(workdir),
        "damaged": sorted(path.name for path in _inside(workdir / "damaged")),
        "problems": problems,
        "log": _log(workdir / diary.FILE),
    }


def _plain(value: Any) -> Any:
    """Replaces numbers that JSON does not have, such as D = inf, by their names."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _config(workdir: Folder) -> list[dict[str, Any]]:
    """Lists all fields with their values and defaults; those that differ come first."""
    values, usual = (
        config_files.flat(config_files.to_dict(c)) for c in (config_files.read(workdir), defaults.get_config())
    )
    fields = [{"field": name, "value": value, "default": usual.get(name)} for name, value in values.items()]
    return sorted(fields, key=lambda field: (field["value"] == field["default"], field["field"]))


def _lines(path: Folder) -> list[dict[str, Any]]:
    """Reads lines of metrics, leaving out any that a killed process cut off."""
    lines = path.read_bytes().splitlines() if path.is_file() else ()
    return [values for values in map(parse_line, lines) if isinstance(values.get("step"), int)]


def _log(path: Folder) -> list[dict[str, str]]:
    """Returns the newest warnings and errors of the run's log, the newest first."""
    lines = path.read_bytes().splitlines() if path.is_file() else ()
    records = [
        {name: str(found[name]) for name in ("time", "command", "level", "message")}
        for found in map(parse_line, lines)
        if {"time", "command", "message"} <= found.keys() and found.get("level") in ("warning", "error")
    ]
    return records[: -MOST_LINES - 1 : -1]


def _seconds(lines: list[dict[str, Any]]) -> float:
    """Adds up the seconds of all steps that are logged."""
    steps = np.diff([0, *(line["step"] for line in lines)])
    speeds = [line.get("steps_per_second") for line in lines]
    timed = zip(steps, speeds, strict=True)
    return float(sum(n / speed for n, speed in timed if isinstance(speed, int | float) and speed > 0))


def _curves(lines: list[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """Returns points (step, value) by name; of longer curves, evenly spaced ones and the last."""
    curves: dict[str, list[list[float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                curves.setdefault(name, []).append([line["step"], value])
    return {name: _spaced(points, MOST_POINTS) for name, points in curves.items()}


def _spaced(items: list[Any], most: int) -> list[Any]:
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))]


def _inside(folder: Folder) -> Iterable[Folder]:
    return sorted(folder.iterdir()) if folder.is_dir() else ()


def _grids(folder: Folder) -> list[dict[str, Any]]:
    """Returns the pictures that training drew, by step."""
    files = {int(path.stem): path for path in _inside(folder) if path.suffix == ".png" and path.stem.isdecimal()}
    pictures = ((step, _picture(files[step])) for step in _spaced(sorted(files), MOST_GRIDS))
    return [{"step": step, "picture": picture} for step, picture in pictures if picture]


def _picture(path: Folder) -> str:
    """Returns a picture as an address that holds it; "" if it cannot be read."""
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
            file = io.BytesIO()
            image.save(file, "PNG", optimize=True)
    except (OSError, ValueError, SyntaxError):
        return ""
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _read(path: Folder, problems: list[str]) -> dict[str, Any]:
    try:
        found = read_json(path, "it is left out")
    except FileNotFoundError:
        return {}
    except InputError as error:
        problems.append(str(error))
        return {}
    return found if isinstance(found, dict) else {}


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a table shows of a result."""
    return {name: v for name, v in values.items() if name not in _NOT_NUMBERS and not isinstance(v, dict | list)}


def _evaluations(folder: Folder, problems: list[str]) -> list[dict[str, Any]]:
    """Returns the reports of evaluations with the pictures of their curves."""
    found = []
    for path in _inside(folder):
        if path.suffix != ".json" or not (values := _read(path, problems)):
            continue
        curves = [figure for figure in _inside(folder / path.stem) if figure.suffix == ".png"]
        # The names of files are of use on this machine only.
        numbers = {name: value for name, value in _numbers(values).items() if not isinstance(value, str)}
        pictures = [{"name": figure.stem, "picture": _picture(figure)} for figure in curves]
        found.append({"name": path.stem, "numbers": numbers, "classes": values.get("classes"), "pictures": pictures})
    return sorted(found, key=lambda report: report["numbers"].get("step") or 0)


def _results(folder: Folder, problems: list[str]) -> list[dict[str, Any]]:
    """Returns results that have a folder each: their numbers, if any, and their grid of pictures."""
    found = []
    for path in _inside(folder):
        if not path.is_dir():
            continue
        grid = path / "grid.png"
        numbers = _numbers(_read(path / "table.json", problems))
        if numbers or grid.is_file():
            found.append({"name": path.name, "numbers": numbers, "picture": _picture(grid) if grid.is_file() else ""})
    return found


def _interruptions(workdir: Folder) -> list[list[int]]:
    """Returns the ranges of steps that an interrupted run had logged and that were then taken again."""
    ranges: list[list[int]] = []
    for line in _lines(workdir / "metrics.dropped.jsonl"):
        if ranges and line["step"] > ranges[-1][1]:
            ranges[-1][1] = line["step"]
        else:
            ranges.append([line["step"], line["step"]])
    return ranges
