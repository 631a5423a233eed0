"""Networks by the name they have in `model.name`, made from a config.

Networks know nothing of methods: an image and a scalar condition per image in, an image of `out_channels` out.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import ml_collections
import numpy as np

from pfgm_jax.errors import InputError
from pfgm_jax.methods import METHODS
from pfgm_jax.models.mlp import MLP
from pfgm_jax.models.ncsnpp import NCSNpp
from pfgm_jax.models.ncsnv2 import NCSNv2

MODELS: dict[str, type[nn.Module]] = {"ncsnpp": NCSNpp, "ncsnv2": NCSNv2, "mlp": MLP}

# Score models of the authors' release: their networks are known here, though not the methods. None has extra channels.
SCORE_MODELS = ("vesde", "vpsde", "subvpsde")


def create_model(config: ml_collections.ConfigDict) -> nn.Module:
    """The network of a config, with the output channels that its method asks for.

    Args:
      config: a whole config; `model`, `data.num_channels`, `data.centered` and `training.sde` are read. Fields of
        `model` have the names of the network's attributes.

    Returns:
      A flax module: apply({"params": p}, x [B, H, W, C], cond [B]) -> [B, H, W, out]. With `train=True` it drops out
      and takes rngs={"dropout": key}.

    Raises:
      InputError: there is no network or method of that name, or the number of channels is not filled in.
    """
    model, method = config.model, config.training.sde
    for field, name, known in (("model.name", model.name, MODELS), ("training.sde", method, (*METHODS, *SCORE_MODELS))):
        if name not in known:
            raise InputError(f"{field} is {name!r}; choose one of {', '.join(known)}")
    if config.data.num_channels < 1:
        raise InputError("data.num_channels is 0; set it to the number of channels of the data")
    extra_channels = METHODS[method].extra_channels if method in METHODS else 0
    derived = {
        "out_channels": config.data.num_channels + extra_channels,
        "centered": config.data.centered,
        "dtype": jnp.dtype(model.get("dtype", "float32")),
        "sigmas": _noise_levels(model) if model.get("scale_by_sigma") else (),
    }
    network = MODELS[model.name]
    names = {field.name for field in dataclasses.fields(network)} - {"name", "parent"}
    values = {**{field: model[field] for field in model if field in names}, **derived}
    tuples = {field: tuple(value) if isinstance(value, list) else value for field, value in values.items()}
    return network(**{field: value for field, value in tuples.items() if field in names})


def _noise_levels(model: ml_collections.ConfigDict) -> tuple[float, ...]:
    """From large to small, as the labels of discrete score models count them."""
    return tuple(np.geomspace(model.sigma_max, model.sigma_min, model.num_scales).tolist())
