"""SDEdit (Meng et al. 2022, arXiv:2108.01073): begin part-way, from the damaged image with noise."""

from typing import ClassVar

import jax.numpy as jnp

from pfgm_jax.restoration.operators.base import Images
from pfgm_jax.restoration.rules.base import Rule, Seen


class SDEdit(Rule):
    """Changes nothing on the way, so that it knows of the damage by its start alone.

    The noise there is the method's own: of PFGM and PFGM++, that of the field of a charge.
    """

    own_start: ClassVar[float] = 0.5

    def change(self, seen: Seen) -> Images:
        """Returns 0."""
        return jnp.zeros((len(seen.residual), *seen.operator.shape))
