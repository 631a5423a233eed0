"""Data sets: sources (which data exist), scaling (their units), pipeline (their order)."""

from etils import epy

# When they are first used, so that `--help` does not wait for JAX.
with epy.lazy_api_imports(globals()):
    from pfgm_jax.datasets.pipeline import Batch, batch_indices, host_rows, step_batches
    from pfgm_jax.datasets.scaling import DataStatistics, Scaling, channel_scaling, mean_norm, vector_scaling
    from pfgm_jax.datasets.source import Request, Source, data_dir, load_dataset
    from pfgm_jax.datasets.split import Dataset, Split, content_hash, in_order

__all__ = [
    "Batch",
    "DataStatistics",
    "Dataset",
    "Request",
    "Scaling",
    "Source",
    "Split",
    "batch_indices",
    "channel_scaling",
    "content_hash",
    "data_dir",
    "host_rows",
    "in_order",
    "load_dataset",
    "mean_norm",
    "step_batches",
    "vector_scaling",
]
