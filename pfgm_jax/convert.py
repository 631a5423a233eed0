"""Checkpoints of the authors' PyTorch release, as parameters of our networks.

    python -m pfgm_jax.convert FILE.pth --config configs/cifar10.py --workdir DIR

writes a workdir that every mode accepts, training included: the optimiser's moments are converted too. Nothing in the
file is executed, and torch is not needed.
"""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import flags
from jaxtyping import PyTree
from ml_collections import config_flags

from pfgm_jax import build, cli, models
from pfgm_jax import config as config_lib
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import InputError
from pfgm_jax.state import TrainState, create_optimizer, create_state
from pfgm_jax.torch_file import read_torch_file

log = logging.getLogger("pfgm_jax")

# Our layers inside a block and theirs, in the order in which theirs were made, which is that of their moving averages.
# NIN is their name for a dense layer over channels, stored as the transpose of a Linear.
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


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A leaf of our parameters and the tensor of theirs that it is.

    Attributes:
      path: of the leaf; () for a tensor that theirs has and does not use.
      shape: of the leaf.
      name: of the tensor.
      axes: of the tensor, in the order of the leaf's.
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


def convert_checkpoint(path: str | Path, config: ml_collections.ConfigDict) -> tuple[PyTree, PyTree, int]:
    """Parameters of a checkpoint of the authors' release.

    Args:
      path: of a .pth file.
      config: of the network that it was trained with, its image size and channels filled in.

    Returns:
      Parameters, their moving average, and the number of optimiser steps taken (the file of the release's step k holds
      k + 1).

    Raises:
      InputError: the file cannot be read safely, or is of another network.
    """
    checkpoint = _read(Path(path), _tensors(config), models.create_model(config).sigmas)
    return checkpoint.params, checkpoint.ema_params, checkpoint.step


def convert_to_workdir(path: Path, config: ml_collections.ConfigDict, workdir: Path) -> TrainState:
    """Writes a workdir from a checkpoint of the authors' release.

    Args:
      path: of a .pth file.
      config: as for training; what it leaves to the data is looked up there.
      workdir: a new folder.

    Returns:
      The state that it holds.

    Raises:
      InputError: the config, the file or the workdir is not fit; nothing is written.
    """
    if workdir.is_file() or (workdir.is_dir() and any(workdir.iterdir())):
        raise InputError(f"--workdir is {workdir}, which is a file or not empty; name a new folder")
    config_lib.validate(config)
    if not config_lib.is_filled_in(config):
        config = config_lib.fill_in(config, build.load_dataset(config))
    tensors = _tensors(config)
    checkpoint = _read(path, tensors, models.create_model(config).sigmas)
    state = create_state(checkpoint.params, create_optimizer(config.optim))
    state = dataclasses.replace(
        state,
        step=jnp.asarray(checkpoint.step, jnp.int32),
        ema_params=checkpoint.ema_params,
        opt_state=checkpoint.optimizer_state(state.opt_state),
    )
    # Whole or absent: a workdir without its config would be nobody's.
    partial = workdir.with_name(f"{workdir.name}.partial")
    config_lib.make_folder(partial)
    with Checkpoints(partial / "checkpoints") as checkpoints:
        checkpoints.save(state, config_lib.to_dict(config))
    config_lib.write(config, partial)
    partial.rename(workdir)
    log.info("%d tensors of step %d in %s", len(tensors), checkpoint.step, workdir)
    return state


def _tensors(config: ml_collections.ConfigDict) -> list[_Tensor]:
    """All parameters of a config's network, in the order of theirs.

    They number their modules in the order in which they are called, which is the order of ours too.
    """
    if config.model.name != "ncsnpp":
        raise InputError(f"model.name is {config.model.name!r}; the release has only checkpoints of 'ncsnpp'")
    config_lib.validate_network(config)
    model = models.create_model(config)
    called: list[str] = []

    def init(key):
        # Where the size changes without a convolution, theirs number a module that has no parameters.
        called.extend(build.init_params(model.clone(resamp_with_conv=True), config, key))
        return build.init_params(model, config, key)

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
            # Their blocks can take an embedding all the same.
            sizes = (4 * config.model.nf, *shape)
            tensors.append(_Tensor((), sizes, f"{prefix}Dense_0.weight", (1, 0)))
            tensors.append(_Tensor((), shape, f"{prefix}Dense_0.bias", (0,)))
    return tensors


def _tensor(path: tuple[str, ...], shape: tuple[int, ...], prefix: str) -> _Tensor:
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
    return _Tensor(path, shape, f"{prefix}{theirs}", axes)


