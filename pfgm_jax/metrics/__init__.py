"""Distances between sets of images."""

from pfgm_jax.metrics.frechet import frechet_distance

__all__ = ["frechet_distance"]
