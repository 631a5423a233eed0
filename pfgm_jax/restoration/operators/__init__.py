"""Linear operators: what became of images that are to be restored; see `base`."""

from pfgm_jax.restoration.operators.base import Operator
from pfgm_jax.restoration.operators.function import Function

__all__ = ["Function", "Operator"]
