"""train() and sample(): how the parts of pfgm_jax are wired into runs."""

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jaxtyping import PyTree
from tqdm import tqdm

from configs import default
from pfgm_jax import build, datasets, interruption, losses, models, sampling, sharding, writers
from pfgm_jax import config as config_lib
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import InputError, TrainingError
from pfgm_jax.folders import Folder
from pfgm_jax.sharding import Devices
from pfgm_jax.state import TrainState, create_optimizer, create_state

log = logging.getLogger("pfgm_jax")

GRID_SAMPLES = 64
HELD_OUT_BATCHES = 8
AFTER_A_BAD_STEP = (
    "training stops, and the last good checkpoint is kept; lower optim.lr, lengthen optim.warmup, or look at the data"
)


class _Keys(NamedTuple):
    """The random keys of a run, one a purpose."""

    init: jax.Array
    train: jax.Array
    held_out: jax.Array
    snapshots: jax.Array
    samples: jax.Array

    @classmethod
    def of(cls, seed: int, devices: Devices) -> "_Keys":
        return jax.jit(lambda: cls(*jax.random.split(jax.random.key(seed), 5)), out_shardings=devices.whole)()


def train(config: ml_collections.ConfigDict, workdir: Folder) -> TrainState:
    """Trains, resuming where a run in the workdir stopped.

    Args:
      config: see configs/default.py.
      workdir: receives config.json, checkpoints/, samples/, tensorboard/ and metrics.jsonl.

    Returns:
      The state after the last step.

    Raises:
      InputError: the config, the data or the workdir is not fit.
      TrainingError: the loss was not finite.
      SolveError: samples at a snapshot could not be drawn.
      StorageError: a checkpoint could not be written.
      SystemExit: the process was asked to stop, and has saved its last step.
    """
    config_lib.validate(config)
    dataset = build.load_dataset(config)
    config = config_lib.fill_in(config, dataset)
    build.create_method(config)  # refused, if at all, before anything is written
    devices = Devices.all()
    config_lib.validate_devices(config, dataset, devices.count)
    with contextlib.ExitStack() as stack:
        sharding.first_does(lambda: _open_workdir(workdir, config, stack))
        stop = stack.enter_context(interruption.stop_requests())
        _report(config, dataset)
        return _train(config, dataset, workdir, devices, stop)


