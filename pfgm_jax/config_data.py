"""What the data of a config fill in: sizes, units, labels, conditions."""

import ml_collections
import numpy as np

from pfgm_jax import build, datasets
from pfgm_jax.config_files import get, put
from pfgm_jax.errors import InputError
from pfgm_jax.registry import MODELS

# Fields that may be 0 or (), which stands for "from the data".
FIELDS = (
    *("data.image_size", "data.num_channels", "data.levels", "data.lowest", "data.shift", "data.scale"),
    *("data.condition_channels", "data.condition_shift", "data.condition_scale", "data.label_counts"),
)


def fill_in_shape(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> None:
    """Fills in the size, channels and grey levels of examples.

    Raises:
      InputError: the config has others than the data.
    """
    (height, width), channels = dataset.train.whole_size, dataset.shape[2]
    size = height if height == width else (height, width)
    found = {"data.image_size": size, "data.num_channels": channels}
    if not isinstance(config.data.image_size, int):
        given = tuple(config.data.image_size)
        put(config, "data.image_size", given[0] if given[0] == given[1] else given)
    for path, value in found.items():
        if get(config, path) not in (0, value):
            raise InputError(
                f"{path} is {get(config, path)}, but {config.data.dataset} has {value}; set it to 0 or to that"
            )
        put(config, path, value)
    data = config.data
    if not data.levels and not data.lowest:
        data.levels, data.lowest = dataset.levels, dataset.lowest
    kind = dataset.train[:0].dtype
    if not dataset.fits(data.levels, data.lowest):
        levels = f"from {dataset.lowest} to {dataset.lowest + dataset.levels - 1}" if dataset.levels else "none"
        cure = f"set both to 0, or to a range of {kind} that includes these" if dataset.of_range else "set both to 0"
        raise InputError(
            f"data.levels is {data.levels} and data.lowest is {data.lowest}, but {data.dataset} has grey levels "
            f"{levels}; {cure}"
        )
    data.dtype = kind.name if dataset.of_range else ""


def fill_in_units(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> None:
    """Fills in the shift and scale of real numbers.

    Raises:
      InputError: the config has as many for another number of channels, or does not suit vectors.
    """
    if not dataset.levels:
        _fill_in_scaling(config, dataset)
    if build.holds_vectors(config):
        _check_vectors(config)


def _fill_in_scaling(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> None:
    train, data = dataset.train, config.data
    if not data.shift or not data.scale:
        of_vectors = build.holds_vectors(config)
        found = datasets.vector_scaling(train[:]) if of_vectors else datasets.channel_scaling(train.read, len(train))
        put(config, "data.shift", data.shift or found[0])
        put(config, "data.scale", data.scale or found[1])
    channels = dataset.shape[2]
    kind = f"vectors of {channels}" if build.holds_vectors(config) else f"{channels} channels"
    _check_components(config, "data.shift", channels, kind, "()")
    _check_components(config, "data.scale", channels, kind, "0")


def _check_components(config: ml_collections.ConfigDict, path: str, count: int, kind: str, own: str) -> None:
    """Checks that a field has a number for each channel, if it has several.

    Args:
      config: with the field.
      path: of the field.
      count: of channels.
      kind: what the data have, for the message.
      own: what stands for the data's own.
    """
    given = get(config, path)
    if isinstance(given, tuple) and len(given) != count:
        raise InputError(
            f"{path} has {len(given)} components, but {config.data.dataset} has {kind}; give one for each, or {own} "
            "for the data's own"
        )


def _check_vectors(config: ml_collections.ConfigDict) -> None:
    """Checks that what a config says suits vectors."""
    if config.data.augmentation:
        raise InputError(
            f"data.augmentation is {config.data.augmentation}, but {config.data.dataset} holds vectors, which are "
            "not transformed; set it to 0"
        )
    if not MODELS[config.model.name].takes_vectors:
        able = [name for name in MODELS if MODELS[name].takes_vectors]
        raise InputError(
            f"model.name is {config.model.name!r}, but {config.data.dataset} holds vectors; choose model.name "
            f"{' or '.join(map(repr, able))}"
        )


def fill_in_conditions(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> None:
    """Fills in the channels and units of the images that condition the examples.

    Raises:
      InputError: the config has others than the data, or the network cannot be shown them.
    """
    data, shape = config.data, dataset.train.condition_shape
    channels = shape[2] if shape else 0
    if data.condition_channels not in (0, channels):
        raise InputError(
            f"data.condition_channels is {data.condition_channels}, but {data.dataset} has {channels or 'none'}; set "
            "it to 0"
        )
    data.condition_channels = channels
    if not channels:
        return
    if not MODELS[config.model.name].takes_conditions():
        able = [name for name in MODELS if MODELS[name].takes_conditions()]
        raise InputError(
            f"model.name is {config.model.name!r}, but {data.dataset} has images that condition the examples, which "
            f"this network is not shown; choose one of {', '.join(able)}"
        )
    train = dataset.train

    def read(which: slice) -> np.ndarray:
        images = train.read_conditions(which)
        assert images is not None
        return images

    if read(slice(1)).dtype == np.uint8:
        shift = scale = (127.5,) * channels
    else:
        shift, scale = datasets.channel_scaling(read, len(train))
    data.condition_shift, data.condition_scale = data.condition_shift or shift, data.condition_scale or scale
    for path in ("data.condition_shift", "data.condition_scale"):
        _check_components(config, path, channels, f"conditions of {channels} channels", "()")


def fill_in_labels(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> None:
    """Fills in how many training examples each class has.

    Raises:
      InputError: the data have no labels of the kind that the network is to be shown.
    """
    data, model = config.data, config.model
    labels, held_out = dataset.train.labels, dataset.test.labels
    if model.num_classes:
        if labels.ndim > 1 or not dataset.train.labelled:
            kind = "no labels" if labels.ndim == 1 else f"labels of {labels.shape[1]} real numbers"
            raise InputError(
                f"model.num_classes is {model.num_classes}, but {data.dataset} has {kind}; set it to 0, or choose data "
                "with integers from 0 on as labels"
            )
        highest = int(max(labels.max(), held_out.max(initial=-1)))
        if highest >= model.num_classes:
            raise InputError(
                f"model.num_classes is {model.num_classes}, but {data.dataset} has labels up to {highest}; set it to "
                f"{highest + 1}"
            )
        data.label_counts = tuple(np.bincount(labels[labels >= 0], minlength=model.num_classes).tolist())
    if model.label_size and (labels.ndim == 1 or labels.shape[1] != model.label_size):
        found = "classes" if dataset.train.labelled else "none"
        kind = found if labels.ndim == 1 else f"labels of {labels.shape[1]} numbers"
        raise InputError(
            f"model.label_size is {model.label_size}, but {data.dataset} has {kind}; set it to "
            f"{0 if labels.ndim == 1 else labels.shape[1]}"
        )
