"""Restores the images that a config names, and measures what comes out: what --mode restore does."""

from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jaxtyping import Bool, Num

from pfgm_jax import build, datasets, given, measured_images, metrics
from pfgm_jax.context import Context
from pfgm_jax.errors import InputError, shown
from pfgm_jax.evaluation import span_of
from pfgm_jax.folders import Folder
from pfgm_jax.pieces import Rows, rows_in_pieces
from pfgm_jax.restoration.measured import MOST_IMAGES
from pfgm_jax.restoration.operators.inpaint import Inpaint
from pfgm_jax.restorer import Restorer, create_operator, create_rule
from pfgm_jax.sharding import Devices
from pfgm_jax.trained_model import TrainedModel


class Task(NamedTuple):
    """What is to be restored.

    Attributes:
      images: whole images in stored form, or what was measured of images.
      files: the file of each, below the folder that was named; None where they are no files.
      whole: whether they are whole.
      restorer: restores them.
      record: what decides the answers, besides the model.
    """

    images: np.ndarray | datasets.Split
    files: tuple[str, ...] | None
    whole: bool
    restorer: Restorer
    record: dict[str, Any]

    def measured(
        self, model: TrainedModel, numbers: np.ndarray
    ) -> tuple[Num[np.ndarray, "n *measured"], Bool[np.ndarray, "n H W 1"] | None]:
        """Returns what was measured of some images, in units of the data, and their masks; damages whole ones."""
        seed, first = model.config.seed, int(numbers[0])
        masks = self.restorer.masks(seed, first, len(numbers))
        if not self.whole:
            return self.restorer.check(self.images[numbers], masks, "the images of restore.images")
        x = np.asarray(model.scaling.to_network(model.check(self.images[numbers])))
        return self.restorer.damage(x, masks, seed, first), masks


def load_task(config: ml_collections.ConfigDict) -> Task:
    """Loads the images that `restore.images` names, and creates what restores them.

    Args:
      config: whose fields are filled in.

    Raises:
      InputError: the images or an option do not suit the model.
    """
    options = config.restore
    operator, count = create_operator(config), options.num_images or None
    damaged = not options.whole
    if damaged and isinstance(operator, Inpaint) and not isinstance(options.mask, str | tuple | list):
        raise InputError(
            f"restore.mask is {options.mask}, a share at random, but the images are damaged already; give the "
            "rectangle that is missing, or the file of a mask"
        )
    if damaged:
        images, files = _damaged(config, options.images, operator.measured_shape, count)
    else:
        images, files = measured_images.named_images(config, options.images, count, "restore.images")
    if len(images) > MOST_IMAGES:
        raise InputError(f"restore.images has {len(images)} images; give at most {MOST_IMAGES} at a time")
    context_of(config, images, np.arange(1))
    rounded = damaged and images[np.arange(1)].dtype.kind in "iu"
    restorer = Restorer(config, operator, rounded)
    names = ("rule", "operator", "start", "whole", *_used(operator, create_rule(config)))
    record = {"images": options.images, "count": len(images), "samples": options.samples}
    record["hash"] = datasets.content_hash(images, measured_images.HASHED)
    if build.takes_labels(config) or config.data.condition_channels:
        record["given"] = given.hash_of(images) if isinstance(images, datasets.Split) else ""
    record |= {**{n: options[n] for n in names}, **operator.record(), "noise": restorer.noise}
    return Task(images, files, options.whole, restorer, record)


def _used(*objects: Any) -> list[str]:
    """Lists the fields of `restore` that some objects have."""
    paths = [path for each in objects for path in each.fields.values()]
    return [path.removeprefix("restore.") for path in paths]


def _damaged(
    config: ml_collections.ConfigDict, name: str, wanted: tuple[int, ...], count: int | None
) -> tuple[Any, tuple[str, ...] | None]:
    """Loads what was measured of images.

    Raises:
      InputError: it cannot be read, or is of another shape than the operator makes.
    """
    if name in ("test", "train"):
        raise InputError(
            f"restore.images is {shown(name)}, whose images are whole, but restore.whole is False; give damaged ones, "
            "as folder:PATH or arrays:PATH, or set restore.whole to True"
        )
    images, files = measured_images.read_images(config, name, count, "restore.images")
    shape = images.shape[1:]
    if shape != wanted:
        raise InputError(
            f"restore.images is {name}, whose images have shape {shape}, but the operator makes {wanted} of the "
            "model's; give images of that shape, or another operator, or leave restore.whole at True for whole images"
        )
    return images, files