def _train(
    config: ml_collections.ConfigDict,
    dataset: datasets.Dataset,
    workdir: Folder,
    devices: Devices,
    stop: interruption.StopRequest,
) -> TrainState:
    training = config.training
    model, optimizer = models.create_model(config), create_optimizer(config.optim)
    keys = _Keys.of(config.seed, devices)

    step_fn, test_loss = create_step(config, devices)
    norm_fn = jax.jit(optax.tree.norm)
    sampler = _sampler(config, model, devices, batch_size=GRID_SAMPLES)
    charges, test_charges = None, None
    if training.field_reference == "dataset":
        charges, test_charges = (devices.share_out(split) for split in (dataset.train, dataset.test))
    # With the whole data set as charges, the rest of the batch would not be looked at.
    rows = training.batch_size if charges is None else training.small_batch_size
    order = {"seed": config.seed, "batch_size": training.batch_size, "rows": rows}
    process = (jax.process_index(), jax.process_count())
    batches_of = functools.partial(datasets.step_batches, **order, process=process, place=_placing(devices))

    def held_out_loss(params):
        # Of a small test split, some points are drawn more than once; perturbations are the same each time.
        batches = batches_of(dataset.test, start=0, stop=HELD_OUT_BATCHES)
        batch_keys = jax.random.split(keys.held_out, HELD_OUT_BATCHES)
        return float(np.mean([test_loss(params, k, b, test_charges) for k, b in zip(batch_keys, batches, strict=True)]))

    saved_config = config_lib.to_dict(config)
    checkpoints = Checkpoints(workdir / "checkpoints", keep_every=training.snapshot_freq)
    request = sharding.SharedRequest(devices)
    init = lambda key: create_state(build.init_params(model, config, key), optimizer)
    state = checkpoints.restore(jax.eval_shape(init, keys.init))
    if state is None:
        # Run once: on a CPU optimizing it takes longer than all else before the first step.
        unoptimized = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
        state = jax.jit(init, compiler_options=unoptimized, out_shardings=devices.whole)(keys.init)
    else:
        log.info("Resuming after step %d", int(state.step))
    start = int(state.step)
    parameters = sum(p.size for p in jax.tree.leaves(state.params))
    log.info("%s parameters, %d devices (%s)", f"{parameters:,}", devices.count, jax.devices()[0].device_kind)

    pending = []  # metrics of the steps since the last log, still on the devices
    last_log = time.perf_counter()
    with (
        checkpoints,
        (writers.MetricWriter if sharding.is_first() else writers.NoWriter)(workdir, start) as writer,
        _progress(training.n_iters, "step", start) as bar,
    ):
        batches = batches_of(dataset.train, start=start, stop=training.n_iters)
        for step, batch in enumerate(batches, start + 1):
            flag = request.flag(stop.signal is not None)
            state, metrics, flags = step_fn(state, keys.train, batch, charges, flag)
            pending.append(metrics)
            bar.update()
            last = step == training.n_iters
            evaluates = step % training.eval_freq == 0 or last
            snapshot = step % training.snapshot_freq == 0 or last
            stops = request.answer(flags, stop.signal is not None) and not last
            saves = step % training.snapshot_freq_for_preemption == 0 or snapshot or stops

            if step % training.log_freq == 0 or evaluates or saves:
                values = _mean_of_finite(pending, step)
                now = time.perf_counter()
                values["steps_per_second"] = len(pending) / (now - last_log)
                values["images_per_second"] = values["steps_per_second"] * training.small_batch_size
                if evaluates:
                    values["held_out_loss"] = held_out_loss(state.ema_params)
                    if not math.isfinite(values["held_out_loss"]):
                        raise TrainingError(f"the held-out loss of step {step} is not finite; {AFTER_A_BAD_STEP}")
                writer.scalars(step, values)
                bar.set_postfix({k: f"{values[k]:.3g}" for k in ("loss", "images_per_second")})
                pending, last_log = [], time.perf_counter()
            if saves:
                if not math.isfinite(norm_fn(state.params)):
                    raise TrainingError(f"the parameters of step {step} are not finite; {AFTER_A_BAD_STEP}")
                checkpoints.save(state, saved_config)
            if stops:
                log.info("Asked to stop; step %d is saved. To go on, run the same command again", step)
                raise SystemExit(stop.exit_status)
            if snapshot and training.snapshot_sampling and config.data.levels:
                x, _, ok = (np.asarray(part)[:GRID_SAMPLES] for part in sampler(state.ema_params, keys.snapshots, 0))
                if not ok.all():
                    log.warning("Of the samples of step %d, %d could not be solved", step, np.sum(~ok))
                stored = np.asarray(build.create_scaling(config).decode(x))
                writer.picture(step, writers.image_grid(writers.to_pixels(stored, config.data.levels)))
                last_log = time.perf_counter()
    return state


def create_step(config: ml_collections.ConfigDict, devices: Devices) -> tuple[Callable, Callable]:
    """`losses.train_step` and `losses.held_out_loss` of a config that is filled in, to be compiled when first called.

    The former takes the buffers of the state that it is given.
    """
    training = config.training
    loss_arguments = {
        "method": build.create_method(config),
        "model": models.create_model(config),
        "scaling": build.create_scaling(config),
        "devices": devices,
        "field_chunk": training.field_chunk,
    }
    step = functools.partial(
        losses.train_step,
        optimizer=create_optimizer(config.optim),
        ema_rate=config.model.ema_rate,
        accumulate=training.accumulate,
        **loss_arguments,
    )
    return (
        jax.jit(step, donate_argnames="state", out_shardings=devices.whole),
        jax.jit(functools.partial(losses.held_out_loss, **loss_arguments), out_shardings=devices.whole),
    )


def sample(config: ml_collections.ConfigDict, workdir: Folder) -> Folder:
    """Draws `sampling.num_samples` samples from a trained model.

    Args:
      config: of the run; sampling may differ.
      workdir: of the run.

    Returns:
      The folder that received samples.npz, and for images grid.png and one PNG file an image.

    Raises:
      InputError: the config is not fit, or there is no such checkpoint.
      SolveError: the ODE could not be solved.
    """
    config_lib.validate(config)
    config = config_lib.fill_in_from_run(config, config_lib.read(workdir, default.get_config()))
    scaling, options = build.create_scaling(config), config.sampling
    params, step = load_params(workdir, options.checkpoint or None)
    x, evaluations = draw(config, params, options.num_samples)
    stored = np.asarray(scaling.decode(x))

    folder = workdir / "samples" / f"{step}-{options.ode_solver}"
    sharding.first_does(lambda: _write_samples(folder, stored, evaluations, scaling.levels))
    log.info(
        "%d samples of step %d with %.1f evaluations each (at most %d) in %s",
        len(stored),
        step,
        evaluations.mean(),
        evaluations.max(),
        folder,
    )
    return folder


