"""Checks what users say was measured of images."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Num

from pfgm_jax.arguments import to_array
from pfgm_jax.datasets.scaling import Scaling
from pfgm_jax.errors import InputError
from pfgm_jax.restoration.operators import Function, Operator
from pfgm_jax.restoration.operators.inpaint import Inpaint

# At a time, so that answers of an image have numbers of their own.
MOST_IMAGES = 2**20


def check(
    operator: Operator, scaling: Scaling, y: Num[np.ndarray, "..."], mask: Any, what: str
) -> tuple[Num[np.ndarray, "n *measured"], Bool[np.ndarray, "n H W 1"] | None]:
    """Returns what was measured of images, and their masks, as arrays.

    Args:
      operator: of what was measured.
      scaling: of the model.
      y: what was measured.
      mask: [H, W], [H, W, 1], [n, H, W] or [n, H, W, 1], not 0 where images are known; None if there is none.
      what: what y is, for messages.

    Raises:
      InputError: they are of other shapes, some numbers are not finite, or grey levels are not the model's.
    """
    wanted = tuple(operator.measured_shape)
    if y.ndim == 0 or y.shape[1:] != wanted or not len(y):
        raise InputError(
            f"{what} have shape {y.shape}; of the model's images, which are {operator.shape}, the operator "
            f"makes [n, {', '.join(map(str, wanted))}]: give these"
        )
    if len(y) > MOST_IMAGES:
        raise InputError(f"{what} are {len(y)}; give at most {MOST_IMAGES} at a time")
    if isinstance(operator, Inpaint) != (mask is not None):
        raise InputError(
            f"mask is {'not given' if mask is None else 'given'}, but the operator is "
            f"{type(operator).__name__}; inpaint, and it alone, takes a mask of what is known"
        )
    if mask is not None:
        mask = _checked_mask(operator, mask, len(y))
    used = y if mask is None else np.where(mask, y, 0)
    with np.errstate(over="ignore"):
        if not np.isfinite(used.astype(np.float32)).all():
            raise InputError(f"some values of {what} are not finite in float32; leave these images out")
    _check_levels(operator, scaling, used, what)
    return y, mask


def _check_levels(operator: Operator, scaling: Scaling, y: np.ndarray, what: str) -> None:
    """Checks that integers that were measured are grey levels of the model, or their means."""
    if y.dtype.kind not in "iu" or not scaling.levels or isinstance(operator, Function):
        return
    lowest, highest = scaling.lowest, scaling.lowest + scaling.levels - 1
    # Zeros may be in the place of what is missing; weights of some kernels are negative.
    beyond = [int(v) for v in (y.min(), y.max()) if not min(lowest, 0) <= v <= highest]
    if beyond:
        raise InputError(
            f"{what} have grey level {beyond[0]}, but the model knows {lowest} to {highest}; bring them to its units"
        )


def _checked_mask(operator: Operator, mask: Any, n: int) -> Bool[np.ndarray, "n H W 1"]:
    known = to_array("the masks", mask)
    if not np.isfinite(known).all():
        raise InputError("the mask has NaN or infinity; give 0 where an image is missing and 1 where it is known")
    height, width, _ = operator.shape
    if known.shape[-1:] != (1,) or known.ndim == 2:
        known = known[..., None]
    if known.ndim == 3:
        known = known[None]
    if known.shape not in ((1, height, width, 1), (n, height, width, 1)):
        raise InputError(
            f"the mask has shape {np.shape(mask)}, and the images {n} x {height} x {width}; give [{height}, "
            f"{width}], or one of each, [{n}, {height}, {width}]"
        )
    return np.broadcast_to(known != 0, (n, height, width, 1))
