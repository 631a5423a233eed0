"""Loads weights of the Inception network: PyTorch's copy of those that TensorFlow published on 2015-12-05."""

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from pfgm_jax.downloads import Published, obtain
from pfgm_jax.metrics.inception import SIDE, Inception
from pfgm_jax.metrics.torch_weights import Tensors, read_weights

log = logging.getLogger("pfgm_jax")

PUBLISHED = Published(
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
_AGAIN = f"download them again from {PUBLISHED.url}"


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
    tensors, digest = read_weights(path, "Inception", PUBLISHED.name, _AGAIN)
    if digest != PUBLISHED.sha256:
        log.warning("The Inception weights %s are not the published ones: metrics do not compare with others'", path)
    return convert_weights(tensors, path), digest


def convert_weights(tensors: Any, path: Path) -> PyTree:
    """Converts tensors of PyTorch's versions of the network to parameters of `Inception`.

    Args:
      tensors: NumPy arrays by name.
      path: file that they came from, for messages.

    Raises:
      InputError: a tensor is missing, has another shape, or is not finite.
    """
    found = Tensors(tensors, path, "Inception", f"those of pytorch-fid, {PUBLISHED.name}", _AGAIN)

    def convert(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        return {
            name: found.convolution(f"{prefix}{name}.conv", f"{prefix}{name}.bn", part["kernel"].shape)
            if "kernel" in part
            else convert(part, f"{prefix}{name}.")
            for name, part in tree.items()
        }

    blocks = parameter_shapes()
    classes = found.array("fc.weight", blocks.pop("fc")["kernel"].shape[::-1])
    bias = found.array("fc.bias", blocks.pop("fc_bias").shape)
    last = {"fc": {"kernel": jnp.asarray(classes.T, jnp.float32)}, "fc_bias": jnp.asarray(bias, jnp.float32)}
    return {**convert(blocks), **last}


def parameter_shapes() -> dict[str, Any]:
    """Returns the shapes of the parameters of `Inception`, as a tree of `jax.ShapeDtypeStruct`."""
    images = jnp.zeros((1, SIDE, SIDE, 3))
    return jax.eval_shape(lambda key: Inception().init(key, images)["params"], jax.random.key(0))
