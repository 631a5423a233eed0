"""Creates networks from a config.

Networks do not depend on methods. They take images, a noise level or label for each image, and a context. They return
images with `out_channels` channels.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import PyTree

from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.errors import FieldError, InputError
from pfgm_jax.registry import METHODS, MODELS

__all__ = ["check_images", "create_model", "init_params", "shapes_of_params"]


def create_model(config: ml_collections.ConfigDict) -> Any:
    """Creates the network of a config, with the output channels that its method needs.

    Args:
      config: a complete config; `model`, `data.num_channels`, `data.centered` and `training.sde` are read. Fields of
        `model` have the names of the network's attributes.

    Returns:
      A flax module: apply({"params": p}, x [B, H, W, C], level [B], context) -> [B, H, W, out]. With `train=True` it
      applies dropout and takes rngs={"dropout": key}.

    Raises:
      InputError: there is no network or method of that name, or the number of channels is not filled in.
    """
    model, method = config.model, METHODS[config.training.sde]
    network = MODELS[model.name]
    if config.data.num_channels < 1:
        raise InputError("data.num_channels is 0; set it to the number of channels of the data")
    derived = {
        "out_channels": config.data.num_channels + method.extra_channels,
        "centered": config.data.centered,
        "dtype": jnp.dtype(model.get("dtype", "float32")),
        "sigmas": _noise_levels(model) if model.get("scale_by_sigma") else (),
        "largest_label": method.largest_label(config),
        "unit_points": method.takes_unit_points(config),
        "told_of_augmentation": config.data.get("augmentation", 0.0) > 0,
        "condition_channels": config.data.get("condition_channels", 0),
    }
    names = network.attributes()
    values = {field: model[field] for field in model if field in names}
    values |= {field: value for field, value in derived.items() if field in network.__dataclass_fields__}
    return network(**{field: tuple(value) if isinstance(value, list) else value for field, value in values.items()})


def init_params(network: nn.Module, shape: tuple[int, int, int], key: jax.Array) -> PyTree:
    """Draws random parameters of a network, for images [H, W, C] of this shape."""
    return network.init(key, jnp.zeros((1, *shape)), jnp.ones(1), NO_CONTEXT)["params"]


@functools.lru_cache(maxsize=16)
def shapes_of_params(network: nn.Module, shape: tuple[int, int, int]) -> PyTree:
    """Returns `jax.ShapeDtypeStruct`s of what `init_params` draws; a network is traced once."""
    return jax.eval_shape(functools.partial(init_params, network, shape), jax.random.key(0))


def check_images(network: nn.Module, height: int, width: int, channels: int) -> None:
    """Checks that a network accepts images of this size.

    Raises:
      FieldError: it does not; the field is one of the network's or of the data's.
    """
    model: Any = network
    if channels < 1:
        raise FieldError("data.num_channels", channels, "images have at least 1 channel")
    model.check_images(height, width)


def _noise_levels(model: ml_collections.ConfigDict) -> tuple[float, ...]:
    """Computes the noise levels from large to small, in the order of the labels of discrete score models."""
    return tuple(np.geomspace(model.sigma_max, model.sigma_min, model.num_scales).tolist())
