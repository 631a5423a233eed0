"""What is given of each of the samples that a run draws: its label, and the image that conditions it.

As everything of a sample, they depend on the seed and on the number of the sample alone.
"""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Num

from pfgm_jax import arguments, build
from pfgm_jax.context import NO_CONTEXT, Context, is_given
from pfgm_jax.datasets import Split
from pfgm_jax.datasets.split import evenly_spaced
from pfgm_jax.errors import InputError, named_by, shown
from pfgm_jax.keys import Keys, label_keys, sample_keys

# Number of conditions that are hashed, evenly spaced.
HASHED = 4096


def needs_examples(config: ml_collections.ConfigDict) -> bool:
    """Says whether what is given of samples follows from examples, and not from the config alone."""
    return bool(config.data.condition_channels or (config.model.label_size and config.sampling.label == ()))


def hash_of(examples: Split) -> str:
    """Returns the SHA-256 of the labels of examples, and of the conditions of at most `HASHED` of them."""
    some = evenly_spaced(len(examples), HASHED)
    conditions = examples.read_conditions(some)
    parts = (examples.labels.tobytes(), b"" if conditions is None else np.ascontiguousarray(conditions).tobytes())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def labels_of_samples(
    config: ml_collections.ConfigDict, seed: int, n: int, examples: Split | None
) -> np.ndarray | None:
    """Returns the labels of the first n samples, see `of_samples`; None if the model knows none."""
    return np.asarray(_labels(config, seed, 0, n, examples)) if build.takes_labels(config) else None


def of_samples(
    config: ml_collections.ConfigDict,
    seed: int,
    first: int,
    n: int,
    examples: Split | None,
    label: Any = None,
    cond: Any = None,
) -> Context:
    """Returns the context of samples number `first` to `first + n`.

    Args:
      config: whose fields are filled in; `sampling.label` says which labels.
      seed: of the samples.
      first: number of the first.
      n: how many.
      examples: sample k has the condition of example k, and where the config has no label its numbers; from the first
        again where there are fewer. None for none.
      label, cond: in place of these; see `TrainedModel.sample`.

    Raises:
      InputError: what is given is not such that the model can be, or something is missing.
    """
    if build.takes_labels(config) and label is None:
        label = _labels(config, seed, first, n, examples)
    if config.data.condition_channels and cond is None and examples is not None:
        images = conditions(config, examples, np.arange(first, first + n) % len(examples))
        return of_images(config, n, Context(image=images), label, None)
    return of_images(config, n, NO_CONTEXT, label, cond)


def of_images(config: ml_collections.ConfigDict, n: int, context: Context, label: Any, cond: Any) -> Context:
    """Returns the context of n images.

    Args:
      config: whose fields are filled in.
      n: how many.
      context: of each, where neither of the others is given.
      label, cond: see `TrainedModel.sample`.

    Raises:
      InputError: what is given is not such that the model can be, or something is missing.
    """
    context = arguments.to_context(context)
    model, data = config.model, config.data
    if label is not None:
        if not build.takes_labels(config):
            raise InputError(f"label is {shown(label)}, but the model knows no labels; leave it out")
        labels = arguments.to_labels(label, model.num_classes, model.label_size, tuple(data.label_counts))
        single = labels.ndim == (1 if model.label_size else 0)
        context = context._replace(label=np.broadcast_to(labels, (n, *labels.shape)) if single else labels)
        if not model.label_dropout and not is_given(labels).all():
            raise InputError(f"label is {shown(label)}, but the model never learned without labels; give one for each")
    elif build.takes_labels(config) and context.label is not None:
        arguments.check_label_rows(context.label, model.num_classes, model.label_size, "the context has")
    elif build.takes_labels(config) and not model.label_dropout and context.label is None:
        raise InputError("the model never learned without labels; give the label of each image, as label=3")
    scaling = build.create_condition_scaling(config)
    if cond is not None:
        if scaling is None:
            raise InputError("the model is not conditioned on images; leave out cond")
        images = arguments.to_conditions(cond, build.image_shape(config), data.condition_channels)
        context = context._replace(image=np.asarray(scaling.to_network(images)))
    elif scaling is not None and context.image is None:
        raise InputError(f"the model is conditioned on images of {data.condition_channels} channels; give them as cond")
    return context


