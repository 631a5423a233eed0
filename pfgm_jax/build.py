"""What a run is made of, built from its config."""

from collections.abc import Set
from typing import Any, TypeVar

import ml_collections
import numpy as np

from pfgm_jax import config_files, datasets
from pfgm_jax.arguments import check_label_rows
from pfgm_jax.charges import Charges
from pfgm_jax.datasets import pairs
from pfgm_jax.errors import InputError, named_by
from pfgm_jax.likelihood import Divergence
from pfgm_jax.methods.base import Method
from pfgm_jax.methods.guidance import guided
from pfgm_jax.registry import METHODS, SAMPLERS
from pfgm_jax.samplers.base import OdeSolver, Sampler
from pfgm_jax.samplers.steps import CALIBRATED
from pfgm_jax.sharding import Devices

T = TypeVar("T")


def from_config(kind: type[T], config: ml_collections.ConfigDict, but: Set[str] = frozenset(), **given: Any) -> T:
    """Creates a dataclass from the config fields of its attributes.

    Args:
      kind: the dataclass.
      config: has the fields.
      but: fields whose attributes keep their defaults.
      **given: other attributes.

    Raises:
      FieldError: a field is out of range.
      InputError: a field is missing.
    """
    fields: dict[str, str] = kind.fields  # type: ignore[attr-defined]
    values = {name: config_files.get(config, path) for name, path in fields.items() if path not in but}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    with named_by(fields):
        return kind(**given, **values)


def image_shape(config: ml_collections.ConfigDict) -> tuple[int, int, int]:
    """Returns H, W, C of what a config learns, examples or patches; zeros where they are left to the data."""
    size = config.data.get("crop") or config.data.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width), int(config.data.num_channels)


def holds_vectors(config: ml_collections.ConfigDict) -> bool:
    """Says whether the data of a config whose fields are filled in are vectors, of which there are no pictures."""
    return not config.data.levels and image_shape(config)[:2] == (1, 1)


def window(config: ml_collections.ConfigDict) -> tuple[float, float]:
    """Returns the values that pictures show as black and white: all grey levels, unless `eval.window` has others.

    Of real numbers these are two standard deviations below and above the mean.
    """
    data = config.data
    if config.eval.window:
        low, high = config.eval.window
        return float(low), float(high)
    if data.levels:
        return float(data.lowest), float(data.lowest + data.levels - 1)
    scale = data.scale if isinstance(data.scale, tuple) else (data.scale,) * len(data.shift)
    shown = slice(3 if data.num_channels == 3 else 1)  # see `pictures.to_pixels`
    shift, scale = np.array(data.shift[shown]), np.array(scale[shown])
    return float((shift - scale).min()), float((shift + scale).max())


def load_dataset(config: ml_collections.ConfigDict) -> datasets.Dataset:
    """Loads the data set of a config, or of patches of its images.

    Raises:
      InputError: see `datasets.load_dataset`; or the images are smaller than patches, or cannot condition themselves.
    """
    data = config.data
    size = data.image_size if isinstance(data.image_size, int) else tuple(data.image_size)
    found = datasets.load_dataset(data.dataset, size, data.num_channels, datasets.data_dir(data.dir), data.bits)
    if data.condition_factor:
        with named_by({"condition_factor": "data.condition_factor"}):
            found = found.conditioned(data.condition_factor)
    if not data.crop:
        return found
    height, width, _ = found.shape
    if min(height, width) < data.crop:
        raise InputError(
            f"data.crop is {data.crop}, but {data.dataset} has examples of {height} x {width}; give at most "
            f"{min(height, width)}, or 0 for whole examples"
        )
    return found.cropped(data.crop)


def create_scaling(config: ml_collections.ConfigDict) -> datasets.Scaling:
    """Creates the scaling of a config whose fields are filled in."""
    data = config.data
    return datasets.Scaling(
        levels=data.levels,
        low=-1.0 if data.centered else 0.0,
        dequantize=data.uniform_dequantization,
        flip=data.random_flip,
        shift=tuple(data.shift),
        scale=data.scale or 1.0,
        lowest=data.lowest,
        dtype=data.dtype,
    )


def create_condition_scaling(config: ml_collections.ConfigDict) -> datasets.Scaling | None:
    """Creates the scaling of the images that condition a config's network; None if there are none."""
    data = config.data
    if not data.condition_channels:
        return None
    return datasets.Scaling(0, shift=tuple(data.condition_shift), scale=tuple(data.condition_scale))


def takes_labels(config: ml_collections.ConfigDict) -> bool:
    """Says whether the network of a config is shown labels."""
    return bool(config.model.num_classes or config.model.label_size)


