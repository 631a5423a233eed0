"""Converts tensors of PyTorch's networks to parameters, each checked, with batch normalization folded into kernels."""

import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax.downloads import sha256
from pfgm_jax.errors import InputError
from pfgm_jax.torch_file import read_torch_file

# Added to the variance in batch normalization, by Inception and by EfficientNet.
_EPSILON = 1e-3


def read_weights(path: Path, network: str, example: str, otherwise: str) -> tuple[Any, str]:
    """Reads a file of weights, without executing code in it.

    Args:
      path: path of the file. If its name ends in a hash, as that of a published file does, its content must match it.
      network: name of the network, for messages.
      example: name of a file to give.
      otherwise: what to do if the file is damaged.

    Returns:
      What the file holds, and its SHA-256.

    Raises:
      InputError: the file is missing, damaged, or not one that torch.save wrote.
    """
    if not path.is_file():
        raise InputError(f"the {network} weights {path} do not exist; give the path of a file such as {example}")
    digest = sha256(path)
    named = re.search(r"-([0-9a-f]{8,64})\.\w+$", path.name)
    if named and not digest.startswith(named[1]):
        raise InputError(
            f"the {network} weights {path} are damaged: their SHA-256 begins with {digest[:8]} and not, as the file's "
            f"name says, with {named[1]}; {otherwise}"
        )
    return read_torch_file(path), digest


class Tensors:
    """The tensors of a network by their names in a file."""

    def __init__(self, tensors: Any, path: Path, network: str, wanted: str, otherwise: str):
        """Wraps what a file holds.

        Args:
          tensors: NumPy arrays by name, if the file is what it should be.
          path: file that they came from, for messages.
          network: name of the network, for messages.
          wanted: what to give instead of a file of another network.
          otherwise: what to do if the file is damaged.
        """
        self._tensors, self._file = tensors, f"the {network} weights {path}"
        self._wanted, self._otherwise = wanted, otherwise

    def array(self, name: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        """Returns a tensor in float64.

        Raises:
          InputError: it is missing, has another shape, or is not finite.
        """
        found = self._tensors.get(name) if isinstance(self._tensors, dict) else None
        if not isinstance(found, np.ndarray) or found.shape != shape:
            trouble = f"has shape {found.shape} and not {shape}" if isinstance(found, np.ndarray) else "is missing"
            raise InputError(f"{self._file} are of another network: {name} {trouble}; give {self._wanted}")
        found = found.astype(np.float64)
        if not np.isfinite(found).all():
            raise InputError(f"{self._file} are damaged: {name} is not finite; {self._otherwise}")
        return found

    def convolution(self, convolution: str, normalization: str, shape: tuple[int, ...]) -> dict[str, Array]:
        """Returns the `kernel` and `bias` of a convolution that is followed by batch normalization.

        Args:
          convolution, normalization: names of the layers.
          shape: of the kernel: height, width, inputs, outputs.

        Raises:
          InputError: a tensor is missing, has another shape, or has values that it cannot have.
        """
        height, width, inputs, outputs = shape
        kernel = self.array(f"{convolution}.weight", (outputs, inputs, height, width))
        names = ("weight", "bias", "running_mean", "running_var")
        scale, shift, mean, variance = (self.array(f"{normalization}.{part}", (outputs,)) for part in names)
        if variance.min() < 0:
            raise InputError(f"{self._file} are damaged: {normalization}.running_var is negative; {self._otherwise}")
        scale /= np.sqrt(variance + _EPSILON)
        kernel = (kernel * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        return {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(shift - mean * scale, jnp.float32)}