def of_examples(
    config: ml_collections.ConfigDict, images: np.ndarray | Split, index: np.ndarray, label: Any = None
) -> Context:
    """Returns the context of examples: their labels and conditions, where they have some and the model is shown them.

    Args:
      config: whose fields are filled in.
      images: examples, or images of which nothing else is known.
      index: numbers of those that are meant.
      label: of each, in place of their own; None for these.

    Raises:
      InputError: the examples lack what the model is shown.
    """
    context = NO_CONTEXT
    if isinstance(images, Split):
        own = images.labels[index] if images.labelled else None
        context = Context(label=own, image=conditions(config, images, index))
    return of_images(config, len(index), context, label, None)


def count(config: ml_collections.ConfigDict, label: Any, cond: Any) -> int:
    """Returns of how many samples something is given.

    Raises:
      InputError: nothing is given of single ones.
    """
    if cond is not None and (images := arguments.to_array("the conditions", cond)).ndim:
        return len(images)
    if label is not None:
        model = config.model
        labels = arguments.to_labels(label, model.num_classes, model.label_size)
        if labels.ndim == (2 if model.label_size else 1):
            return len(labels)
    raise InputError("n is None, and nothing is given of single samples; give the number of samples")


def check_examples(config: ml_collections.ConfigDict, examples: Split) -> None:
    """Checks that examples have the conditions and labels that a model is shown.

    Raises:
      InputError: they have none, or others.
    """
    conditions(config, examples, np.arange(1))
    model = config.model
    if build.takes_labels(config) and (examples.labelled or model.label_size):
        arguments.check_label_rows(examples.labels, model.num_classes, model.label_size, "the examples have")


def conditions(config: ml_collections.ConfigDict, examples: Split, numbers: np.ndarray) -> np.ndarray | None:
    """Returns the conditions of examples in the network's units; None if the network is shown none.

    Raises:
      InputError: the examples have no conditions, or others than the model's.
    """
    scaling = build.create_condition_scaling(config)
    if scaling is None:
        return None
    wanted = (*build.image_shape(config)[:2], config.data.condition_channels)
    if examples.condition_shape != wanted:
        raise InputError(
            f"the model is conditioned on images of {wanted}, and the examples have "
            f"{examples.condition_shape or 'none'}; choose data of which the conditions are so"
        )
    return np.asarray(scaling.to_network(jnp.asarray(examples.read_conditions(numbers))))


def _labels(
    config: ml_collections.ConfigDict, seed: int, first: int, n: int, examples: Split | None
) -> Num[np.ndarray, "n ..."]:
    """Returns the labels of samples as `sampling.label` says, by default as often as the data have them."""
    model, asked = config.model, config.sampling.label
    numbers = np.arange(first, first + n)
    if asked != ():
        with named_by({"label": "sampling.label"}):
            label = arguments.to_labels(asked, model.num_classes, model.label_size, tuple(config.data.label_counts))
        each = label.reshape(-1, model.label_size) if model.label_size else label.reshape(-1)
        return each[numbers % len(each)]
    if model.label_size:
        if examples is None:
            raise InputError("the labels of the model are numbers; give those of the samples, as label=(0.5, 1.0)")
        return examples.labels[numbers % len(examples)]
    ends = np.cumsum(config.data.label_counts)
    keys = label_keys(sample_keys(Keys.from_seed(seed).samples, n, first))
    drawn = np.asarray(jax.vmap(lambda key: jax.random.randint(key, (), 0, int(ends[-1])))(keys))
    return np.searchsorted(ends, drawn, side="right").astype(np.int32)
