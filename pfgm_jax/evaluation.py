"""What an evaluation is made of: rows that survive interruptions, metrics, reports."""

import dataclasses
import io
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import UInt8

from pfgm_jax import build, datasets, metrics, ode, sharding
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.likelihood import BitsPerDim
from pfgm_jax.metrics.image_files import PictureFolder
from pfgm_jax.pretrained import Pretrained
from pfgm_jax.sharding import Devices

log = logging.getLogger("pfgm_jax")

Rows = dict[str, np.ndarray]
Comparison = Callable[[UInt8[np.ndarray, "n H W C"]], dict[str, float]]

# Images that are hashed, spread evenly over a split.
HASHED = 4096


def rows_in_pieces(
    folder: Folder, record: dict[str, Any], total: int, size: int, compute: Callable[[int], Rows]
) -> Rows:
    """Rows that are computed and saved a piece at a time; those that an interrupted evaluation has saved are read.

    All processes call it; process 0 writes.

    Args:
      folder: receives a file a piece, and what made them; pieces that were made otherwise are removed.
      record: of what makes them.
      total: number of rows.
      size: rows of a piece.
      compute: number of a piece's first row -> arrays of `size` rows, of which those beyond `total` do not count.

    Returns:
      Arrays of `total` rows, and the seconds [pieces] that each took.
    """
    record = json.loads(json.dumps({**record, "rows": size}))
    starts = range(0, total, size)
    found = sharding.first_does(lambda: _count_pieces(folder, record, starts))
    done = sharding.first_text("" if found is None else str(found))
    pieces = []
    for i, first in enumerate(starts):
        if i < int(done):
            pieces.append(_read_piece(folder, first))
            continue
        start = time.perf_counter()
        piece = compute(first)
        piece["seconds"] = np.array(time.perf_counter() - start)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **piece)
        sharding.first_does(lambda f=first, b=buffer: write_whole(_piece(folder, f), b.getvalue()))
        pieces.append(piece)
    rows = {name: np.concatenate([p[name] for p in pieces])[:total] for name in pieces[0] if name != "seconds"}
    return {**rows, "seconds": np.array([p["seconds"] for p in pieces])}


def _piece(folder: Folder, first: int) -> Folder:
    return folder / f"{first:08}.npz"


def _read_piece(folder: Folder, first: int) -> Rows:
    with _piece(folder, first).open("rb") as file:
        content = np.load(file, allow_pickle=False)
        return {name: content[name] for name in content.files}


def _count_pieces(folder: Folder, record: dict[str, Any], starts: range) -> int:
    """How many pieces, from the first on, are there and whole."""
    made = folder / "record.json"
    try:
        same = made.exists() and json.loads(made.read_text()) == record
    except ValueError:
        same = False
    if not same:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.npz"):
            path.unlink()
        write_whole(made, json.dumps(record).encode())
    for i, first in enumerate(starts):
        try:
            _read_piece(folder, first)
        except Exception as error:  # a damaged file can fail in any way
            if _piece(folder, first).exists():
                log.warning("%s cannot be read (%s) and is made anew", _piece(folder, first), error)
            return i
    return len(starts)


def draw_samples(model: Pretrained, folder: Folder, n: int) -> Rows:
    """Samples in stored form as `samples`, and `evaluations` of the network, of the run's seed.

    Raises:
      SolveError: the ODE could not be solved.
    """
    size = Devices.all().round_up(min(model.config.sampling.batch_size, n))

    def compute(first):
        (batch,) = model.draw(size, model.config.seed, first)
        keep = min(size, n - first)
        ode.Solution(*(part[:keep] for part in batch)).check(first)
        return {"samples": np.asarray(model.scaling.decode(batch.x)), "evaluations": np.asarray(batch.evaluations)}

    return rows_in_pieces(folder, model.record, n, size, compute)


