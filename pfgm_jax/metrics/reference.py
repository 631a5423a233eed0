"""Reference statistics of a data set, computed once and cached."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from pfgm_jax.datasets import Split, content_hash
from pfgm_jax.datasets.prepared import Prepared
from pfgm_jax.metrics.features import Extractor, feature_chunks
from pfgm_jax.metrics.statistics import KEPT, Statistics, cached_statistics, collect_statistics
from pfgm_jax.registry import SOURCES

# Number of images that are hashed for the record, evenly spaced in the split.
HASHED = 256


def reference_statistics(
    name: str, split: Split, extractor: Extractor, directory: Path, split_name: str = "train", keep: int = KEPT
) -> Statistics:
    """Returns the statistics of a split, cached in `directory`/statistics.

    Args:
      name: name of the data set, as in `data.dataset`.
      split: its images, cropped and resized as for training.
      extractor: computes features.
      directory: folder of data sets.
      split_name: 'train' or 'test'.
      keep: number of features to keep.

    Raises:
      InputError: the cached statistics are damaged or were computed with other settings, or the extractor does not
        accept the images.
    """
    record = {**data_record(name, split, split_name), **extractor.record, "kept": min(keep, len(split))}
    features = (chunk.features for chunk in feature_chunks(split, extractor, f"{name}, {split_name}"))
    path = statistics_path(record, directory)
    return cached_statistics(path, record, lambda: collect_statistics(features, keep))


def data_record(name: str, split: Split, split_name: str) -> dict[str, Any]:
    """Returns a record that identifies the images of a split."""
    source = SOURCES.get(name)
    kind, patch = split[:0].dtype, {"patch": split.crop} if split.crop else {}
    return {
        **patch,
        **({} if kind == np.uint8 else {"dtype": kind.name}),
        "data_set": name,
        "split": split_name,
        "crop": source.crop if isinstance(source, Prepared) else None,
        "size": list(split.shape[1:]),
        "count": len(split),
        "hash": content_hash(split, HASHED),
    }


def statistics_path(record: dict[str, Any], directory: Path) -> Path:
    """Returns the file for a record; its name has the user's choices, not the hashes of data and weights."""
    name = re.sub(r"[^\w.-]+", "_", record["data_set"])
    if name != record["data_set"]:  # two paths can become one name
        name = f"{name[-40:]}-{hashlib.sha256(record['data_set'].encode()).hexdigest()[:8]}"
    size = "x".join(map(str, record["size"]))
    kind = "-".join(str(record[field]) for field in ("features", "front_end", "dtype", "patch") if field in record)
    if "window" in record:
        kind += "-{:g}to{:g}".format(*record["window"])
    return directory / "statistics" / f"{name}-{record['split']}-{size}-{kind}.npz"
