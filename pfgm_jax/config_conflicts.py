"""Fields of a config that contradict each other."""

import math

import ml_collections
import numpy as np

from pfgm_jax.arguments import to_labels
from pfgm_jax.errors import InputError, named_by
from pfgm_jax.methods.base import Method
from pfgm_jax.registry import METHODS, MODELS


def check_fields(config: ml_collections.ConfigDict) -> None:
    """Checks fields whose values are each in range beside one another.

    Raises:
      InputError: two contradict each other.
    """
    data, training = config.data, config.training
    if data.levels and (data.shift or data.scale):
        raise InputError(
            f"data.shift is {tuple(data.shift)} and data.scale is {data.scale}, but they move real numbers, not grey "
            "levels; set them to () and 0"
        )
    if training.small_batch_size > training.batch_size and not training.points_per_device:
        raise InputError(
            f"training.small_batch_size is {training.small_batch_size}, but training.batch_size is "
            f"{training.batch_size}; perturb at most as many points as are drawn"
        )
    if data.crop and training.field_reference == "dataset":
        raise InputError(
            f"data.crop is {data.crop}, with which the patches of a data set are without number, so that none can have "
            "the field of all; set training.field_reference to 'batch', or data.crop to 0"
        )
    for group in ("model", "pfgmpp"):
        low, high = config[group].sigma_min, config[group].sigma_max
        if high <= low:
            raise InputError(
                f"{group}.sigma_max is {high}, not above {group}.sigma_min, which is {low}; give a larger one"
            )


def check_targets(config: ml_collections.ConfigDict, method: Method) -> None:
    """Checks that a method can learn from what a config says.

    Raises:
      InputError: it cannot.
    """
    _check_augmentation(config)
    check_labels(config)
    training = config.training
    with named_by({"reference": "training.field_reference"}):
        method.check_reference(training.field_reference)
    if training.pairs and not method.takes_pairs:
        able = [name for name in METHODS if METHODS[name].takes_pairs]
        raise InputError(
            f"training.pairs is {training.pairs!r}, but {training.sde!r} does not train on pairs; choose "
            f"training.sde {' or '.join(able)}, or set training.pairs to ''"
        )
    if training.pairs and training.field_reference not in ("", "example"):
        raise InputError(
            f"training.field_reference is {training.field_reference!r}, but training.pairs give every example a noise "
            "of its own; set training.field_reference to 'example'"
        )
    if training.pairs and config.data.condition_channels:
        raise InputError(
            f"training.pairs is {training.pairs!r}, which has no conditions, but {config.data.dataset} has images that "
            "condition the examples; choose data without, or set training.pairs to ''"
        )
    _check_dimensions(config, method)


def _check_dimensions(config: ml_collections.ConfigDict, method: Method) -> None:
    """Checks that a method has as many additional dimensions as a config says, and what it learns from has too."""
    training, given = config.training, f"pfgmpp.D is {config.pfgmpp.D:g}"
    if config.pfgmpp.D not in (0, method.kernel_dimensions):
        raise InputError(
            f"{given}, but {training.sde!r} has {method.kernel_dimensions:g}; choose training.sde pfgmpp, or set "
            "pfgmpp.D to 0"
        )
    if training.pairs and not math.isinf(method.kernel_dimensions):
        raise InputError(f"{given}, but training.pairs hold Gaussian noise; set pfgmpp.D to 0 or inf")


def _check_augmentation(config: ml_collections.ConfigDict) -> None:
    """Checks that what is learned, and the network, suit the augmentation."""
    if not config.data.augmentation:
        return
    training, given = config.training, f"data.augmentation is {config.data.augmentation}"
    reference = training.field_reference or METHODS[training.sde].references[0]
    if reference != "example" or training.pairs:
        raise InputError(
            f"{given}, with which each image has a target of its own; set training.field_reference to 'example' and "
            "training.pairs to '', or data.augmentation to 0"
        )
    if not MODELS[config.model.name].takes_augmentation(config.model):
        raise InputError(
            f"{given}, but the network {config.model.name!r}, with these options, is not told of it; choose model.name "
            "ncsnpp with model.conditional=True, or mlp, or set data.augmentation to 0"
        )


def check_labels(config: ml_collections.ConfigDict) -> None:
    """Checks that the network, its samples and their guidance suit one another where labels are concerned.

    Raises:
      InputError: they do not.
    """
    model, sampling = config.model, config.sampling
    if model.num_classes and model.label_size:
        raise InputError(
            f"model.num_classes is {model.num_classes} and model.label_size is {model.label_size}, but labels are "
            "classes or numbers; set one of them to 0"
        )
    learned = bool(model.num_classes or model.label_size)
    if learned and not MODELS[model.name].takes_labels(model):
        field = "num_classes" if model.num_classes else "label_size"
        raise InputError(
            f"model.{field} is {model[field]}, but the network {model.name!r}, with these options, is not shown "
            "labels; set it to 0, or choose model.name ncsnpp with model.conditional=True, ncsnv2 or mlp"
        )
    if sampling.guidance != 1:
        given = f"sampling.guidance is {sampling.guidance}"
        if not learned:
            raise InputError(f"{given}, but the network is not shown labels; set it to 1, or train with labels")
        if not model.label_dropout:
            raise InputError(
                f"{given}, but model.label_dropout is 0, with which the network never learns without labels; set it to "
                "1, or train with model.label_dropout=0.1"
            )
    if config.eval.per_class and not model.num_classes:
        raise InputError("eval.per_class is True, but model.num_classes is 0; set it to False, or train with classes")
    label = sampling.label
    if isinstance(label, list):
        label = tuple(tuple(row) if isinstance(row, list) else row for row in label)
    if label == ():
        return
    if not learned:
        raise InputError(f"sampling.label is {label}, but the network is not shown labels; set it to ()")
    with named_by({"label": "sampling.label"}):
        to_labels(label, model.num_classes, model.label_size, tuple(config.data.label_counts))
    if not model.label_dropout and model.num_classes and np.min(label) < 0:
        raise InputError(
            f"sampling.label is {label}, of which -1 asks for no label, but model.label_dropout is 0, with which the "
            "network never learns without; give a class"
        )


def check_embedding(config: ml_collections.ConfigDict) -> None:
    """Checks that the network is not shown the logarithm of a label that may be 0; the config may lack fields.

    Raises:
      InputError: it would be.
    """
    embedding, training = config.model.get("embedding_type"), config.training
    discrete = not training.get("continuous", True) and METHODS[training.sde].largest_label(config) is not None
    if discrete and embedding in ("fourier", "positional_log"):
        raise InputError(
            f"model.embedding_type is {embedding!r}, but discrete levels have a label of 0, which has no logarithm; "
            "set it to 'positional', or training.continuous to True"
        )
