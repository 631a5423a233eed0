"""Rules by which what was measured changes what a network sees; see `base`."""

from pfgm_jax.restoration.rules.base import Rule, Seen

__all__ = ["Rule", "Seen"]
