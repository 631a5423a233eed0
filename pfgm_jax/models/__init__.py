"""Networks by the name they have in `model.name`, made from a config.

Networks know nothing of methods: an image and a scalar condition per image in, an image of `out_channels` out.
"""

from collections.abc import Callable

import flax.linen as nn
import ml_collections

from pfgm_jax.methods import METHODS
from pfgm_jax.models.mlp import MLP
from pfgm_jax.models.ncsnpp import NCSNpp


def _ncsnpp(model: ml_collections.ConfigDict, out_channels: int) -> nn.Module:
    return NCSNpp(
        out_channels=out_channels,
        nf=model.nf,
        ch_mult=tuple(model.ch_mult),
        num_res_blocks=model.num_res_blocks,
        attn_resolutions=tuple(model.attn_resolutions),
        dropout=model.dropout,
        conditional=model.conditional,
        skip_rescale=model.skip_rescale,
        init_scale=model.init_scale,
    )


def _mlp(model: ml_collections.ConfigDict, out_channels: int) -> nn.Module:
    return MLP(out_channels=out_channels, nf=model.nf, num_res_blocks=model.num_res_blocks)


MODELS: dict[str, Callable[[ml_collections.ConfigDict, int], nn.Module]] = {"ncsnpp": _ncsnpp, "mlp": _mlp}


def create_model(config: ml_collections.ConfigDict) -> nn.Module:
    """The network of a config, with the output channels that its method asks for.

    Args:
      config: a whole config; `model`, `data.num_channels` and `training.sde` are read.

    Returns:
      A flax module: apply({"params": p}, x [B, H, W, C], cond [B]) -> [B, H, W, out]. With `train=True` it drops out
      and takes rngs={"dropout": key}.

    Raises:
      ValueError: there is no network or method of that name, or the number of channels is not filled in.
    """
    for field, name, known in (
        ("model.name", config.model.name, MODELS),
        ("training.sde", config.training.sde, METHODS),
    ):
        if name not in known:
            raise ValueError(f"{field} is {name!r}; choose one of {', '.join(known)}")
    if config.data.num_channels < 1:
        raise ValueError("data.num_channels is 0; set it to the number of channels of the data")
    out_channels = config.data.num_channels + METHODS[config.training.sde].extra_channels
    return MODELS[config.model.name](config.model, out_channels)
