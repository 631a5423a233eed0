"""The parts of an evaluation: samples, metrics, likelihoods."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Num

from pfgm_jax import build, datasets, given, metrics, sharding
from pfgm_jax.context import Context
from pfgm_jax.errors import InputError, named_by
from pfgm_jax.folders import Folder, to_path
from pfgm_jax.keys import Keys, sample_keys
from pfgm_jax.likelihood import BitsPerDim
from pfgm_jax.pieces import Rows, rows_in_pieces
from pfgm_jax.samplers.base import Solution
from pfgm_jax.sharding import Devices
from pfgm_jax.trained_model import TrainedModel

log = logging.getLogger("pfgm_jax")

Comparison = Callable[[Num[np.ndarray, "n H W C"]], dict[str, float]]


def labels_of_samples(model: TrainedModel, n: int) -> np.ndarray | None:
    """Returns the labels of the samples that `draw_samples` draws; None if the model knows none."""
    return given.labels_of_samples(model.config, model.config.seed, n, model.examples)


def draw_samples(model: TrainedModel, folder: Folder, n: int) -> Rows:
    """Draws samples with the run's seed; those that `folder`/pieces holds already are not drawn again.

    Args:
      model: a trained model.
      folder: of its samples; see `results.samples_folder`.
      n: how many.

    Returns:
      `samples` in stored form [n, H, W, C], the number of network `evaluations` of each, and what `rows_in_pieces`
      adds.

    Raises:
      WorkdirInUseError: another process is drawing them.
      SolveError: the ODE could not be solved.
    """
    return _samples_in_pieces(model, folder, n, model.config.seed, lambda first, size: None)


def _samples_in_pieces(
    model: TrainedModel, folder: Folder, n: int, seed: int, context: Callable[[int, int], Context | None]
) -> Rows:
    size = Devices.all().round_up(min(model.config.sampling.batch_size, n))

    def compute(first):
        batch = _draw_piece(model, size, first, n, seed, context(first, size))
        return {"samples": np.asarray(model.scaling.to_stored(batch.x)), "evaluations": np.asarray(batch.evaluations)}

    return rows_in_pieces(folder / "pieces", n, size, compute, "sample")


def draw_upsampled(model: TrainedModel, base: TrainedModel, folder: Folder, images: Num[np.ndarray, "n h w c"]) -> Rows:
    """Draws a sample given each sample of another model, with the same seed and label, as `draw_samples` does.

    Args:
      model: that is conditioned on such images; see `workdir.load_upsampler`.
      base: the other model.
      folder: of the samples.
      images: samples of the other model, from the first on.

    Raises:
      WorkdirInUseError: another process is drawing them.
      SolveError: the ODE could not be solved.
    """
    n, seed = len(images), base.config.seed
    labels = labels_of_samples(base, n) if build.takes_labels(model.config) else None

    def context(first: int, size: int) -> Context:
        rows = np.minimum(np.arange(first, first + size), n - 1)
        label = None if labels is None else labels[rows]
        return given.of_samples(model.config, seed, first, size, None, label, images[rows])

    return _samples_in_pieces(model, folder, n, seed, context)


def _draw_piece(
    model: TrainedModel, size: int, first: int, n: int, seed: int, context: Context | None = None
) -> Solution:
    """Draws samples number `first` to `first + size`; checks those of the first n."""
    (batch,) = model.draw(size, seed, first, context)
    Solution(*(part[: n - first] for part in batch)).check(first)
    return batch


def draw_pairs(model: TrainedModel, folder: Folder, n: int) -> Rows:
    """Draws samples with the run's seed and the noise that belongs to each; see `draw_samples`.

    Returns:
      `noise`, standard normal, and `data` in network units, [n, H, W, C] each.

    Raises:
      InputError: the method has no map from its prior to normal noise.
      WorkdirInUseError: another process is drawing them.
      SolveError: the ODE could not be solved.
    """
    size = Devices.all().round_up(min(model.config.sampling.batch_size, n))
    key = Keys.from_seed(model.config.seed).samples

    def compute(first):
        batch = _draw_piece(model, size, first, n, model.config.seed)
        with named_by(model.method.fields):
            noise = model.method.to_noise(np.asarray(model.method.prior_sample(sample_keys(key, size, first))))
        return {"noise": noise, "data": np.asarray(batch.x)}

    return rows_in_pieces(folder / "pieces", n, size, compute, "pair")


def span_of(config: ml_collections.ConfigDict, images: Num[np.ndarray, "n H W C"]) -> float:
    """Returns the highest value less the lowest: of grey levels, or of the images themselves where there are none."""
    return config.data.levels - 1.0 if config.data.levels else float(images.max() - images.min()) or 1.0


def _of_class(samples: Num[np.ndarray, "n H W C"], compare: Comparison) -> dict[str, Any]:
    found = compare(samples) if len(samples) > 1 else {}
    return {"samples": len(samples), **found}


def quality_of_samples(
    model: TrainedModel, compare: Comparison, folder: Folder, of_class: Mapping[int, Comparison] = {}
) -> dict[str, Any]:
    """Draws `eval.num_samples` samples and compares them with the training data; returns the values for a report.

    Samples that are conditioned on images are compared with the images that belong to these, too.

    Args:
      model: a trained model.
      compare: see `create_comparison`.
      folder: of the model's samples; see `results.samples_folder`.
      of_class: see `create_comparisons_of_classes`.

    Raises:
      SolveError: the ODE could not be solved.
    """
    config = model.config
    rows = draw_samples(model, folder, config.eval.num_samples)
    labels = labels_of_samples(model, config.eval.num_samples) if of_class else None
    found: dict[str, Any] = compare(rows["samples"])
    if model.examples is not None and config.data.condition_channels:
        targets = model.examples[np.arange(len(rows["samples"])) % len(model.examples)]
        found |= metrics.evaluate_paired(rows["samples"], targets, span_of(config, targets))
    if labels is not None:
        found["classes"] = {label: _of_class(rows["samples"][labels == label], c) for label, c in of_class.items()}
    speeds = rows["lengths"] / rows["seconds"]
    speed = float(np.median(speeds[1:] if len(speeds) > 1 else speeds))  # the first batch includes compilation
    evaluations = float(rows["evaluations"].mean())
    return {"samples": config.eval.num_samples, **found, "evaluations": evaluations, "samples_per_second": speed}


def create_comparisons_of_classes(
    config: ml_collections.ConfigDict, dataset: datasets.Dataset
) -> dict[int, Comparison]:
    """Creates, for each class, a function that compares images with the examples of that class.

    Classes of fewer than 2 training examples, which have no covariance, are left out, and of vectors those without one
    that was held out. For the errors see `create_comparison`.
    """
    of_class = lambda split, label: split.part(np.flatnonzero(split.labels == label))
    shared: Any = None if build.holds_vectors(config) else sharding.on_first_process(lambda: _extractor_here(config))
    found = {}
    for label, count in enumerate(config.data.label_counts):
        of_label = dataset._replace(train=of_class(dataset.train, label), test=of_class(dataset.test, label))
        if count > 1 and (len(of_label.test) or not build.holds_vectors(config)):
            found[label] = create_comparison(config, of_label, f"-class{label}", shared)
    return found


def create_comparison(
    config: ml_collections.ConfigDict,
    dataset: datasets.Dataset,
    part: str = "",
    extractor: metrics.Extractor | None = None,
) -> Comparison:
    """Creates a function that computes FID and other metrics of images, or those of vectors, against the data.

    All processes must call it and the function. Process 0 computes on its own devices; the others get {}.

    Args:
      config: whose fields are filled in.
      dataset: its examples are what images are compared with.
      part: follows "train" and "test" in the names of their statistics; "" for all examples of the data set.
      extractor: of features; None to create that of the config.

    Raises:
      InputError: see `metrics.create_extractor` and `metrics.load_statistics`. The function raises the errors of
        `metrics.evaluate`.
    """
    compare: Any = sharding.on_first_process(lambda: _comparison_here(config, dataset, part, extractor))
    return lambda images: sharding.on_first_process(lambda: compare(images)) or {}


def _extractor_here(config: ml_collections.ConfigDict) -> metrics.Extractor:
    options, local = config.eval, Devices.of_this_process()
    made_with = metrics.ExtractorOptions(
        datasets.data_dir(config.data.dir),
        levels=config.data.levels,
        window=None if build.create_scaling(config).stored_dtype == np.uint8 else build.window(config),
        front_end=options.front_end,
        weights=to_path(options.weights, "eval.weights") if options.weights else None,
        batch_size=local.round_up(options.batch_size),
        devices=local,
    )
    return metrics.create_extractor(options.features, made_with)


def _comparison_here(
    config: ml_collections.ConfigDict, dataset: datasets.Dataset, part: str, extractor: metrics.Extractor | None
) -> Comparison:
    if build.holds_vectors(config):
        train, test = dataset.train[:], dataset.test[:]
        return lambda vectors: metrics.evaluate_vectors(vectors, train, test)
    options, directory = config.eval, datasets.data_dir(config.data.dir)
    extractor = extractor or _extractor_here(config)
    of_split = lambda split, name: metrics.reference_statistics(
        config.data.dataset, split, extractor, directory, f"{name}{part}"
    )
    if options.statistics and not part:
        expected = {name: value for name, value in extractor.record.items() if name != "levels"}
        reference = metrics.load_statistics(to_path(options.statistics, "eval.statistics"), expected)
    else:
        reference = of_split(dataset.train, "train")
    # Of one image, since samples are not yet drawn.
    metrics.check_dimension(extractor(dataset.train[:1]).features.shape[1], reference)
    # Those of one image have no covariance.
    held_out = of_split(dataset.test, "test") if len(dataset.test) > 1 else None
    return lambda images: metrics.evaluate(metrics.extract(images, extractor), reference, held_out)


def likelihoods(model: TrainedModel, images: np.ndarray | datasets.Split, folder: Folder) -> BitsPerDim:
    """Computes bits per dimension of images; NaN where the ODE could not be solved.

    Args:
      model: a trained model.
      images: images in stored form.
      folder: of these likelihoods; see `results.likelihoods_folder`. What its `pieces` hold is not computed again.
    """
    options = model.config.eval
    size = Devices.all().round_up(min(options.batch_size, len(images)))

    def compute(first):
        index = np.minimum(np.arange(first, first + size, dtype=np.int32), len(images) - 1)
        context = given.of_examples(model.config, images, index)
        stored = model.check(images[index])
        ((_, found),) = model.bits(stored, index, model.config.seed, options.num_probes, context)
        bits = np.where(np.asarray(found.ok), np.asarray(found.bits), np.nan)
        return {"bits": bits, "evaluations": np.asarray(found.evaluations)}

    rows = rows_in_pieces(folder / "pieces", len(images), size, compute, "image")
    return BitsPerDim(rows["bits"], rows["evaluations"], np.isfinite(rows["bits"]))


def summary_of_bits(found: BitsPerDim) -> dict[str, Any]:
    """Computes mean bits per dimension, its standard error (None for one image), and the number of solved images."""
    of_image = np.asarray(found.mean)
    solved = of_image[np.isfinite(of_image)]
    if len(solved) < len(of_image):
        log.warning("The ODE could not be solved for %d of %d images", len(of_image) - len(solved), len(of_image))
    if not len(solved):
        raise InputError(
            "the ODE could not be solved for any image; loosen sampling.rtol and sampling.atol, or train longer"
        )
    error = float(solved.std(ddof=1) / np.sqrt(len(solved))) if len(solved) > 1 else None
    return {
        "bits_per_dim": float(solved.mean()),
        "bits_per_dim_standard_error": error,
        "bits_per_dim_images": len(solved),
        "bits_per_dim_unsolved": len(of_image) - len(solved),
    }
