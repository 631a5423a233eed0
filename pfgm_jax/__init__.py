"""Poisson Flow Generative Models in JAX.

The electric field of data taken as charges carries them to a uniform hemisphere; a network learns the field, and an
ODE follows it back. See `field` for the field itself, `methods` for what is learned from it, `ode` and `sampling` for
the way back, `models` for the networks.
"""

from pfgm_jax import datasets, field, methods, metrics, models, ode, sampling

__all__ = ["datasets", "field", "methods", "metrics", "models", "ode", "sampling"]
