"""Generative methods by the name they have in `training.sde`."""

from pfgm_jax.methods.base import Method, Network, TrainingPair
from pfgm_jax.methods.poisson import Poisson

METHODS: dict[str, type[Method]] = {"poisson": Poisson}

__all__ = ["METHODS", "Method", "Network", "Poisson", "TrainingPair"]
