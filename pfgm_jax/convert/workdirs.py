"""Converted checkpoints: their parameters, or whole workdirs."""

import dataclasses
import logging
from pathlib import Path

import jax.numpy as jnp
import ml_collections
from jaxtyping import PyTree

from pfgm_jax import build, models
from pfgm_jax import config as config_lib
from pfgm_jax import workdir as workdirs
from pfgm_jax.convert.checkpoint import read_checkpoint
from pfgm_jax.convert.tensors import network_tensors
from pfgm_jax.training.state import TrainState, create_optimizer, create_state

log = logging.getLogger("pfgm_jax")


def convert_checkpoint(path: str | Path, config: ml_collections.ConfigDict) -> tuple[PyTree, PyTree, int]:
    """Reads the parameters of a checkpoint of the authors' release.

    Args:
      path: path of a .pth file.
      config: config that it was trained with; image size and channels are filled in.

    Returns:
      Parameters, their moving average, and the number of optimiser steps taken (the file of the release's step k holds
      k + 1).

    Raises:
      InputError: the file cannot be read safely, or is of another network.
    """
    checkpoint = read_checkpoint(Path(path), network_tensors(config), models.create_model(config).sigmas)
    return checkpoint.params, checkpoint.ema_params, checkpoint.step


def convert_to_workdir(path: Path, config: ml_collections.ConfigDict, workdir: Path) -> TrainState:
    """Writes a workdir from a checkpoint of the authors' release.

    Args:
      path: path of a .pth file.
      config: as for training; fields that depend on the data are filled in from the data set.
      workdir: a new folder.

    Returns:
      The training state in the workdir.

    Raises:
      InputError: the config, the file or the workdir is not valid; nothing is written.
    """
    workdirs.check_new(workdir, "--workdir")
    config_lib.validate(config)
    if not config_lib.is_filled_in(config):
        config = config_lib.fill_in(config, build.load_dataset(config))
    tensors = network_tensors(config)
    checkpoint = read_checkpoint(path, tensors, models.create_model(config).sigmas)
    optimizer = create_optimizer(config.optim, config.model.ema_profiles, config.training.n_iters)
    state = create_state(checkpoint.params, optimizer)
    state = dataclasses.replace(
        state,
        step=jnp.asarray(checkpoint.step, jnp.int32),
        ema_params=checkpoint.ema_params,
        opt_state=checkpoint.optimizer_state(state.opt_state),
    )
    workdirs.write_new(workdir, state, config)
    log.info("%d tensors of step %d in %s", len(tensors), checkpoint.step, workdir)
    return state