def _write_samples(folder: Folder, stored: np.ndarray, evaluations: np.ndarray, levels: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in folder.glob("[0-9]*.png"):  # of an earlier, larger number of samples
        image.unlink()
    with (folder / "samples.npz").open("wb") as file:
        np.savez(file, samples=stored, evaluations=evaluations)
    if levels:
        pixels = writers.to_pixels(stored, levels)
        writers.save_picture(folder / "grid.png", writers.image_grid(pixels[:GRID_SAMPLES]))
        digits = len(str(len(pixels) - 1))
        for i, image in enumerate(pixels):
            writers.save_picture(folder / f"{i:0{digits}}.png", image)


def draw(config: ml_collections.ConfigDict, params: PyTree, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws n samples, `sampling.batch_size` at a time.

    Args:
      config: filled in.
      params: of its network.
      n: number of samples.

    Returns:
      Samples [n, H, W, C] in network units, and evaluations of the network [n].

    Raises:
      SolveError: the ODE could not be solved.
    """
    devices = Devices.all()
    batch_size = devices.round_up(min(config.sampling.batch_size, n))
    sampler = functools.partial(_sampler(config, models.create_model(config), devices, batch_size), params)
    key = _Keys.of(config.seed, devices).samples
    batches = []
    with _progress(n, "sample") as bar:
        for batch in sampling.sample_in_batches(sampler, key, n, batch_size):
            batches.append(batch)
            bar.update(len(batch[0]))
    x, evaluations = (np.concatenate(part) for part in zip(*batches, strict=True))
    return x, evaluations


def load_params(workdir: Folder, step: int | None = None) -> tuple[PyTree, int]:
    """The averaged parameters of a checkpoint of a run, and its step.

    Raises:
      InputError: there is no such checkpoint.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        raise InputError(
            f"--workdir is {workdir}, which holds no checkpoints; train first: python main.py --mode train"
        )
    with Checkpoints(directory, read_only=True) as checkpoints:
        return checkpoints.restore_ema(step)


def _sampler(config: ml_collections.ConfigDict, model: nn.Module, devices: Devices, batch_size: int):
    """(params, key, number of the first sample) -> at least so many samples, compiled once."""
    method, solver, n = build.create_method(config), build.create_solver(config), devices.round_up(batch_size)

    def sampler(params, key, first):
        net = lambda x, cond: jnp.asarray(model.apply({"params": params}, x, cond))
        return sampling.integrate(method, net, devices.split(method.prior_sample(key, n, first)), solver)

    return jax.jit(sampler, out_shardings=devices.whole)


def _progress(total: int, unit: str, initial: int = 0) -> tqdm:
    return tqdm(total=total, unit=unit, initial=initial, dynamic_ncols=True, disable=not sharding.is_first())


def _placing(devices: Devices) -> Callable[[datasets.Batch], datasets.Batch]:
    """Moves what a process has read of a batch to its devices."""

    def place(batch):
        stored, label = devices.place((batch.stored, batch.label))
        return datasets.Batch(stored, devices.place_whole(batch.index), label)

    return place


def _mean_of_finite(pending: list[dict[str, jax.Array]], last_step: int) -> dict[str, float]:
    """The means of metrics since the last log.

    Raises:
      TrainingError: one of them is not finite.
    """
    fetched = jax.device_get(pending)
    for i, metrics in enumerate(fetched):
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} of step {last_step - len(fetched) + 1 + i} is {value}; {AFTER_A_BAD_STEP}"
                )
    return {name: float(np.mean([m[name] for m in fetched])) for name in fetched[0]}


def _open_workdir(workdir: Folder, config: ml_collections.ConfigDict, stack: contextlib.ExitStack) -> None:
    """Makes the workdir, or checks that what it holds is a run of the same model; keeps other runs out of it."""
    saved = None
    if (workdir / "config.json").is_file():
        saved = config_lib.read(workdir, default.get_config())
        config_lib.check_same_model(config, saved)
    config_lib.make_folder(workdir)
    stack.enter_context(interruption.only_writer(workdir))
    for change in config_lib.differences(config, saved) if saved else ():
        log.info("Unlike before, %s", change)
    config_lib.write(config, workdir)


def _report(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> None:
    height, width, channels = dataset.shape
    log.info(
        "%s: %d training and %d test examples of %d x %d x %d",
        config.data.dataset,
        len(dataset.train),
        len(dataset.test),
        height,
        width,
        channels,
    )
    log.info(
        "M = %g, z_max = %.4g, upper_norm = %.4g",
        config.training.M,
        config.sampling.z_max,
        config.sampling.upper_norm,
    )
