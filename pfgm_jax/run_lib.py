"""train(), sample(), evaluate(), likelihood(), restore() and reflow(): how parts of pfgm_jax are wired into runs."""

import contextlib
import functools
import logging
import math
from typing import Any

import ml_collections

from pfgm_jax import (
    build,
    curves,
    datasets,
    evaluation,
    interruption,
    measured_images,
    reports,
    restoring,
    results,
    sharding,
)
from pfgm_jax import config as config_lib
from pfgm_jax import workdir as workdirs
from pfgm_jax.datasets import pairs
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, to_folder
from pfgm_jax.loading import load_with
from pfgm_jax.pages import run as page
from pfgm_jax.pieces import Rows
from pfgm_jax.sharding import Devices
from pfgm_jax.trained_model import TrainedModel
from pfgm_jax.training import loop, wandb_writer
from pfgm_jax.training.state import TrainState
from pfgm_jax.training.step import create_held_out_loss

log = logging.getLogger("pfgm_jax")


def train(config: ml_collections.ConfigDict, workdir: Folder | str) -> TrainState:
    """Trains, resuming where a run in the workdir stopped.

    Args:
      config: see pfgm_jax/defaults.py.
      workdir: receives config.json, checkpoints/, samples/, tensorboard/, metrics.jsonl, log.jsonl and report.html.

    Returns:
      The state after the last step.

    Raises:
      InputError: the config, the data or the workdir is wrong.
      TrainingError: the loss was not finite.
      StorageError: a checkpoint could not be written.
      SystemExit: the process was asked to stop, and has saved its last step.
    """
    workdir = to_folder(workdir)
    config_lib.validate(config)
    wandb_writer.check(config.training)
    devices = Devices.all()
    config = config_lib.with_batches(config, devices.count)
    dataset = build.load_dataset(config)
    config = config_lib.fill_in(config, dataset)
    # An error, if any, comes before anything is written.
    method, learned = build.create_method(config), build.training_data(config, dataset)
    config_lib.validate_devices(config, dataset, devices.count)
    with contextlib.ExitStack() as stack:
        sharding.on_first_process(lambda: workdirs.open_for_training(workdir, config, stack))
        stack.enter_context(page.reported(workdir, "train"))
        config.training.restart = False  # next time it resumes
        stop = stack.enter_context(interruption.stop_requests())
        _log_data(config, dataset)
        log.info("%s", ", ".join(f"{name} = {value:.4g}" for name, value in method.summary().items()))
        return loop.train(config, learned, workdir, devices, stop)


def sample(config: ml_collections.ConfigDict, workdir: Folder | str) -> Folder:
    """Draws `sampling.num_samples` samples from a trained model.

    Args:
      config: of the run; sampling may differ.
      workdir: of the run.

    Returns:
      The folder with samples.npz, and for images grid.png and one PNG file an image. If it had some of these samples
      already, only the rest was drawn; if it had more, they stay. With `sampling.then`, that of the upsampled ones.

    Raises:
      InputError: the config is wrong, there is no such checkpoint, or another process is drawing the same samples.
      SolveError: the ODE could not be solved.
    """
    workdir = to_folder(workdir)
    model = workdirs.load_model(config, workdir)
    upsampler = workdirs.load_upsampler(model)
    folder = results.samples_folder(workdir, model, config.sampling.num_samples)
    rows = evaluation.draw_samples(model, folder, config.sampling.num_samples)
    _write_samples(model, folder, rows)
    if upsampler is not None:
        folder = results.upsampled_folder(workdir, model, upsampler, config.sampling.num_samples)
        _write_samples(upsampler, folder, evaluation.draw_upsampled(upsampler, model, folder, rows["samples"]))
    return folder


def _write_samples(model: TrainedModel, folder: Folder, rows: Rows) -> None:
    """Writes samples, and says where they are."""
    stored, evaluations = rows["samples"], rows["evaluations"]
    window = None if build.holds_vectors(model.config) else build.window(model.config)
    labels = evaluation.labels_of_samples(model, len(stored))
    sharding.on_first_process(lambda: reports.write_samples(folder, stored, evaluations, window, labels))
    log.info(
        "%d samples of step %d with %.1f evaluations each (at most %d) in %s",
        len(stored),
        model.step,
        evaluations.mean(),
        evaluations.max(),
        folder,
    )


def evaluate(config: ml_collections.ConfigDict, workdir: Folder | str) -> list[dict[str, Any]]:
    """Evaluates checkpoints; the fields of `eval` in pfgm_jax/defaults.py say what is measured.

    Args:
      config: of the run; sampling and eval may differ.
      workdir: of the run; receives eval/<step>.json, and pictures and tables in eval/<step>/. Where another evaluation
        of the step has these names, theirs have a hash. log.jsonl and report.html are brought up to date.

    Returns:
      A report for each step of `eval.checkpoints`.

    Raises:
      InputError: the config is wrong, or there is no such checkpoint.
      SolveError: the ODE could not be solved.
    """
    workdir = to_folder(workdir)
    devices = Devices.all()
    config = config_lib.with_batches(workdirs.config_of_run(config, workdir), devices.count)
    with page.reported(workdir, "eval"):
        found = _evaluate(config, workdir, devices)
        log.info("%s", reports.table(found))
    return found


