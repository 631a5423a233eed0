"""Reconstructs averages of the parameters of a run after its training; see `training.profiles`."""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import PyTree

from pfgm_jax import config_files
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder
from pfgm_jax.loading import checkpoints_of
from pfgm_jax.training import profiles
from pfgm_jax.training.state import TrainState
from pfgm_jax.training.step import initializer

log = logging.getLogger("pfgm_jax")

# How far the weights of an average may be from those that are wanted, relative to their size, without a warning.
FARTHEST = 0.1


def reconstruct(
    workdir: Folder, length: float, step: int | None = None
) -> tuple[TrainState, ml_collections.ConfigDict]:
    """Reconstructs the average of a length from those that the checkpoints of a run hold.

    Args:
      workdir: of a run that was trained with `model.ema_profiles`.
      length: of the average, relative to the number of steps; see `training.profiles`.
      step: whose average; None for the last checkpoint.

    Returns:
      The state of that step with the average in `ema_params`, and the config of the run.

    Raises:
      InputError: the length is out of range, or the run or its checkpoints hold no averages.
    """
    config = config_files.read(workdir)
    if not config.model.ema_profiles:
        raise InputError(
            f"--workdir is {workdir}, a run that kept no averages; train with --config.model.ema_profiles=(0.05,0.1)"
        )
    try:
        wanted_exponent = profiles.exponent_of(length)
    except ValueError as error:
        raise InputError(f"--length: {error}") from None
    exponents = [profiles.exponent_of(kept) for kept in config.model.ema_profiles]
    with checkpoints_of(workdir) as checkpoints:
        state, read = _reader(config, checkpoints, step)
        last, count = int(state.step), int(state.opt_state[-1].count)
        if not count:
            raise InputError(
                f"the checkpoint of step {last} in {workdir} holds no averages yet; train further, or choose another"
            )
        before = last - count  # steps of a run that kept no averages yet
        steps = [s for s in checkpoints.steps() if before < s <= last]
        known = [profiles.Profile(s - before, exponent) for s in steps for exponent in exponents]
        shares, off = profiles.coefficients(known, profiles.Profile(count, wanted_exponent))
        shares = shares.reshape(len(steps), -1)
        total: PyTree = jax.tree.map(lambda p: np.zeros(p.shape), state.params)  # float64: shares have both signs
        for s, of_step in zip(steps, shares, strict=True):
            for share, average in zip(of_step, averages_of(state if s == last else read(s)), strict=True):
                total = jax.tree.map(lambda t, a, share=share: t + share * np.asarray(a, np.float64), total, average)
    log.info("The average of length %g after step %d, from those of %d checkpoints", length, last, len(steps))
    if off > FARTHEST:
        log.warning(
            "Its weights are off by %.0f %%: keep more checkpoints (training.snapshot_freq), or choose a length nearer "
            "to model.ema_profiles",
            100 * off,
        )
    average = jax.tree.map(lambda t, p: t.astype(p.dtype), total, state.params)
    return dataclasses.replace(state, ema_params=average), config


def averages_of(state: TrainState) -> tuple[PyTree, ...]:
    """Returns the averages that a state keeps, in the order of `model.ema_profiles`."""
    return state.opt_state[-1].averages


def _reader(
    config: ml_collections.ConfigDict, checkpoints: Checkpoints, step: int | None
) -> tuple[TrainState, Callable[[int], TrainState]]:
    """Returns the state of a step, and what reads that of others."""
    template = jax.eval_shape(initializer(config), jax.random.key(0))

    def read(step: int | None) -> Any:
        state = checkpoints.restore(template, step)
        if state is None:
            raise InputError(f"there is no checkpoint in {checkpoints.directory}; train first, with --mode train")
        return jax.device_get(state)

    return read(step), read