def training_data(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> datasets.Dataset:
    """Returns what a run trains on: its data set, or the pairs of `training.pairs`.

    Args:
      config: whose fields are filled in.
      dataset: the config's.

    Raises:
      InputError: the pairs cannot be read, are of other data, or fewer than a batch.
    """
    training = config.training
    if not training.pairs:
        return dataset
    found = pairs.load(training.pairs, create_scaling(config), image_shape(config), takes_labels(config))
    if takes_labels(config):
        shown = config.model.num_classes, config.model.label_size
        for split in found[:2]:
            check_label_rows(split.labels, *shown, f"training.pairs is {training.pairs}, which has")
    if len(found.train) < training.batch_size:
        raise InputError(
            f"training.batch_size is {training.batch_size}, but {training.pairs} has {len(found.train)} pairs to train "
            "on; draw at most as many"
        )
    return found


def create_method(config: ml_collections.ConfigDict) -> Method:
    """Creates the generative method of a config.

    Raises:
      InputError: there is no such method, or a field is out of range.
    """
    return from_config(METHODS[config.training.sde], config, shape=image_shape(config))


def create_guided_method(config: ml_collections.ConfigDict) -> Method:
    """Creates the method of a config with the guidance of its sampling.

    Raises:
      InputError: see `create_method`.
    """
    return guided(create_method(config), config.sampling.guidance, tuple(config.sampling.guidance_interval))


def sampler_field(config: ml_collections.ConfigDict) -> str:
    """Returns the config field that names the sampler."""
    return "sampling.ode_solver" if config.sampling.method == "ode" else "sampling.method"


def sampler_name(config: ml_collections.ConfigDict) -> str:
    """Returns the name of the sampler: `sampling.ode_solver`, unless `sampling.method` names another."""
    return config_files.get(config, sampler_field(config))


def choose_sampler(config: ml_collections.ConfigDict, name: str) -> None:
    """Sets the fields of a config that name the sampler; noise levels chosen for another one are forgotten."""
    solves = issubclass(SAMPLERS[name], OdeSolver)
    if name != sampler_name(config):
        forget_levels(config)
    config.sampling.method = "ode" if solves else name
    if solves:
        config.sampling.ode_solver = name


def forget_levels(config: ml_collections.ConfigDict) -> None:
    """Gives a sampler its own schedule in place of noise levels that were chosen for another use; see `schedules`."""
    if config.sampling.schedule == CALIBRATED:
        config.sampling.schedule, config.sampling.levels = "", ()


def samplers_of(method: Method) -> list[str]:
    """Lists the samplers that can sample from a method."""
    return [name for name in SAMPLERS if SAMPLERS[name].supports(method)]


def create_sampler(config: ml_collections.ConfigDict) -> Sampler:
    """Creates the sampler of a config.

    Raises:
      InputError: there is no such sampler, or a field is out of range.
    """
    name = config_files.get(config, "sampling.method")
    if name == "ode":
        return create_ode_solver(config)
    others = [known for known in SAMPLERS if not issubclass(SAMPLERS[known], OdeSolver)]
    if name not in others:
        raise InputError(f"sampling.method is {name!r}; choose one of {', '.join(['ode', *others])}")
    return create_named_sampler(config, name)


def create_ode_solver(config: ml_collections.ConfigDict) -> OdeSolver:
    """Creates the solver of latents, and of samples where `sampling.method` is 'ode'.

    Raises:
      InputError: there is no such solver, or a field is out of range.
    """
    name = config_files.get(config, "sampling.ode_solver")
    solvers = [known for known in SAMPLERS if issubclass(SAMPLERS[known], OdeSolver)]
    if name not in solvers:
        raise InputError(f"sampling.ode_solver is {name!r}; choose one of {', '.join(solvers)}")
    return create_named_sampler(config, name)


def create_named_sampler(config: ml_collections.ConfigDict, name: str) -> Any:
    """Creates the sampler of a name with the options of a config.

    Raises:
      InputError: there is no such sampler, or a field is out of range.
    """
    return from_config(SAMPLERS[name], config)


def create_unused_samplers(config: ml_collections.ConfigDict, used: set[str]) -> list[Sampler]:
    """Creates every sampler with those options of a config that the samplers in use do not have.

    Args:
      config: with the options.
      used: fields of the samplers in use, which decide their ranges.

    Raises:
      FieldError: a field is out of range.
    """
    return [from_config(SAMPLERS[name], config, but=used) for name in SAMPLERS]


def create_likelihood_solver(config: ml_collections.ConfigDict) -> OdeSolver:
    """Creates the solver of likelihoods: that of latents if it chooses its steps, else RK45."""
    solver = create_ode_solver(config)
    return solver if solver.adaptive else create_named_sampler(config, "rk45")


def create_divergence(config: ml_collections.ConfigDict) -> Divergence:
    """Creates what likelihoods find divergences by.

    Raises:
      InputError: there is no such estimate.
    """
    return from_config(Divergence, config)


def create_charges(config: ml_collections.ConfigDict, devices: Devices) -> Charges:
    """Creates what finds the charges of a training step, of a config whose fields are filled in."""
    training = config.training
    scaling = create_scaling(config)
    if training.pairs:
        scaling = pairs.as_stored(scaling, image_shape(config))
    return Charges(
        training.field_reference,
        training.small_batch_size,
        training.field_chunk,
        scaling,
        devices,
        create_method(config).kernel_dimensions,
        config.data.augmentation,
        create_condition_scaling(config),
        config.model.label_dropout if takes_labels(config) else 0.0,
        _counted(config),
    )


def _counted(config: ml_collections.ConfigDict) -> str:
    """Says which charges count for an example; see `Charges`."""
    if not config.training.conditional_field:
        return "all"
    return "example" if config.data.condition_channels else "label" if takes_labels(config) else "all"
