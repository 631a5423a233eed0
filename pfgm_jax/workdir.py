"""The workdir of a run: opening it, and the model in it."""

import contextlib
import logging
import os
import shutil

import ml_collections

from pfgm_jax import build, config_files, given, locks, schedules
from pfgm_jax import config as config_lib
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, is_local, to_folder
from pfgm_jax.loading import load, load_params, load_with
from pfgm_jax.trained_model import TrainedModel
from pfgm_jax.training.state import TrainState

log = logging.getLogger("pfgm_jax")


FOLDERS = ("checkpoints", "samples", "eval", "likelihood", "restored", "reflow", "tensorboard", "damaged")
FILES = (
    *("config.json", "metrics.jsonl", "metrics.dropped.jsonl", "schedules.json", "log.jsonl", "report.html"),
    "wandb.txt",
    "checkpoints/kept.json",
)


def check_layout(workdir: Folder) -> None:
    """Checks that where a run keeps folders are folders, and files where it keeps files, and that all can be written.

    Raises:
      InputError: names the first that is something else.
    """
    if not is_local(workdir):
        return
    for name in (*FOLDERS, *FILES):
        path = workdir / name
        if not os.path.lexists(path):
            continue
        if not (path.is_dir() if name in FOLDERS else path.is_file()):
            kind = "a folder" if path.is_dir() else "a file" if path.is_file() else "neither a file nor a folder"
            raise InputError(
                f"{path} is {kind}, where a run keeps a {'folder' if name in FOLDERS else 'file'}; move it to another "
                "place, or choose another --workdir"
            )
        if not os.access(path, os.R_OK | os.W_OK):
            raise InputError(f"{path} cannot be read and written; change its permissions, or choose another --workdir")


def open_for_training(workdir: Folder, config: ml_collections.ConfigDict, stack: contextlib.ExitStack) -> None:
    """Creates the workdir, or checks that what it holds is a run of the same model; keeps other runs out of it.

    Args:
      workdir: of the run.
      config: whose fields are filled in.
      stack: holds the lock until it is closed.

    Raises:
      InputError: the workdir cannot be made, holds a run of another model or one without checkpoints, or is in use.
    """
    check_layout(workdir)
    saved = None
    if (workdir / "config.json").is_file():
        saved = config_files.read(workdir)
        config_lib.check_same_model(config, saved)
        if differing := config_files.differences(config, saved, ["model.ema_profiles"]):
            raise InputError(
                f"the workdir holds a run with other averages: {differing[0]}. Choose another --workdir, or set this "
                "field back"
            )
    begun = _has_checkpoints(workdir)
    if config.training.restart and begun:
        raise InputError(
            f"training.restart is True, but --workdir is {workdir}, which holds checkpoints; leave it out to resume or "
            "choose another --workdir"
        )
    if not config.training.restart and not begun:
        left = _left_of_a_run(workdir)
        if left:
            raise InputError(
                f"--workdir is {workdir}, which holds {' and '.join(left)} of a run but no checkpoints; choose another "
                "--workdir, or begin again there with --config.training.restart=True"
            )
    config_files.make_folder(workdir)
    stack.enter_context(locks.only_writer(workdir))
    for change in config_files.differences(config, saved) if saved else ():
        log.info("Unlike before, %s", change)


def check_new(workdir: Folder, flag: str) -> None:
    """Checks that a folder is not there yet, or empty.

    Args:
      workdir: to be made.
      flag: that names it, for messages.

    Raises:
      InputError: something is there.
    """
    if workdir.is_file() or (workdir.is_dir() and any(workdir.iterdir())):
        raise InputError(f"{flag} is {workdir}, which is a file or not empty; name a new folder")


def write_new(workdir: Folder, state: TrainState, config: ml_collections.ConfigDict) -> None:
    """Writes a workdir with one checkpoint, whole or not at all.

    Raises:
      InputError: it cannot be made there.
    """
    # The rename is atomic: a workdir without its config would be useless.
    partial = workdir.with_name(f"{workdir.name}.partial")
    if partial.is_dir():  # of an interrupted command
        shutil.rmtree(partial)
    config_files.make_folder(partial)
    with Checkpoints(partial / "checkpoints") as checkpoints:
        checkpoints.save(state, config_files.to_dict(config))
    config_files.write(config, partial)
    partial.rename(workdir)


