"""Everything a config has to satisfy, checked once before any work, and what its data fill in."""

import math

import ml_collections

from pfgm_jax import build, config_conflicts, config_data, config_fields, datasets, models, ranges
from pfgm_jax.config_files import differences, get, put
from pfgm_jax.config_ranges import RANGES
from pfgm_jax.errors import InputError, named_by
from pfgm_jax.registry import FEATURES, METHODS, MODELS

# Fields that decide the shapes or the meaning of the parameters, besides those of the method and the network.
_IDENTITY = (
    *(path for path in config_data.FIELDS if path != "data.label_counts"),
    "data.crop",
    "data.condition_factor",
    "data.centered",
    "data.uniform_dequantization",
    "data.augmentation",
    "training.sde",
    "model.name",
    "model.scale_by_sigma",
    "model.sigma_min",
    "model.sigma_max",
    "model.num_scales",
)


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks every field that can be checked without the data.

    Raises:
      InputError: a field is unknown, missing, of another type or out of range, or two fields contradict each other.
    """
    config_fields.check(config)
    for path in RANGES:
        _validate_field(config, path)
    for path in config_fields.known_fields():
        get(config, path)
    MODELS[get(config, "model.name")]
    FEATURES[get(config, "eval.features")]
    build.create_divergence(config)
    config_conflicts.check_fields(config)
    method, sampler = build.create_method(config), build.create_sampler(config)
    solver = build.create_ode_solver(config)
    # An option that is wrong is wrong also if it is not used now.
    unused = build.create_unused_samplers(config, {*sampler.fields.values(), *solver.fields.values()})
    if not sampler.supports(method):
        able, kind = build.samplers_of(method), repr(config.training.sde)
        if isinstance(method, sampler.requires):
            kind += f" with D = {method.kernel_dimensions:g}, whose noise is not Gaussian"
        raise InputError(
            f"{build.sampler_field(config)} is {build.sampler_name(config)!r}, which cannot sample from {kind}; choose "
            f"one of {', '.join(able)}"
        )
    with named_by(sampler.fields):
        sampler.check_method(method)
    config_conflicts.check_targets(config, method)
    if not method.unfitted:
        for each in (sampler, solver, *unused):
            with named_by(each.fields):
                each.check_levels(method.t_prior, method.t_data)


def with_batches(config: ml_collections.ConfigDict, count: int) -> ml_collections.ConfigDict:
    """Copies a config and sets how many examples a step perturbs and draws, if it says so for each of `count` devices.

    Raises:
      InputError: the points of a device cannot be shared evenly by its microbatches.
    """
    config = config.copy_and_resolve_references()
    training = config.training
    if training.points_per_device:
        if training.points_per_device % training.accumulate:
            raise InputError(
                f"training.points_per_device is {training.points_per_device}, which training.accumulate = "
                f"{training.accumulate} microbatches cannot share evenly; choose a multiple of {training.accumulate}"
            )
        training.small_batch_size = training.points_per_device * count
        training.batch_size = max(training.batch_size, training.small_batch_size)
    return config


def validate_devices(config: ml_collections.ConfigDict, dataset: datasets.Dataset, count: int) -> None:
    """Checks that the batches of a config can be shared out among so many devices.

    Raises:
      InputError: they cannot.
    """
    training = config.training
    parts = count * training.accumulate
    if training.small_batch_size % parts:
        microbatches = f", each with training.accumulate = {training.accumulate} microbatches"
        raise InputError(
            f"training.small_batch_size is {training.small_batch_size}, which {count} devices"
            f"{microbatches if training.accumulate > 1 else ''} cannot share evenly; choose a multiple of {parts}, or "
            "set training.points_per_device"
        )
    if training.field_reference == "batch" and training.batch_size % count:
        raise InputError(
            f"training.batch_size is {training.batch_size}, which {count} devices cannot share evenly; choose a "
            f"multiple of {count}"
        )
    fewest = min(len(dataset.train), len(dataset.test))
    if training.field_reference == "dataset" and fewest < count:
        raise InputError(
            f"training.field_reference is 'dataset', but a split of {config.data.dataset} has {fewest} examples for "
            f"{count} devices; choose 'batch'"
        )


def validate_network(config: ml_collections.ConfigDict) -> None:
    """Checks what decides the network of a config, which may lack fields of other kinds.

    Raises:
      InputError: a value is out of range, or the images do not suit the network.
    """
    known = config_fields.known_fields()
    for path in ("data.image_size", "data.num_channels", *(f"model.{name}" for name in config.model)):
        if path in known:
            config_fields.check_type(path, get(config, path), known[path])
        if path in RANGES:
            _validate_field(config, path)
    network = models.create_model(config)
    for name, allowed in network.ranges.items():
        ranges.check_value(f"model.{name}", get(config, f"model.{name}"), allowed)
    height, width, channels = build.image_shape(config)
    with named_by({"name": "model.name", **{field: f"model.{field}" for field in config.model}}):
        models.check_images(network, height, width, channels)
    config_conflicts.check_embedding(config)
    if config.model.get("scale_by_sigma") and network.expects_labels:
        _validate_labels(config)


def _validate_labels(config: ml_collections.ConfigDict) -> None:
    """Checks that a network which divides by the level of a number is shown numbers of levels."""
    sde, number = config.training.sde, config.model.num_scales
    largest = METHODS[sde].largest_label(config)
    if largest is None:
        raise InputError(
            "model.scale_by_sigma is True, with which the network expects the number of a noise level and divides by "
            f"that level, but {sde!r} shows it the noise level itself; set it to False"
        )
    if largest >= number:
        raise InputError(
            f"model.num_scales is {number}, but with model.scale_by_sigma the network divides by the noise level of a "
            f"label, and the labels of {sde!r} go up to {largest:g}; give at least {math.floor(largest) + 1}"
        )


def _validate_field(config: ml_collections.ConfigDict, path: str) -> None:
    value = get(config, path)
    # The release has lists where we have tuples.
    ranges.check_value(path, tuple(value) if isinstance(value, list) else value, RANGES[path])


def fields_from_data(config: ml_collections.ConfigDict) -> list[str]:
    """Lists the fields of a config that may be left to its data."""
    method = METHODS[config.training.sde]
    return [*config_data.FIELDS, *(method.fields[name] for name in method.fitted)]


def is_filled_in(config: ml_collections.ConfigDict) -> bool:
    """Says whether a config of images leaves nothing to its data."""
    if build.create_method(config).unfitted:
        return False
    return all(get(config, path) for path in ("data.image_size", "data.num_channels", "data.levels"))


def fill_in(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> ml_collections.ConfigDict:
    """Copies a config and fills in everything that its data decide.

    Args:
      config: validated.
      dataset: what `data.dataset` names.

    Returns:
      The config without zeros in `fields_from_data`.

    Raises:
      InputError: the config contradicts the data.
    """
    config = config.copy_and_resolve_references()
    config_data.fill_in_shape(config, dataset)
    if len(dataset.train) < config.training.batch_size:
        raise InputError(
            f"training.batch_size is {config.training.batch_size}, but {config.data.dataset} has "
            f"{len(dataset.train)} training examples; draw at most as many"
        )
    config_data.fill_in_units(config, dataset)
    config_data.fill_in_conditions(config, dataset)
    config_data.fill_in_labels(config, dataset)
    validate_network(config)
    statistics = datasets.DataStatistics(build.create_scaling(config), dataset.train)
    method = METHODS[config.training.sde]
    with named_by(method.fields):
        fitted = build.create_method(config).fit(statistics)
    for name in method.fitted:
        put(config, method.fields[name], getattr(fitted, name))
    _fill_in_reference(config)
    validate(config)
    return config


def _fill_in_reference(config: ml_collections.ConfigDict) -> None:
    training = config.training
    training.field_reference = training.field_reference or METHODS[training.sde].references[0]


def fill_in_from_run(config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Copies a config and fills in what the run that was started with it found in its data.

    Raises:
      InputError: the run trained another model.
    """
    config = config.copy_and_resolve_references()
    for path in (*fields_from_data(config), "data.dtype"):
        if not get(config, path):
            put(config, path, get(saved, path))
    _fill_in_reference(config)
    check_same_model(config, saved)
    validate(config)
    return config


def check_same_model(config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict) -> None:
    """Checks that a config is of the model that a run began with.

    Raises:
      InputError: names the fields that differ.
    """
    differing = differences(config, saved, _identity(saved))
    if differing:
        raise InputError(
            f"the workdir holds a run of another model: {'; '.join(differing)}. "
            "Choose another --workdir, or set these fields back"
        )


def _identity(config: ml_collections.ConfigDict) -> list[str]:
    """Lists the fields that a run cannot go on without."""
    network, method = MODELS[config.model.name], METHODS[config.training.sde]
    fields = [f"model.{name}" for name in network.attributes() if name not in network.adjustable]
    return [*_IDENTITY, *fields, *(method.fields[name] for name in method.identity)]