def context_of(config: ml_collections.ConfigDict, images: Any, numbers: np.ndarray) -> Context:
    """Returns what is given of images besides what was measured: labels as `sampling.label` says, or their own.

    Raises:
      InputError: the model needs more than is given.
    """
    label = None
    if build.takes_labels(config) and config.sampling.label != ():
        asked = given.labels_of_samples(config, config.seed, int(numbers[-1]) + 1, None)
        label = None if asked is None else asked[numbers]
    return given.of_examples(config, images, numbers, label)


def restore_images(model: TrainedModel, task: Task, folder: Folder) -> Rows:
    """Restores images; those that `folder`/pieces holds already are not restored again.

    Returns:
      `restored` in stored form [n, samples, H, W, C], `misfit` and the number of network `evaluations` of each answer
      [n, samples], `damaged` images in stored form that show what was measured, and what `rows_in_pieces` adds.

    Raises:
      WorkdirInUseError: another process is restoring them.
      SolveError: the ODE could not be solved.
    """
    config, total = model.config, len(task.images)
    size = Devices.all().round_up(min(config.sampling.batch_size, total))

    def compute(first):
        numbers = np.arange(first, min(first + size, total))
        measured, masks = task.measured(model, numbers)
        context = context_of(config, task.images, numbers)
        found: dict[str, list[Any]] = {"restored": [], "misfit": [], "evaluations": []}
        for j in range(config.restore.samples):
            options = {"seed": config.seed, "first": first, "answer": j}
            parts = [a for _, a in task.restorer.restore(model.params, measured, masks, context, **options)]
            found["restored"].append(np.asarray(model.scaling.to_stored(np.concatenate([a.x for a in parts]))))
            found["misfit"].append(np.concatenate([a.misfit for a in parts]))
            found["evaluations"].append(np.concatenate([a.evaluations for a in parts]))
        shown = task.restorer.pictures(np.asarray(measured, np.float32), masks)
        damaged = {"damaged": np.asarray(model.scaling.to_stored(shown))}
        return {**damaged, **{name: np.stack(values, axis=1) for name, values in found.items()}}

    return rows_in_pieces(folder / "pieces", total, size, compute, "image")


def measure(model: TrainedModel, task: Task, rows: Rows) -> dict[str, Any]:
    """Measures restored images, and for comparison what was there before.

    Args:
      model: a trained model.
      task: what was restored.
      rows: see `restore_images`.

    Returns:
      `misfit`, the root mean square of A x - y in units of the data; `evaluations`; and of images that were whole the
      paired metrics of single answers, of the mean of several with the suffix `_of_mean`, and with `_damaged` of what
      was measured, as a picture.
    """
    misfit = float(np.sqrt((rows["misfit"].astype(np.float64) ** 2).mean()))
    found: dict[str, Any] = {"misfit": misfit, "evaluations": float(rows["evaluations"].mean())}
    if not task.whole:
        return found
    truth, restored = task.images[np.arange(len(task.images))], rows["restored"]
    span = span_of(model.config, truth)
    each = [metrics.evaluate_paired(restored[:, j], truth, span) for j in range(restored.shape[1])]
    found |= {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    if restored.shape[1] > 1:
        mean = metrics.evaluate_paired(restored.mean(axis=1, dtype=np.float64), truth, span)
        found |= {f"{name}_of_mean": value for name, value in mean.items()}
    before = metrics.evaluate_paired(rows["damaged"], truth, span)
    return found | {f"{name}_damaged": value for name, value in before.items()}


def columns_of_grid(task: Task, rows: Rows, most: int) -> Num[np.ndarray, "n columns H W C"]:
    """Arranges the first images in rows: what was measured, the answers, and the whole image if it is known."""
    n = min(len(task.images), most)
    columns = [rows["damaged"][:n], *np.moveaxis(rows["restored"][:n], 1, 0)]
    if task.whole:
        columns.append(task.images[np.arange(n)])
    return np.stack(columns, axis=1)
