"""train(), sample(), evaluate() and likelihood(): how the parts of pfgm_jax are wired into runs."""

import contextlib
import functools
import json
import logging
import math
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
import optax
import tensorboardX
from jaxtyping import PyTree
from tqdm import tqdm

from configs import default
from pfgm_jax import build, curves, datasets, evaluation, interruption, losses, models, sharding, writers
from pfgm_jax import config as config_lib
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import TrainingError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.pretrained import Pretrained, load_params
from pfgm_jax.sharding import Devices
from pfgm_jax.state import Keys, TrainState, create_optimizer, create_state

log = logging.getLogger("pfgm_jax")

GRID_SAMPLES = 64
HELD_OUT_BATCHES = 8
AFTER_A_BAD_STEP = (
    "training stops, and the last good checkpoint is kept; lower optim.lr, lengthen optim.warmup, or look at the data"
)


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
    keys, snapshots = Keys.of(config.seed, devices.whole), Pretrained(config, None, 0)

    step_fn, test_loss = create_step(config, devices)
    norm_fn = jax.jit(optax.tree.norm)
    charges = devices.share_out(dataset.train) if training.field_reference == "dataset" else None

    held_out_loss = _held_out_loss(config, dataset, devices, test_loss)

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
        order = batches(config, dataset.train, devices, start, training.n_iters)
        for step, batch in enumerate(order, start + 1):
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
                checkpoints.wait()
                log.info("Asked to stop; step %d is saved. To go on, run the same command again", step)
                raise SystemExit(stop.exit_status)
            if snapshot and training.snapshot_sampling and config.data.levels:
                snapshots.params = state.ema_params
                drawn = list(snapshots.draw(GRID_SAMPLES, config.seed))
                if failed := sum(int(np.sum(~batch.ok)) for batch in drawn):
                    log.warning("Of the samples of step %d, %d could not be solved", step, failed)
                stored = np.asarray(snapshots.scaling.decode(np.concatenate([batch.x for batch in drawn])))
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
    model = _pretrained(config, workdir, config.sampling.checkpoint or None)
    x, evaluations = draw(model, config.sampling.num_samples)
    stored = np.asarray(model.scaling.decode(x))
    folder = workdir / "samples" / f"{model.step}-{config.sampling.ode_solver}"
    sharding.first_does(lambda: _write_samples(folder, stored, evaluations, model.scaling.levels))
    log.info(
        "%d samples of step %d with %.1f evaluations each (at most %d) in %s",
        len(stored),
        model.step,
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


def draw(model: Pretrained, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws n samples of the run's seed, and shows how far it is.

    Returns:
      Samples [n, H, W, C] in network units, and evaluations of the network [n].

    Raises:
      SolveError: the ODE could not be solved.
    """
    batches = []
    with _progress(n, "sample") as bar:
        for batch in model.draw(n, model.config.seed):
            batches.append(batch.check(bar.n))
            bar.update(len(batch.x))
    return np.concatenate([b.x for b in batches]), np.concatenate([b.evaluations for b in batches])


def evaluate(config: ml_collections.ConfigDict, workdir: Folder) -> list[dict[str, Any]]:
    """Evaluates checkpoints: what is written is said at the fields of `eval` in configs/default.py.

    Args:
      config: of the run; sampling and eval may differ.
      workdir: of the run; receives eval/<step>.json, and pictures and tables beside it.

    Returns:
      A report for each step of `eval.checkpoints`.

    Raises:
      InputError: the config is not fit, or there is no such checkpoint.
      SolveError: the ODE could not be solved.
    """
    config = _of_run(config, workdir)
    dataset = build.load_dataset(config)
    options, devices = config.eval, Devices.all()
    # What cannot be measured is refused before anything is.
    compare: Any = None
    if options.enable_sampling or options.enable_nfe_curve:
        compare = evaluation.create_comparison(config, dataset)
    held_out_loss = images = record = None
    if options.enable_loss:
        config_lib.validate_devices(config, dataset, devices.count)
        held_out_loss = _held_out_loss(config, dataset, devices)
    if options.enable_bpd:
        images = evaluation.images_of(config)
        record = evaluation.images_record(config, images)
    reports = []
    for step in _steps(options.checkpoints, workdir):
        model = Pretrained(config, *load_params(workdir, step))
        folder = workdir / "eval" / str(model.step)
        report: dict[str, Any] = {"step": model.step}
        if options.enable_sampling:
            report |= _evaluate_samples(model, compare, folder / "samples")
        if held_out_loss is not None:
            report["held_out_loss"] = held_out_loss(model.params)
        if images is not None and record is not None:
            found = evaluation.likelihoods(model, images, folder / "bpd", record)
            report |= evaluation.summary_of_bits(found)
        write = functools.partial(_write_report, workdir, model, report)
        sharding.first_does(write)
        report |= curves.make(model, compare, folder)
        sharding.first_does(write)
        reports.append(report)
    log.info("%s", evaluation.table(reports))
    return reports


def _evaluate_samples(model: Pretrained, compare: evaluation.Comparison, folder: Folder) -> dict[str, Any]:
    config = model.config
    rows = evaluation.draw_samples(model, folder, config.eval.num_samples)
    found = compare(rows["samples"])
    # The first batch has compiled.
    seconds = float(np.median(rows["seconds"][1:] if len(rows["seconds"]) > 1 else rows["seconds"]))
    speed = min(config.sampling.batch_size, config.eval.num_samples) / seconds
    evaluations = float(rows["evaluations"].mean())
    return {"samples": config.eval.num_samples, **found, "evaluations": evaluations, "samples_per_second": speed}


def likelihood(config: ml_collections.ConfigDict, workdir: Folder) -> Folder:
    """Bits per dimension of every image of `eval.bpd_dataset`.

    Args:
      config: of the run; sampling and eval may differ.
      workdir: of the run.

    Returns:
      The folder that received table.csv and table.json.

    Raises:
      InputError: the config is not fit, there is no such checkpoint, or the images are not fit.
    """
    model = _pretrained(config, workdir, config.sampling.checkpoint or None)
    config, images = model.config, evaluation.images_of(model.config)
    record = evaluation.images_record(config, images)
    made = json.dumps({**model.record, **record}, sort_keys=True)
    folder = workdir / "likelihood" / f"{model.step}-{zlib.crc32(made.encode()):08x}"
    found = evaluation.likelihoods(model, images, folder / "pieces", record)
    summary = {"step": model.step, **record, **evaluation.summary_of_bits(found)}
    sharding.first_does(lambda: writers.write_likelihoods(folder, found, summary))
    log.info(
        "%s: %.4f bits/dim, standard error %.4f, over %d images in %s",
        config.eval.bpd_dataset,
        summary["bits_per_dim"],
        summary["bits_per_dim_standard_error"] or math.nan,
        summary["bits_per_dim_images"],
        folder / "table.csv",
    )
    return folder


def _of_run(config: ml_collections.ConfigDict, workdir: Folder) -> ml_collections.ConfigDict:
    config_lib.validate(config)
    saved = config_lib.read(workdir, default.get_config())
    config = config_lib.fill_in_from_run(config, saved)
    for change in config_lib.differences(config, saved, ["data.dataset"]):
        log.warning("Unlike in training, %s", change)
    return config


def _pretrained(config: ml_collections.ConfigDict, workdir: Folder, step: int | None) -> Pretrained:
    return Pretrained(_of_run(config, workdir), *load_params(workdir, step))


def _steps(chosen: str, workdir: Folder) -> list[int | None]:
    """The steps that `eval.checkpoints` names; None for the newest."""
    if chosen == "newest":
        return [None]
    if chosen != "all":
        return [int(step) for step in chosen.split(",")]
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        return list(checkpoints.steps()) or [None]


def _write_report(workdir: Folder, model: Pretrained, report: dict[str, Any]) -> None:
    values = config_lib.to_dict(model.config)
    content = {**report, "config": {group: values[group] for group in ("data", "sampling", "eval")}}
    write_whole(workdir / "eval" / f"{model.step}.json", (json.dumps(content, indent=1) + "\n").encode())
    numbers = {f"eval/{name}": value for name, value in report.items() if isinstance(value, float)}
    with tensorboardX.SummaryWriter(str(workdir / "tensorboard"), filename_suffix=".eval") as events:
        for name, value in numbers.items():
            events.add_scalar(name, value, model.step)


def _progress(total: int, unit: str, initial: int = 0) -> tqdm:
    return tqdm(total=total, unit=unit, initial=initial, dynamic_ncols=True, disable=not sharding.is_first())


def batches(
    config: ml_collections.ConfigDict, split: datasets.Split, devices: Devices, start: int, stop: int
) -> Iterator[datasets.Batch]:
    """The batches of steps `start` to `stop`, on the devices."""
    training = config.training
    # With the whole data set as charges, the rest of the batch would not be looked at.
    rows = training.batch_size if training.field_reference == "batch" else training.small_batch_size

    def place(batch):
        stored, label = devices.place((batch.stored, batch.label))
        return datasets.Batch(stored, devices.place_whole(batch.index), label)

    return datasets.step_batches(
        split,
        seed=config.seed,
        batch_size=training.batch_size,
        rows=rows,
        start=start,
        stop=stop,
        process=(jax.process_index(), jax.process_count()),
        place=place,
    )


def _held_out_loss(
    config: ml_collections.ConfigDict, dataset: datasets.Dataset, devices: Devices, loss: Callable | None = None
) -> Callable[[PyTree], float]:
    """params -> the mean loss of some batches of the test split.

    Of a small split, some points are drawn more than once; perturbations are the same each time.
    """
    loss = loss or create_step(config, devices)[1]
    charges = devices.share_out(dataset.test) if config.training.field_reference == "dataset" else None
    keys = jax.random.split(Keys.of(config.seed, devices.whole).held_out, HELD_OUT_BATCHES)

    def mean(params):
        drawn = batches(config, dataset.test, devices, 0, HELD_OUT_BATCHES)
        return float(np.mean([loss(params, key, batch, charges) for key, batch in zip(keys, drawn, strict=True)]))

    return mean


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