def create_comparison(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> Comparison:
    """What gives FID and its kin of images beside the training data.

    All processes call it, and what it returns; process 0 computes on its own devices, and the others are given {}.

    Raises:
      InputError: the data are not images; or see `metrics.create_extractor` and `metrics.load_statistics`. What is
        returned raises those of `metrics.evaluate`.
    """
    compare: Any = sharding.first_does(lambda: _comparison_here(config, dataset))
    return lambda images: sharding.first_does(lambda: compare(images)) or {}


def _comparison_here(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> Comparison:
    if not dataset.levels:
        raise InputError(
            f"{config.data.dataset} holds vectors, and what eval.enable_sampling and eval.enable_nfe_curve compare are "
            "images; set both to False"
        )
    options, directory = config.eval, datasets.data_dir(config.data.dir)
    local = Devices.of_this_process()
    size = local.round_up(options.batch_size)
    weights = Path(options.weights).expanduser() if options.weights else None
    extractor = metrics.create_extractor(
        options.features, directory, options.front_end, weights, config.data.levels, size
    )
    if isinstance(extractor, metrics.InceptionExtractor):
        params, place = jax.device_put(extractor.params, local.whole), lambda batch: jax.device_put(batch, local.rows)
        extractor = dataclasses.replace(extractor, params=params, place=place)
    if options.statistics:
        expected = {name: value for name, value in extractor.record.items() if name != "levels"}
        reference = metrics.load_statistics(Path(options.statistics).expanduser(), expected)
    else:
        reference = metrics.reference_statistics(config.data.dataset, dataset.train, extractor, directory)
    return lambda images: metrics.evaluate(metrics.extract(images, extractor), reference)


def images_of(config: ml_collections.ConfigDict) -> np.ndarray | datasets.Split:
    """The images that `eval.bpd_dataset` names, in stored form.

    Raises:
      InputError: there are none, or not such as the model takes.
    """
    name, count = config.eval.bpd_dataset, config.eval.num_images or None
    if name in ("test", "train"):
        split = getattr(build.load_dataset(config), name)
        return split if count is None else split[:count]
    kind, _, path = name.partition(":")
    if kind == "folder":
        # Bits are of images as they are: those of another size are not brought to the model's.
        pictures, shape = PictureFolder(Path(path).expanduser()), build.image_shape(config)
        if pictures.shape[1:] != shape:
            raise InputError(
                f"eval.bpd_dataset names {path}, whose images have shape {pictures.shape[1:]}; the model's have {shape}"
            )
        return pictures[:count]
    if kind != "arrays":
        raise InputError(f"eval.bpd_dataset is {name!r}; choose test, train, folder:PATH or arrays:PATH")
    of_model = config.copy_and_resolve_references()
    of_model.data.dataset = name
    return datasets.in_order(build.load_dataset(of_model))[:count]


def images_record(config: ml_collections.ConfigDict, images: np.ndarray | datasets.Split) -> dict[str, Any]:
    """What tells the images of `eval.bpd_dataset` from others: how many, and a hash of (at most `HASHED` of) them."""
    return {"images": config.eval.bpd_dataset, "count": len(images), "hash": datasets.content_hash(images, HASHED)}


def likelihoods(
    model: Pretrained, images: np.ndarray | datasets.Split, folder: Folder, record: dict[str, Any]
) -> BitsPerDim:
    """Bits per dimension of images, not a number where the ODE could not be solved.

    Args:
      model: whose they are.
      images: in stored form.
      folder: receives them, a piece at a time.
      record: of what the images are.
    """
    options = model.config.eval
    made = {**model.record, **record, "divergence": options.divergence, "draws": options.num_probes}
    size = Devices.all().round_up(min(options.batch_size, len(images)))

    def compute(first):
        index = np.minimum(np.arange(first, first + size, dtype=np.int32), len(images) - 1)
        ((_, found),) = model.bits(model.check(images[index]), index, model.config.seed, options.num_probes)
        bits = np.where(np.asarray(found.ok), np.asarray(found.bits), np.nan)
        return {"bits": bits, "evaluations": np.asarray(found.evaluations)}

    rows = rows_in_pieces(folder, made, len(images), size, compute)
    return BitsPerDim(rows["bits"], rows["evaluations"], np.isfinite(rows["bits"]))


def summary_of_bits(found: BitsPerDim) -> dict[str, Any]:
    """Mean bits per dimension of images, its standard error over images (None of one), and how many were solved."""
    of_image = np.asarray(found.mean)
    solved = of_image[np.isfinite(of_image)]
    if len(solved) < len(of_image):
        log.warning("The ODE could not be solved for %d of %d images", len(of_image) - len(solved), len(of_image))
    if not len(solved):
        raise InputError("the ODE could be solved for no image; loosen sampling.rtol and sampling.atol, or train on")
    error = float(solved.std(ddof=1) / np.sqrt(len(solved))) if len(solved) > 1 else None
    return {
        "bits_per_dim": float(solved.mean()),
        "bits_per_dim_standard_error": error,
        "bits_per_dim_images": len(solved),
        "bits_per_dim_unsolved": len(of_image) - len(solved),
    }


def table(reports: list[dict[str, Any]]) -> str:
    """Reports side by side, one line a number."""
    names = list(dict.fromkeys(name for report in reports for name in report))
    shown = lambda value: f"{value:.6g}" if isinstance(value, float) else str(value)
    return "\n".join(
        name.ljust(30) + "".join(shown(report.get(name, "")).rjust(14) for report in reports) for name in names
    )
