"""Loads trained models from the workdirs of runs."""

import os
from typing import Any

import jax
import ml_collections
from jaxtyping import PyTree

from pfgm_jax import arguments, build, config_files, exports, folders, models, schedules
from pfgm_jax import config as config_lib
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.datasets import Split
from pfgm_jax.errors import InputError, shown
from pfgm_jax.folders import Folder
from pfgm_jax.trained_model import TrainedModel


def load(workdir: str | Folder, step: int | None = None, **overrides: Any) -> TrainedModel:
    """Loads the model of a run, with averaged parameters.

    Args:
      workdir: of the run, or the file that `python -m pfgm_jax export` wrote; gs:// works too.
      step: of a checkpoint; None for the newest that is good.
      **overrides: fields of the config, as `load("runs/digits", **{"sampling.ode_solver": "euler"})`.

    Raises:
      InputError: there is no run, no such checkpoint, or a field is out of range or of another model.
    """
    folder = folders.to_folder(workdir)
    exported = exports.read(folder) if exports.is_export(folder) else None
    config = exported[0] if exported else config_files.read(folder)
    saved = config.copy_and_resolve_references()
    config_files.override(config, overrides)
    schedules.fill_in(config, folder)
    config_lib.validate(config)
    config_lib.check_same_model(config, saved)
    if not exported:
        return load_with(config, folder, step)
    _, params, found = exported
    if step not in (None, found):
        raise InputError(f"step is {shown(step)}, but {folder} holds the weights of step {found}; leave step out")
    return _model(config, params, found, f"{folder} holds the weights")


def load_with(
    config: ml_collections.ConfigDict, workdir: Folder, step: int | None = None, examples: Split | None = None
) -> TrainedModel:
    """Loads the model of a run with a config whose fields are filled in.

    Args:
      config: of the run; sampling and evaluation may differ.
      workdir: of the run.
      step: of the checkpoint; None for the newest that is good.
      examples: see `TrainedModel`.

    Raises:
      InputError: there is no such checkpoint, or it is of another network than the config's; or the noise levels of the
        run were chosen for another ODE.
    """
    params, found = load_params(workdir, step)
    schedules.check(config, workdir, found)
    return _model(config, params, found, f"the checkpoint of step {found} in {workdir} is", examples)


def _model(
    config: ml_collections.ConfigDict, params: PyTree, step: int, where: str, examples: Split | None = None
) -> TrainedModel:
    """Creates the model if the parameters, which are `where`, are those of the config's network."""
    shapes = lambda tree: {jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(tree)}
    expected = models.shapes_of_params(models.create_model(config), build.image_shape(config))
    if shapes(params) != shapes(expected):
        raise InputError(
            f"{where} of another network than its config; restore the fields of model there, or choose another run"
        )
    return TrainedModel(config, params, step, examples)


def load_params(workdir: Folder, step: int | None = None) -> tuple[PyTree, int]:
    """Loads the averaged parameters of a checkpoint of a run, and its step.

    Raises:
      InputError: there is no such checkpoint.
    """
    step = None if step is None else arguments.to_integer("step", step, 0)
    with checkpoints_of(workdir) as checkpoints:
        return checkpoints.restore_ema(step)


def checkpoints_of(workdir: Folder) -> Checkpoints:
    """Opens the checkpoints of a run, to be read.

    Raises:
      InputError: there are none.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        if os.path.lexists(directory):
            raise InputError(
                f"{directory} is not a folder, where a run keeps its checkpoints; move it to another place"
            )
        raise InputError(f"--workdir is {workdir}, which holds no checkpoints; train first, with --mode train")
    return Checkpoints(directory, read_only=True)
