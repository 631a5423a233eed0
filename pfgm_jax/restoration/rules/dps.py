"""Diffusion posterior sampling, DPS (Chung, Kim, McCann, Klasky & Ye, ICLR 2023, arXiv:2209.14687)."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp

from pfgm_jax import ranges
from pfgm_jax.restoration.operators.base import Images
from pfgm_jax.restoration.rules.base import Rule, Seen, limited


@dataclasses.dataclass(frozen=True)
class DPS(Rule):
    """Takes p(y | u) for N(A D, s² + r √v / ζ), with r the root mean square of y - A D, and moves D along its gradient:

        a κ² Jᵀ Aᵀ (y - A D) / (s² + r √v / ζ).

    It needs no inverse of A. As in the paper, steps are divided by the size of y - A D; but there they have a constant
    length, where here solvers choose theirs, and r is not taken for less than √v, the uncertainty of D itself (see
    `Seen`), so that the end is approached and not stepped over.

    Attributes:
      strength: ζ.
    """

    fields: ClassVar[Mapping[str, str]] = {"strength": "restore.strength"}

    strength: float = 1.0

    def __post_init__(self):
        ranges.check(self, strength=ranges.above(0))

    def change(self, seen: Seen) -> Images:
        """Computes what is added to D; see `Rule`."""
        axes = tuple(range(1, seen.residual.ndim))
        uncertain = jnp.sqrt(seen.over_measured(seen.data_variance))
        size = jnp.maximum(jnp.sqrt(jnp.mean(seen.residual**2, axis=axes, keepdims=True)), uncertain)
        weighed = seen.residual / (seen.noise_variance + size * uncertain / self.strength)
        return limited(seen.share * seen.variance * seen.pull(seen.operator.transpose(weighed)))
