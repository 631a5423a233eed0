"""Reads checkpoints of the authors' release."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from pfgm_jax.convert.tensors import Tensor
from pfgm_jax.errors import InputError
from pfgm_jax.torch_file import read_torch_file


@dataclasses.dataclass(frozen=True)
class ReleaseCheckpoint:
    """A checkpoint of the release.

    Attributes:
      path: path of its file.
      tensors: the tensors that its network should have.
      weights, averages: values and moving averages of the tensors, by name.
      moments: Adam's moments, by the tensor's index in `tensors`.
      step: number of optimiser steps taken.
    """

    path: Path
    tensors: list[Tensor]
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
        """Returns a fresh state of our optimiser with the checkpoint's moments and step."""
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
                return np.zeros(tensor.shape_of_theirs, np.float32)  # it never had a gradient
            return self.moments.get(i, {}).get(name)

        return self._tree(of, f"{name} of ")

    def _tree(self, array_of: Callable[[int, Tensor], Any], what: str = "") -> PyTree:
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


def read_checkpoint(path: Path, tensors: list[Tensor], sigmas: tuple[float, ...]) -> ReleaseCheckpoint:
    """Reads a checkpoint of the release.

    Args:
      path: path of the file.
      tensors: tensors of the config's network.
      sigmas: noise levels that the config's network divides by.

    Raises:
      InputError: the file cannot be read safely, or is of another network.
    """
    content = read_torch_file(path)
    weights, shadow, step, moments = _parts(path, content)
    # A network that was not wrapped for several GPUs has no prefix.
    weights = {f"module.{name.removeprefix('module.')}": tensor for name, tensor in weights.items()}
    theirs = weights.pop("module.sigmas", None)
    if sigmas and theirs is not None and not (np.shape(theirs) == np.shape(sigmas) and np.allclose(theirs, sigmas)):
        raise InputError(
            f"{path} has {np.size(theirs)} noise levels from {np.max(theirs):g} to {np.min(theirs):g}, and the config "
            f"{len(sigmas)} from {sigmas[0]:g} to {sigmas[-1]:g}; set model.sigma_max, model.sigma_min and "
            "model.num_scales to those of the checkpoint"
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
            f"{path} has averages of {len(shadow)} tensors for {len(trainable)} trained ones; copy it again"
        )
    averages = {**weights, **{tensor.name: array for tensor, array in zip(trainable, shadow, strict=True)}}
    return ReleaseCheckpoint(path, tensors, weights, averages, moments, step)


def _parts(path: Path, content: Any) -> tuple[dict[str, Any], list[Any], int, dict[int, dict[str, Any]]]:
    """Returns weights, moving averages, step and moments, after checking the checkpoint's structure."""

    def part(value: Any, kind: type | tuple[type, ...], *names: str) -> Any:
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(
                f"{path} is not a checkpoint of the release, which has model, ema, optimizer and step: its "
                f"{' '.join(names)} is missing or of another kind; give a checkpoint of the release"
            )
        return value

    weights, shadow = part(content, dict, "model"), part(content, list, "ema", "shadow_params")
    step = int(part(content, (int, np.integer), "step"))
    moments = part(content, dict, "optimizer", "state") if content.get("optimizer") else {}
    fits = 0 <= step < 2**31 and all(isinstance(name, str) for name in weights)
    if not fits or not all(isinstance(i, int) and isinstance(m, dict) for i, m in moments.items()):
        raise InputError(
            f"{path} is not a checkpoint of the release: a name or the step, {step}, is invalid; give such a checkpoint"
        )
    return weights, shadow, step, moments
