"""Data sets: sources (what data there are), scaling (in which units), pipeline (in which order)."""

from pfgm_jax.datasets.pipeline import batch_indices
from pfgm_jax.datasets.scaling import Scaling, mean_norm, vector_scaling
from pfgm_jax.datasets.sources import Dataset, load_dataset

__all__ = ["Dataset", "Scaling", "batch_indices", "load_dataset", "mean_norm", "vector_scaling"]
