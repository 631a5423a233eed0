"""Pseudo-inverse guidance, ΠGDM (Song, Vahdat, Mardani & Kautz, ICLR 2023)."""

from pfgm_jax.restoration.operators.base import Images
from pfgm_jax.restoration.rules.base import Rule, Seen, limited


class PiGDM(Rule):
    """Takes x0 as seen from u for N(D, v), so that p(y | u) is N(A D, v A Aᵀ + s²), and D moves by

        a κ² Jᵀ Aᵀ (v A Aᵀ + s²)⁻¹ (y - A D).

    v = κ² ¼ / (κ² + ¼), as of data N(0, ¼), where the paper has data of variance 1. For such data it is exact. Each
    evaluation takes a backward pass through the network.
    """

    def change(self, seen: Seen) -> Images:
        """Computes what is added to D; see `Rule`."""
        signal = seen.over_measured(seen.data_variance)
        weighed = seen.operator.inverse(seen.residual, signal, seen.noise_variance)
        return limited(seen.share * seen.variance * seen.pull(seen.operator.transpose(weighed)))
