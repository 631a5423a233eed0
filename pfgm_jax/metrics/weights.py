"""Loads weights of the Inception network: PyTorch's copy of those that TensorFlow published on 2015-12-05."""

import logging
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from pfgm_jax.downloads import Published, obtain, sha256
from pfgm_jax.errors import InputError
from pfgm_jax.metrics.inception import SIDE, Inception
from pfgm_jax.torch_file import read_torch_file

log = logging.getLogger("pfgm_jax")

PUBLISHED = Published(
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
# Added to the variance in batch normalization.
_EPSILON = 1e-3


def obtain_weights(directory: Path) -> Path:
    """Returns the published file, which is downloaded at the first call unless it is in `directory`/downloads/manual.

    Args:
      directory: folder of data sets and downloads.

    Raises:
      InputError: the download failed; the message says where to get the file and where to put it.
    """
    return obtain(PUBLISHED, directory / "downloads")


def load_weights(path: Path) -> tuple[PyTree, str]:
    """Loads parameters of `Inception` from a file of pytorch-fid or torch-fidelity, without executing code in it.

    Args:
      path: path of a file with the state of the network. If its name ends in a hash, like that of the published file,
        its content must match it.

    Returns:
      The parameters, with each batch normalization folded into the convolution before it; the file's SHA-256.

    Raises:
      InputError: the file is missing, damaged, of another network, or has values that are not finite.
    """
    if not path.is_file():
        raise InputError(f"the Inception weights {path} do not exist; give the path of a file such as {PUBLISHED.name}")
    digest = sha256(path)
    named = re.search(r"-([0-9a-f]{8,64})\.\w+$", path.name)
    if named and not digest.startswith(named[1]):
        raise InputError(
            f"the Inception weights {path} are damaged: their SHA-256 begins with {digest[:8]} and not, as the file's "
            f"name says, with {named[1]}; download them again from {PUBLISHED.url}"
        )
    if digest != PUBLISHED.sha256:
        log.warning("The Inception weights %s are not the published ones: metrics do not compare with others'", path)
    return convert_weights(read_torch_file(path), path), digest


def convert_weights(tensors: Any, path: Path) -> PyTree:
    """Converts tensors of PyTorch's versions of the network to parameters of `Inception`.

    Args:
      tensors: NumPy arrays by name.
      path: file that they came from, for messages.

    Raises:
      InputError: a tensor is missing, has another shape, or is not finite.
    """

    def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = tensors.get(name) if isinstance(tensors, dict) else None
        if not isinstance(array, np.ndarray) or array.shape != shape:
            found = f"has shape {array.shape} and not {shape}" if isinstance(array, np.ndarray) else "is missing"
            raise InputError(
                f"the Inception weights {path} are of another network: {name} {found}; give those of pytorch-fid, "
                f"{PUBLISHED.name}"
            )
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise InputError(f"the Inception weights {path} are damaged: {name} is not finite; download them again")
        return array

    def convolution(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
        height, width, inputs, outputs = shape
        kernel = tensor(f"{name}.conv.weight", (outputs, inputs, height, width))
        scale, shift, mean, variance = (
            tensor(f"{name}.bn.{part}", (outputs,)) for part in ("weight", "bias", "running_mean", "running_var")
        )
        if variance.min() < 0:
            raise InputError(f"the Inception weights {path} are damaged: {name}.bn.running_var is negative")
        scale /= np.sqrt(variance + _EPSILON)
        kernel = (kernel * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        return {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(shift - mean * scale, jnp.float32)}

    def convert(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        return {
            name: convolution(prefix + name, part["kernel"].shape)
            if "kernel" in part
            else convert(part, f"{prefix}{name}.")
            for name, part in tree.items()
        }

    blocks = parameter_shapes()
    classes = tensor("fc.weight", blocks.pop("fc")["kernel"].shape[::-1])
    bias = tensor("fc.bias", blocks.pop("fc_bias").shape)
    last = {"fc": {"kernel": jnp.asarray(classes.T, jnp.float32)}, "fc_bias": jnp.asarray(bias, jnp.float32)}
    return {**convert(blocks), **last}


def parameter_shapes() -> dict[str, Any]:
    """Returns the shapes of the parameters of `Inception`, as a tree of `jax.ShapeDtypeStruct`."""
    images = jnp.zeros((1, SIDE, SIDE, 3))
    return jax.eval_shape(lambda key: Inception().init(key, images)["params"], jax.random.key(0))
