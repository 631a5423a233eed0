"""Maps tensors of the authors' release to parameters of our networks."""

import dataclasses

import jax
import ml_collections
import numpy as np

from pfgm_jax import build, config_files, models
from pfgm_jax import config as config_lib
from pfgm_jax.errors import InputError

# Names of our layers inside a block and of the release's, in the release's order of creation, which is also the order
# of its moving averages. NIN is the release's name for a dense layer over channels, stored as a transposed Linear.
_LAYERS = {
    "norm": "GroupNorm_0",
    "norm_0": "GroupNorm_0",
    "conv_0": "Conv_0",
    "embed": "Dense_0",
    "norm_1": "GroupNorm_1",
    "conv_1": "Conv_1",
    "skip": "Conv_2",
    "skip_dense": "NIN_0",
    "query": "NIN_0",
    "key": "NIN_1",
    "value": "NIN_2",
    "out": "NIN_3",
    "conv": "Conv_0",
    "fir_conv": "Conv2d_0",
    "fir_bias": "Conv2d_0",
}


# Fields by which networks are shown what those of the release are not.
_SHOWN_HERE_ALONE = ("model.num_classes", "model.label_size", "data.condition_channels", "data.augmentation")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A leaf of our parameters and the corresponding tensor of the release.

    Attributes:
      path: path of the leaf; () for a tensor that the release has but does not use.
      shape: shape of the leaf.
      name: name of the tensor.
      axes: axes of the tensor, in the order of the leaf's axes.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    name: str
    axes: tuple[int, ...]

    @property
    def trainable(self) -> bool:
        return self.path[-1:] != ("frequencies",)

    @property
    def shape_of_theirs(self) -> tuple[int, ...]:
        return tuple(self.shape[i] for i in np.argsort(self.axes))


def network_tensors(config: ml_collections.ConfigDict) -> list[Tensor]:
    """Lists all parameters of a config's network in the order of the release.

    The release numbers its modules in the order in which they are called, which is the same as ours.
    """
    if config.model.name != "ncsnpp":
        raise InputError(f"model.name is {config.model.name!r}; the release has only checkpoints of 'ncsnpp'")
    for path in _SHOWN_HERE_ALONE:
        if value := config_files.flat(config_files.to_dict(config)).get(path):
            raise InputError(f"{path} is {value}, but the networks of the release are not shown that; set it to 0")
    config_lib.validate_network(config)
    model, shape = models.create_model(config), build.image_shape(config)
    called: list[str] = []

    def init(key):
        # For resampling without a convolution, the release also numbers a module, without parameters.
        called.extend(models.init_params(model.clone(resamp_with_conv=True), shape, key))
        return models.init_params(model, shape, key)

    shapes = jax.eval_shape(init, jax.random.key(0))
    leaves = {tuple(k.key for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    layers = list(_LAYERS)

    def position(path: tuple[str, ...]) -> tuple[int, int, bool]:
        return called.index(path[0]), layers.index(path[1]) if path[1] in layers else 0, path[-1].endswith("bias")

    tensors = []
    for path in sorted(leaves, key=position):
        shape, prefix = leaves[path], f"module.all_modules.{called.index(path[0])}."
        tensors.append(_tensor(path, shape, prefix))
        if path[1:] == ("conv_0", "bias") and not config.model.conditional:
            # The release's blocks have a layer for the embedding anyway.
            sizes = (4 * config.model.nf, *shape)
            tensors.append(Tensor((), sizes, f"{prefix}Dense_0.weight", (1, 0)))
            tensors.append(Tensor((), shape, f"{prefix}Dense_0.bias", (0,)))
    return tensors


def _tensor(path: tuple[str, ...], shape: tuple[int, ...], prefix: str) -> Tensor:
    leaf = path[-1]
    theirs = f"{_LAYERS[path[1]]}." if path[1] in _LAYERS else ""
    bias, in_nin = leaf in ("bias", "fir_bias"), theirs.startswith("NIN")
    if in_nin or leaf == "frequencies":
        theirs += "b" if bias else "W"
    else:
        theirs += "bias" if bias else "weight"
    axes = tuple(range(len(shape)))
    if leaf == "kernel" and not in_nin:
        axes = (2, 3, 1, 0) if len(shape) == 4 else (1, 0)
    return Tensor(path, shape, f"{prefix}{theirs}", axes)