def _has_checkpoints(workdir: Folder) -> bool:
    directory = workdir / "checkpoints"
    return directory.is_dir() and any(path.name.isdecimal() for path in directory.iterdir())


def _left_of_a_run(workdir: Folder) -> list[str]:
    """Lists what shows that a workdir without checkpoints had some."""
    names = ["samples", "eval", "likelihood"]
    if not (workdir / "checkpoints").is_dir():
        return [name for name in ("metrics.jsonl", *names) if (workdir / name).exists()]
    # A run that was killed during its first save may have metrics and a grid of samples. The rest was made with one.
    holds_folders = lambda path: path.is_dir() and any(inner.is_dir() for inner in path.iterdir())
    return [name for name in names if holds_folders(workdir / name)]


def config_of_run(config: ml_collections.ConfigDict, workdir: Folder) -> ml_collections.ConfigDict:
    """Copies a config and fills in what the run in a workdir found in its data.

    Raises:
      InputError: the config is wrong, or of another model than the run's; or there is no run.
    """
    check_layout(workdir)
    config = config.copy_and_resolve_references()
    schedules.fill_in(config, workdir)
    config_lib.validate(config)
    saved = config_files.read(workdir)
    config = config_lib.fill_in_from_run(config, saved)
    for change in config_files.differences(config, saved, ["data.dataset", "pfgmpp.D"]):
        log.warning("Unlike in training, %s", change)
    return config


def load_model(config: ml_collections.ConfigDict, workdir: Folder) -> TrainedModel:
    """Loads the model of `sampling.checkpoint` with a config whose options of sampling may be new.

    Raises:
      InputError: see `config_of_run`; or there is no such checkpoint.
    """
    config = config_of_run(config, workdir)
    examples = None
    if given.needs_examples(config):
        dataset = build.load_dataset(config)
        given.check_examples(config, dataset.test)
        examples = dataset.test
    return load_with(config, workdir, config.sampling.checkpoint or None, examples)


def load_upsampler(model: TrainedModel) -> TrainedModel | None:
    """Loads the model of `sampling.then`, which is conditioned on images such as another's samples; None without one.

    The two must have the same units: grey level 3 of a sample is grey level 3 of a condition, whatever their ranges.

    Raises:
      InputError: there is no run, or its model is conditioned on other images, or on none.
    """
    name = model.config.sampling.then
    if not name:
        return None
    found = load(to_folder(name))
    (h, w, c), (height, width, _), wanted = model.shape, found.shape, found.config.data.condition_channels
    given = f"sampling.then is {name}, whose model"
    if not wanted:
        raise InputError(f"{given} is not conditioned on images; name the workdir of an upsampler")
    factor = found.config.data.condition_factor
    if factor and (h * factor, w * factor) != (height, width):
        raise InputError(
            f"{given} makes images of {height} x {width} from ones {factor} times as small, but the samples have {h} x "
            f"{w}; name another"
        )
    if wanted != c or height % h or width % w:
        raise InputError(
            f"{given} has images of {height} x {width} and is conditioned on {wanted} channels, but the samples are "
            f"{h} x {w} x {c}, which do not fit into them; name another"
        )
    return found


def evaluated_steps(chosen: str, workdir: Folder) -> list[int | None]:
    """Lists the steps that `eval.checkpoints` names; None stands for the newest.

    Returns:
      Steps whose checkpoints can be read, each once. Of `all`, those that cannot are left out.

    Raises:
      InputError: a step that is named has no checkpoint that can be read, or there is none.
    """
    newest = load_params(workdir)[1]
    if chosen == "newest":
        return [None]
    if chosen != "all":
        steps = dict.fromkeys(int(step) for step in chosen.split(","))
        return [load_params(workdir, step)[1] for step in steps]
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        steps = checkpoints.steps()
    return [step for step in steps if step == newest or _readable(workdir, step)]


def _readable(workdir: Folder, step: int) -> bool:
    try:
        load_params(workdir, step)
    except InputError as error:
        log.warning("Step %d is left out: %s", step, error)
        return False
    return True
