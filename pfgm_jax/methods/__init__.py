"""Generative methods: what a network learns, where samples start, and the ODE between prior and data."""

from pfgm_jax.methods.base import DataStatistics, Field, Method, Network, TrainingPair
from pfgm_jax.methods.denoising import DenoisingMethod
from pfgm_jax.methods.poisson import Poisson
from pfgm_jax.methods.score_sde import ScoreSDE

__all__ = [
    "DataStatistics",
    "DenoisingMethod",
    "Field",
    "Method",
    "Network",
    "Poisson",
    "ScoreSDE",
    "TrainingPair",
]
