"""Generative methods: what a network learns, where samples start, and the ODE between prior and data."""

from pfgm_jax.methods.base import DataStatistics, Field, Method, Network, TrainingPair
from pfgm_jax.methods.poisson import Poisson

__all__ = ["DataStatistics", "Field", "Method", "Network", "Poisson", "TrainingPair"]
