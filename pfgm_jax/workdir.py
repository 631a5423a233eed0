"""The workdir of a run: opening it, and the model in it."""

import contextlib
import logging

import ml_collections

from pfgm_jax import config as config_lib
from pfgm_jax import config_files, locks
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder
from pfgm_jax.trained_model import TrainedModel, load_params

log = logging.getLogger("pfgm_jax")


def open_for_training(workdir: Folder, config: ml_collections.ConfigDict, stack: contextlib.ExitStack) -> None:
    """Creates the workdir, or checks that what it holds is a run of the same model; keeps other runs out of it.

    Args:
      workdir: of the run.
      config: whose fields are filled in; it is saved there.
      stack: holds the lock until it is closed.

    Raises:
      InputError: the workdir cannot be made, holds a run of another model or one without checkpoints, or is in use.
    """
    saved = None
    if (workdir / "config.json").is_file():
        saved = config_files.read(workdir)
        config_lib.check_same_model(config, saved)
    begun = (workdir / "checkpoints").is_dir()
    if config.training.restart and begun:
        raise InputError(
            f"training.restart is True, but --workdir is {workdir}, which holds checkpoints; leave it out to resume or "
            "choose another --workdir"
        )
    if not config.training.restart and not begun:
        left = [name for name in ("metrics.jsonl", "samples", "eval", "likelihood") if (workdir / name).exists()]
        if left:
            raise InputError(
                f"--workdir is {workdir}, which holds {' and '.join(left)} of a run but no checkpoints; choose another "
                "--workdir, or begin again there with --config.training.restart=True"
            )
    config_files.make_folder(workdir)
    stack.enter_context(locks.only_writer(workdir))
    for change in config_files.differences(config, saved) if saved else ():
        log.info("Unlike before, %s", change)
    saved = config.copy_and_resolve_references()
    saved.training.restart = False
    config_files.write(saved, workdir)


def config_of_run(config: ml_collections.ConfigDict, workdir: Folder) -> ml_collections.ConfigDict:
    """Copies a config and fills in what the run in a workdir found in its data.

    Raises:
      InputError: the config is wrong, or of another model than the run's; or there is no run.
    """
    config_lib.validate(config)
    saved = config_files.read(workdir)
    config = config_lib.fill_in_from_run(config, saved)
    for change in config_files.differences(config, saved, ["data.dataset"]):
        log.warning("Unlike in training, %s", change)
    return config


def load_model(config: ml_collections.ConfigDict, workdir: Folder) -> TrainedModel:
    """Loads the model of `sampling.checkpoint` with a config whose options of sampling may be new.

    Raises:
      InputError: see `config_of_run`; or there is no such checkpoint.
    """
    return TrainedModel(config_of_run(config, workdir), *load_params(workdir, config.sampling.checkpoint or None))


def evaluated_steps(chosen: str, workdir: Folder) -> list[int | None]:
    """Lists the steps that `eval.checkpoints` names; None stands for the newest."""
    if chosen == "newest":
        return [None]
    if chosen != "all":
        return [int(step) for step in chosen.split(",")]
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        return list(checkpoints.steps()) or [None]
