"""A trained model as one file, to be shared: averaged weights and config as safetensors.

The format is that of https://github.com/huggingface/safetensors: arrays by name, and a few texts. Reading executes
nothing, and other programs read the weights without this one.
"""

import json
import zlib

import flax.traverse_util
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import PyTree

from pfgm_jax import config_files, seals
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.reading import parse_json, reason

ENDING = ".safetensors"
FORMAT = "pfgm_jax"


def is_export(path: Folder) -> bool:
    """Returns whether a path names an exported model rather than the workdir of a run."""
    return path.suffix == ENDING


def write(path: Folder, config: ml_collections.ConfigDict, params: PyTree, step: int) -> None:
    """Writes a model to a file, atomically.

    Args:
      path: of the file.
      config: of the run, filled in.
      params: averaged parameters.
      step: of the checkpoint that they are from.

    Raises:
      InputError: the file's name does not end with .safetensors, or it cannot be written.
    """
    if not is_export(path):
        raise InputError(f"--output is {path}; give a file whose name ends with {ENDING}")
    flat = flax.traverse_util.flatten_dict(params, sep=".")
    tensors = {name: np.ascontiguousarray(array) for name, array in flat.items()}
    text = json.dumps(config_files.to_dict(config))
    about = {"format": FORMAT, "step": str(step), "config": text, "sums": json.dumps(_sums(tensors, step, text))}
    try:
        write_whole(path, safetensors.numpy.save(tensors, about))
    except OSError as error:
        raise InputError(f"--output is {path}, which cannot be written ({error.strerror}); give another") from None


def read(path: Folder) -> tuple[ml_collections.ConfigDict, PyTree, int]:
    """Reads the config, the averaged parameters and the step of an exported model.

    Raises:
      InputError: there is no such file, or it is damaged or of another program.
    """
    cure = "export the model again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); give the path of an exported model") from None
    try:
        tensors, about = safetensors.numpy.load(content), _texts(content)
    except (safetensors.SafetensorError, InputError, ValueError, KeyError, TypeError, MemoryError):
        raise InputError(f"{path} is damaged, or not of the format safetensors; {cure}") from None
    if about.get("format") != FORMAT:
        raise InputError(f"{path} was not exported by pfgm_jax; give the file that python -m pfgm_jax export wrote")
    try:
        saved, sums, step = (parse_json(about[name].encode()) for name in ("config", "sums", "step"))
        whole = sums == _sums(tensors, step, about["config"])
    except (InputError, KeyError, AttributeError):
        whole, saved, step = False, None, 0
    if not whole:
        raise InputError(f"{path} is damaged: its content is not as it was exported; {cure}")
    config = config_files.completed(saved, f"the config in {path}", cure)
    return config, flax.traverse_util.unflatten_dict(tensors, sep="."), step


def _sums(tensors: dict[str, np.ndarray], step: int, config: str) -> dict[str, int]:
    """Computes checksums, of which the format has none of its own."""
    return {**seals.array_sums(tensors), "": zlib.crc32(f"{step} {config}".encode())}


def _texts(content: bytes) -> dict[str, str]:
    """Returns the texts of a file that safetensors has read. They are in its header, JSON that follows its length."""
    length = int.from_bytes(content[:8], "little")
    return parse_json(content[8 : 8 + length]).get("__metadata__", {})
