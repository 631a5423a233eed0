"""Poisson Flow Generative Models in JAX.

The electric field of data taken as charges carries them to a uniform hemisphere; a network learns the field, and an
ODE follows it back. `load` opens a trained model; see `field` for the field itself, `methods` for what is learned from
it, `ode` and `sampling` for the way back, `latents` and `likelihood` for what its inverse gives, `models` for networks.
"""

from pfgm_jax import datasets, field, latents, likelihood, methods, metrics, models, ode, sampling
from pfgm_jax.pretrained import Pretrained, load

__all__ = [
    "Pretrained",
    "datasets",
    "field",
    "latents",
    "likelihood",
    "load",
    "methods",
    "metrics",
    "models",
    "ode",
    "sampling",
]
