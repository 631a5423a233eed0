"""The null space rule, DDNM (Wang, Yu & Zhang 2023, arXiv:2212.00490)."""

from pfgm_jax.restoration.operators.base import Images
from pfgm_jax.restoration.rules.base import Rule, Seen


class NullSpace(Rule):
    """D <- D + A⁺ (y - A D): what was measured is as it was, and the network finds the rest.

    With noise of variance s² it is D + κ² Aᵀ (κ² A Aᵀ + s²)⁻¹ (y - A D): a part that A multiplies by d follows y while
    κ d, the noise on the way, is larger than s, and then more and more the network. The paper's weights are
    min(1, κ d / s).
    """

    def change(self, seen: Seen) -> Images:
        """Computes what is added to D; see `Rule`."""
        signal = seen.over_measured(seen.variance)
        return seen.operator.transpose(signal * seen.operator.inverse(seen.residual, signal, seen.noise_variance))