def _evaluate(config: ml_collections.ConfigDict, workdir: Folder, devices: Devices) -> list[dict[str, Any]]:
    """Evaluates checkpoints, of a config that is filled in; returns their reports."""
    options = config.eval
    # What cannot be measured raises an error before anything is measured; what takes longest comes last.
    steps = workdirs.evaluated_steps(options.checkpoints, workdir)
    dataset = build.load_dataset(config)
    measured_images.check_data_of_model(config, dataset)
    measured = measured_images.load_images(config) if options.enable_bpd else None
    held_out_loss = compare = None
    if options.enable_loss:
        config_lib.validate_devices(config, dataset, devices.count)
        held_out_loss = create_held_out_loss(config, build.training_data(config, dataset), devices)
    if (
        options.enable_sampling
        or options.enable_nfe_curve
        or options.enable_noise_curve
        or options.enable_quantization_curve
    ):
        compare = evaluation.create_comparison(config, dataset)
    of_class = {}
    if options.enable_sampling and options.per_class:
        of_class = evaluation.create_comparisons_of_classes(config, dataset)
    found = []
    for step in steps:
        model = load_with(config, workdir, step, dataset.test)
        folder = results.report_folder(workdir, model, measured and measured.record)
        report: dict[str, Any] = {"step": model.step}
        if options.enable_sampling and compare is not None:
            drawn = results.samples_folder(workdir, model, options.num_samples)
            report |= evaluation.quality_of_samples(model, compare, drawn, of_class)
        if held_out_loss is not None:
            report["held_out_loss"] = held_out_loss(model.params)
        if measured is not None:
            place = results.likelihoods_folder(workdir, model, measured.record)
            report |= evaluation.summary_of_bits(evaluation.likelihoods(model, measured.images, place))
        write = functools.partial(reports.write_report, results.report_file(folder), workdir, model, report)
        sharding.on_first_process(write)
        report |= curves.make(workdir, model, compare, folder)
        sharding.on_first_process(write)
        found.append(report)
    return found


def likelihood(config: ml_collections.ConfigDict, workdir: Folder | str) -> Folder:
    """Computes bits per dimension of every image of `eval.bpd_dataset`.

    Args:
      config: of the run; sampling and eval may differ.
      workdir: of the run.

    Returns:
      The folder with table.csv and table.json.

    Raises:
      InputError: the config or the images are wrong, or there is no such checkpoint.
    """
    workdir = to_folder(workdir)
    model = workdirs.load_model(config, workdir)
    images, files, record = measured_images.load_images(model.config)
    folder = results.likelihoods_folder(workdir, model, record)
    found = evaluation.likelihoods(model, images, folder)
    summary = {"step": model.step, **record, **evaluation.summary_of_bits(found)}
    sharding.on_first_process(lambda: reports.write_likelihoods(folder, found, summary, files))
    log.info(
        "%s: %.4f bits/dim, standard error %.4f, over %d images in %s",
        record["images"],
        summary["bits_per_dim"],
        summary["bits_per_dim_standard_error"] or math.nan,
        summary["bits_per_dim_images"],
        folder / "table.csv",
    )
    return folder


def restore(config: ml_collections.ConfigDict, workdir: Folder | str) -> Folder:
    """Restores the images of `restore.images`; the fields of `restore` in pfgm_jax/defaults_of_use.py say how.

    Args:
      config: of the run; sampling and restore may differ.
      workdir: of the run.

    Returns:
      The folder with restored.npz, table.json and, of images, grid.png and one PNG file an answer.

    Raises:
      InputError: the config or the images are wrong, or there is no such checkpoint.
      SolveError: the ODE could not be solved.
    """
    workdir = to_folder(workdir)
    model = workdirs.load_model(config, workdir)
    task = restoring.load_task(model.config)
    folder = results.restored_folder(workdir, model, task.record)
    rows = restoring.restore_images(model, task, folder)
    summary = {"step": model.step, **task.record, **restoring.measure(model, task, rows)}
    summary["seconds"] = float(rows["seconds"].sum())
    columns = restoring.columns_of_grid(task, rows, reports.GRID_ROWS)
    window = None if build.holds_vectors(model.config) else build.window(model.config)
    sharding.on_first_process(lambda: reports.write_restored(folder, rows, summary, columns, window, task.files))
    log.info("%s", reports.table([summary]))
    log.info("%d images of step %d, restored, in %s", len(task.images), model.step, folder)
    return folder


def reflow(config: ml_collections.ConfigDict, workdir: Folder | str) -> Folder:
    """Draws `sampling.num_samples` samples from a trained model, each with the noise that its ODE led to it from.

    Args:
      config: of the run; sampling may differ.
      workdir: of the run.

    Returns:
      The file of the pairs, for `training.pairs` of a flow.

    Raises:
      InputError: the config is wrong, the sampler adds noise, or there is no such checkpoint.
      SolveError: the ODE could not be solved.
    """
    workdir = to_folder(workdir)
    model = workdirs.load_model(config, workdir)
    if config.sampling.method != "ode":
        raise InputError(
            f"sampling.method is {config.sampling.method!r}, by which a sample does not follow from its noise; set it "
            "to 'ode'"
        )
    if model.config.data.condition_channels:
        raise InputError(
            f"data.dataset is {config.data.dataset!r}, whose images condition the model, and pairs have none; choose a "
            "model that is not conditioned on images"
        )
    count = config.sampling.num_samples
    folder = results.samples_folder(workdir, model, count, "reflow")
    rows = evaluation.draw_pairs(model, folder, count)
    labels = evaluation.labels_of_samples(model, count)
    write = lambda: pairs.write(folder, rows["noise"], rows["data"], model.scaling, labels)
    sharding.on_first_process(write)
    log.info("%d pairs of step %d in %s", count, model.step, folder / pairs.FILE)
    return folder / pairs.FILE


def _log_data(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> None:
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