@dataclasses.dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint of theirs.

    Attributes:
      path: of its file.
      tensors: those that its network should have.
      weights, averages: of the tensors, by name.
      moments: Adam's, by the tensor's place among `tensors`.
      step: optimiser steps taken.
    """

    path: Path
    tensors: list[_Tensor]
    weights: dict[str, Any]
    averages: dict[str, Any]
    moments: dict[int, dict[str, Any]]
    step: int

    @property
    def params(self) -> PyTree:
        return self._tree(lambda _, tensor: self.weights[tensor.name])

    @property
    def ema_params(self) -> PyTree:
        return self._tree(lambda _, tensor: self.averages[tensor.name], "average of ")

    def optimizer_state(self, fresh: PyTree) -> PyTree:
        """What becomes of a fresh state of our optimiser."""
        if not self.moments:
            return fresh
        count = jnp.asarray(self.step, jnp.int32)

        def replace(part):
            if isinstance(part, optax.ScaleByAdamState):
                return part._replace(count=count, mu=self._moment("exp_avg"), nu=self._moment("exp_avg_sq"))
            return part._replace(count=count) if isinstance(part, optax.ScaleByScheduleState) else part

        known = (optax.ScaleByAdamState, optax.ScaleByScheduleState)
        return jax.tree.map(replace, fresh, is_leaf=lambda part: isinstance(part, known))

    def _moment(self, name: str) -> PyTree:
        def of(i, tensor):
            if i not in self.moments and (not tensor.trainable or not tensor.path):
                return np.zeros(tensor.shape_of_theirs, np.float32)  # it has had no gradient
            return self.moments.get(i, {}).get(name)

        return self._tree(of, f"{name} of ")

    def _tree(self, array_of: Callable[[int, _Tensor], Any], what: str = "") -> PyTree:
        tree: dict[str, Any] = {}
        for i, tensor in enumerate(self.tensors):
            array = array_of(i, tensor)
            shape = array.shape if isinstance(array, np.ndarray) else "none"
            if shape != tensor.shape_of_theirs:
                raise InputError(
                    f"{self.path} is of another network than the config's: {what}{tensor.name} has shape {shape} and "
                    f"not {tensor.shape_of_theirs}; choose the config that it was trained with"
                )
            if tensor.path:
                node = tree
                for name in tensor.path[:-1]:
                    node = node.setdefault(name, {})
                node[tensor.path[-1]] = jnp.asarray(array.transpose(tensor.axes), jnp.float32)
        return tree


def _read(path: Path, tensors: list[_Tensor], sigmas: tuple[float, ...]) -> _Checkpoint:
    content = read_torch_file(path)
    weights, shadow, step, moments = _parts(path, content)
    # A network that was not wrapped for several GPUs has no prefix.
    weights = {f"module.{name.removeprefix('module.')}": tensor for name, tensor in weights.items()}
    theirs = weights.pop("module.sigmas", None)
    if sigmas and theirs is not None and not (np.shape(theirs) == np.shape(sigmas) and np.allclose(theirs, sigmas)):
        raise InputError(
            f"{path} has {np.size(theirs)} noise levels from {np.max(theirs):g} to {np.min(theirs):g}, and the config "
            f"{len(sigmas)} from {sigmas[0]:g} to {sigmas[-1]:g}; set model.sigma_max, model.sigma_min and "
            "model.num_scales to its"
        )
    expected = {tensor.name for tensor in tensors}
    for problem, names in (("lacks", expected - weights.keys()), ("has also", weights.keys() - expected)):
        if names:
            some = ", ".join(sorted(names)[:3])[:200] + (" ..." if len(names) > 3 else "")
            raise InputError(
                f"{path} is of another network than the config's: it {problem} {some} ({len(names)} tensors); choose "
                "the config that it was trained with"
            )
    trainable = [tensor for tensor in tensors if tensor.trainable]
    if len(shadow) != len(trainable):
        raise InputError(
            f"{path} has averages of {len(shadow)} tensors for {len(trainable)} trained ones; copy it anew"
        )
    averages = {**weights, **{tensor.name: array for tensor, array in zip(trainable, shadow, strict=True)}}
    return _Checkpoint(path, tensors, weights, averages, moments, step)


def _parts(path: Path, content: Any) -> tuple[dict[str, Any], list[Any], int, dict[int, dict[str, Any]]]:
    """Weights, moving averages, step and moments of a checkpoint that is made of what it should be made of."""

    def part(value: Any, kind: type | tuple[type, ...], *names: str) -> Any:
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(
                f"{path} is not a checkpoint of the release, which has model, ema, optimizer and step: its "
                f"{' '.join(names)} is missing or of another kind; give one"
            )
        return value

    weights, shadow = part(content, dict, "model"), part(content, list, "ema", "shadow_params")
    step = int(part(content, (int, np.integer), "step"))
    moments = part(content, dict, "optimizer", "state") if content.get("optimizer") else {}
    fits = 0 <= step < 2**31 and all(isinstance(name, str) for name in weights)
    if not fits or not all(isinstance(i, int) and isinstance(m, dict) for i, m in moments.items()):
        raise InputError(f"{path} is not a checkpoint of the release: a name or the step, {step}, cannot be; give one")
    return weights, shadow, step, moments


def _main(operands: list[str]) -> None:
    convert_to_workdir(Path(operands[0]), flags.FLAGS.config, Path(flags.FLAGS.workdir))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A new folder, which receives the run.", required=True)
    config_flags.DEFINE_config_file("config", None, "The config of its network; --config.GROUP.FIELD=VALUE overrides.")
    flags.mark_flag_as_required("config")
    cli.run(_main, "python -m pfgm_jax.convert", ("the checkpoint file",))
