"""The defaults, with every field explained: pfgm_jax/defaults.py, which an installed package has too."""

from pfgm_jax.defaults import get_config

__all__ = ["get_config"]
