"""The training loop."""

import contextlib
import logging
import time

import jax
import ml_collections

from pfgm_jax import build, config_files, datasets, executables, sharding
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.folders import Folder
from pfgm_jax.generator import Generator
from pfgm_jax.interruption import StopRequest
from pfgm_jax.keys import Keys
from pfgm_jax.progress import progress_bar
from pfgm_jax.sharding import Devices
from pfgm_jax.training import callbacks, requests, step, wandb_writer
from pfgm_jax.training.state import TrainState

log = logging.getLogger("pfgm_jax")


def train(
    config: ml_collections.ConfigDict,
    dataset: datasets.Dataset,
    workdir: Folder,
    devices: Devices,
    stop: StopRequest,
) -> TrainState:
    """Trains to the last step, from the first step or from the latest checkpoint in the workdir.

    Args:
      config: a config whose fields are filled in; it is saved in the workdir.
      dataset: the config's data set.
      workdir: a folder that only this run writes to.
      devices: devices that share the work.
      stop: whether the process was asked to stop.

    Returns:
      The state after the last step.

    Raises:
      TrainingError: a metric or a parameter was not finite.
      StorageError: a checkpoint could not be written.
      SystemExit: the process was asked to stop, and has saved its last step.
    """
    training, keys = config.training, Keys.from_seed(config.seed, devices.whole)
    train_step = executables.Kept(step.create_step(config, devices), "training step", config_files.to_dict(config))
    held_out_loss = step.create_held_out_loss(config, dataset, devices)
    fitted_loss = step.create_held_out_loss(config, step.as_many_as_held_out(dataset), devices)
    charges = build.create_charges(config, devices).of_dataset(dataset.train)
    request = requests.SharedRequest(devices)
    checkpoints = Checkpoints(workdir / "checkpoints", keep_every=training.snapshot_freq)
    state = restore_or_init(config, checkpoints, devices)
    # Not before a state is there: a config with which none can be restored would replace the one that can.
    sharding.on_first_process(lambda: config_files.write(config, workdir))
    start = int(state.step)
    with contextlib.ExitStack() as stack:
        stack.enter_context(checkpoints)
        writer = stack.enter_context(wandb_writer.create_writer(workdir, start, config))
        bar = stack.enter_context(progress_bar(training.n_iters, "step", start))
        logger = callbacks.Logger(writer, bar, training.small_batch_size, held_out_loss, fitted_loss, devices)
        after_each_step: list[callbacks.Callback] = [
            logger,
            callbacks.Saver(checkpoints, config_files.to_dict(config)),
            callbacks.Stopper(checkpoints, stop),
            callbacks.Snapshots(Generator(config), writer, dataset.test, devices),
            callbacks.Page(workdir),
        ]
        began = time.perf_counter()
        for taken, batch in enumerate(step.batches(config, dataset.train, devices, start, training.n_iters), start + 1):
            asked = stop.signal is not None
            state, metrics, flags = train_step(state, keys.train, batch, charges, request.flag(asked))
            logger.add(metrics, began)
            now = callbacks.moment(training, taken, request.answer(flags, stop.signal is not None))
            for callback in after_each_step:
                callback(now, state)
            began = time.perf_counter()
    return state


def restore_or_init(config: ml_collections.ConfigDict, checkpoints: Checkpoints, devices: Devices) -> TrainState:
    """Restores the latest undamaged checkpoint, or creates the initial state."""
    state = checkpoints.restore(step.shapes_of_state(config, devices))
    if state is None:
        # It runs once. On a CPU, optimizing it would take longer than everything else before the first step.
        unoptimized = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
        init, placement = step.initializer(config), step.shardings_of_state(config, devices)
        key = Keys.from_seed(config.seed, devices.whole).init
        init = jax.jit(init, compiler_options=unoptimized, out_shardings=placement)
        state = executables.Kept(init, "initial state", config_files.to_dict(config))(key)
    else:
        log.info("Resuming after step %d", int(state.step))
    parameters = sum(p.size for p in jax.tree.leaves(state.params))
    log.info("%s parameters, %d devices (%s)", f"{parameters:,}", devices.count, jax.devices()[0].device_kind)
    return state
