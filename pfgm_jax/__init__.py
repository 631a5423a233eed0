"""Poisson Flow Generative Models in JAX.

The electric field of data taken as charges carries them to a uniform hemisphere; a network learns the field, and an
ODE follows it back. `load` opens a trained model; see `field` for the field itself, `methods` for what is learned from
it, `samplers` and `sampling` for the way back, `latents` and `likelihood` for what its inverse gives, `models` for
networks, and `registry` for adding your own of each.
"""

from etils import epy

from pfgm_jax import cpu_kernels

cpu_kernels.choose()

# When they are first used, so that `--help` does not wait for JAX.
with epy.lazy_api_imports(globals()):
    from pfgm_jax import datasets, field, latents, likelihood, methods, metrics, models, registry, samplers, sampling
    from pfgm_jax.context import Context
    from pfgm_jax.loading import load
    from pfgm_jax.trained_model import TrainedModel
    from pfgm_jax.version import __version__

__all__ = [
    "Context",
    "TrainedModel",
    "__version__",
    "datasets",
    "field",
    "latents",
    "likelihood",
    "load",
    "methods",
    "metrics",
    "models",
    "registry",
    "samplers",
    "sampling",
]
