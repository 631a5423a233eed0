"""Pairs of noise and samples of a trained model, on which a flow with straighter paths is trained.

This is the reflow of rectified flow (Liu, Gong & Liu 2022, arXiv:2209.03003, section 2.2).
"""

import io
import json

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.datasets.scaling import Scaling
from pfgm_jax.datasets.split import Dataset, Split, hold_out
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, to_path, write_whole
from pfgm_jax.reading import read_arrays

FILE, FIELD = "pairs.npz", "training.pairs"
ARRAYS, LABELS = ("noise", "data"), "label"


def as_stored(scaling: Scaling, shape: tuple[int, int, int]) -> Scaling:
    """Returns the scaling of pairs of images of a shape, which are in network units already, noise before data."""
    return Scaling(levels=0, low=scaling.low, dequantize=False, flip=False, shift=(0.0,) * 2 * shape[2], scale=1.0)


def write(
    folder: Folder,
    noise: Float[np.ndarray, "n H W C"],
    data: Float[np.ndarray, "n H W C"],
    scaling: Scaling,
    labels: Num[np.ndarray, "n ..."] | None = None,
) -> Folder:
    """Writes pairs.npz.

    Args:
      folder: for the file.
      noise: standard normal.
      data: in network units.
      scaling: of the data.
      labels: of each; None for none.

    Returns:
      The file.
    """
    buffer = io.BytesIO()
    given = {} if labels is None else {LABELS: labels}
    np.savez(buffer, allow_pickle=False, noise=noise, data=data, scaling=np.array(_units(scaling)), **given)
    write_whole(folder / FILE, buffer.getvalue())
    return folder / FILE


def load(name: str, scaling: Scaling, shape: tuple[int, int, int], labelled: bool = False) -> Dataset:
    """Reads pairs; every 20th is held out.

    Args:
      name: of the file.
      scaling: of the data that a network is to learn.
      shape: H, W, C of these.
      labelled: whether the network is shown labels, which the pairs then need.

    Returns:
      Examples [n, H, W, 2C], noise before data.

    Raises:
      InputError: there is no such file, it holds no pairs, or pairs of other data.
    """
    cure = "give a pairs.npz that --mode reflow wrote"
    path = to_path(name, FIELD)
    try:
        content = read_arrays(path, f"{FIELD} is {name}, which", cure)
    except FileNotFoundError:
        raise InputError(f"{FIELD} is {name}, which is not there; {cure}") from None
    if not isinstance(content, dict) or not {*ARRAYS, "scaling"} <= content.keys():
        raise InputError(f"{FIELD} is {name}, which holds no pairs; {cure}")
    noise, data = (content[array] for array in ARRAYS)
    if any(array.dtype.kind != "f" for array in (noise, data)):
        raise InputError(f"{FIELD} is {name}, whose noise or data are no floating-point numbers; {cure}")
    if noise.shape != data.shape or data.shape[1:] != shape or len(data) < 2:
        raise InputError(
            f"{FIELD} is {name}, whose noise and data have shapes {noise.shape} and {data.shape}, but the data set has "
            f"examples of {shape}; make pairs of a model of the same data"
        )
    if str(content["scaling"]) != _units(scaling):
        raise InputError(
            f"{FIELD} is {name}, whose units are those of {content['scaling']}, and not of {_units(scaling)}; set the "
            "fields of data to those of the model that drew them"
        )
    with np.errstate(over="ignore"):
        pairs = np.concatenate([noise, data], axis=-1).astype(np.float32)
    if not np.isfinite(pairs).all():
        raise InputError(f"{FIELD} is {name}, which holds numbers that are not finite in float32; {cure}")
    labels = content.get(LABELS)
    if labelled and (labels is None or labels.ndim == 0 or labels.dtype.kind not in "iuf" or len(labels) != len(pairs)):
        raise InputError(
            f"{FIELD} is {name}, which has no labels, but the network is shown some; make pairs of a model that knows "
            "labels, or set model.num_classes and model.label_size to 0"
        )
    held_out = hold_out(len(pairs))
    of = lambda which: Split(pairs[which], labels[which] if labelled and labels is not None else None)
    return Dataset(of(~held_out), of(held_out), levels=0)


def _units(scaling: Scaling) -> str:
    units = {"levels": scaling.levels, "low": scaling.low, "shift": scaling.shift, "scale": scaling.scale}
    # Files of earlier versions do not have it.
    return json.dumps({**units, **({"lowest": scaling.lowest} if scaling.lowest else {})})
