"""Statistics of the features of a reference set, which samples are compared with."""

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.errors import InputError, listed, shown
from pfgm_jax.reading import parse_json, read_arrays

log = logging.getLogger("pfgm_jax")

# Default number of features to keep: the number of training images of CIFAR-10, and that of published precision and
# recall. In float32 they take 410 MB.
KEPT = 50_000
# Number of rows of features that are converted to float64 at a time.
ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of the features of a set of images.

    Attributes:
      mean: mean of the features.
      covariance: covariance of the features, normalized by n - 1.
      count: n; 0 if unknown.
      features: the features that were kept, a random subset if the set is larger; None if none were kept, in which case
        KID, precision and recall cannot be computed.
      record: the settings that the statistics were computed with, by field; empty for published statistics.
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    count: int
    features: Float[np.ndarray, "k d"] | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Moments:
    """Running mean and covariance of batches of rows, in float64 (Chan, Golub & LeVeque 1983, equation 2.1)."""

    def __init__(self):
        self.count = 0
        self._mean = np.zeros(0)
        self._scatter = np.zeros((0, 0))

    def add(self, rows: Num[np.ndarray, "b d"]) -> None:
        """Adds a batch of rows."""
        rows = rows.astype(np.float64)
        n, m = self.count, len(rows)
        mean = rows.mean(axis=0)
        rows = rows - mean
        if not n:
            self.count, self._mean, self._scatter = m, mean, rows.T @ rows
            return
        shift = mean - self._mean
        self._scatter += rows.T @ rows + np.outer(shift, shift * (n * m / (n + m)))
        self._mean += shift * (m / (n + m))
        self.count = n + m

    @property
    def mean(self) -> Float[np.ndarray, " d"]:
        return self._mean

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Returns the covariance of the rows, normalized by n - 1.

        Raises:
          InputError: there are fewer than 2 rows.
        """
        if self.count < 2:
            raise InputError(f"statistics of {self.count} images cannot be computed; give at least 2")
        return self._scatter / (self.count - 1)


def collect_statistics(
    features: Iterable[Num[np.ndarray, "_ d"]], keep: int = KEPT, record: Mapping[str, Any] | None = None
) -> Statistics:
    """Computes statistics of batches of features.

    Args:
      features: batches of features, one row per image.
      keep: number of features to keep, sampled uniformly (Vitter 1985, algorithm R).
      record: the settings that the features were computed with.

    Raises:
      InputError: there are fewer than 2 rows, or some are not finite.
    """
    moments, kept = Moments(), []
    random = np.random.default_rng(0)
    for batch in features:
        check_finite(batch, "reference")
        fresh = max(0, min(keep - moments.count, len(batch)))
        kept.extend(batch[:fresh])
        places = random.integers(0, moments.count + 1 + np.arange(len(batch)))
        for i in np.flatnonzero(places < keep):
            if i >= fresh:
                kept[places[i]] = batch[i].copy()
        moments.add(batch)
    covariance = moments.covariance
    return Statistics(moments.mean, covariance, moments.count, np.stack(kept) if kept else None, record or {})


def save_statistics(path: Path, statistics: Statistics) -> None:
    """Writes statistics atomically, with the names `mu` and `sigma` that pytorch-fid reads."""
    record = json.dumps(dict(statistics.record))
    arrays = {"mu": statistics.mean, "sigma": statistics.covariance, "count": statistics.count, "record": record}
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    if statistics.features is not None:
        arrays["features"] = statistics.features
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_statistics(path: Path, expected: Mapping[str, Any] | None = None) -> Statistics:
    """Loads statistics from a file.

    Args:
      path: path of a .npz file. `save_statistics` wrote it, or it is a published one: with `mu` and `sigma`, as written
        by pytorch-fid, or with features [n, 2048] as `pool_3`, as written by the authors of score_sde.
      expected: fields that the record must have; published files have no record and are not checked.

    Raises:
      InputError: the file is missing, damaged or of another kind, or its record differs.
    """
    arrays = _read(path)
    try:
        record = parse_json(str(arrays.get("record", "{}")).encode("utf-8", "replace"))
        if not isinstance(record, dict):
            raise ValueError("their record is not one of settings")
        if "pool_3" in arrays:
            pool = arrays["pool_3"]
            if pool.ndim != 2 or pool.dtype.kind != "f" or pool.size == 0:
                raise ValueError(f"pool_3 is {pool.dtype.name} of shape {pool.shape}, not features [n, d]")
            statistics = collect_statistics(np.array_split(pool, 1 + len(pool) // ROWS), record=record)
        else:
            features = arrays.get("features")
            _check(arrays["mu"], arrays["sigma"], features)
            mean, covariance = (arrays[name].astype(np.float64) for name in ("mu", "sigma"))
            statistics = Statistics(mean, covariance, _count(arrays.get("count", np.array(0))), features, record)
    except ValueError as error:
        raise InputError(f"the statistics {path} are damaged ({error}); download or compute them again") from None
    if expected and record:
        check_record(path, record, expected)
    elif expected:
        log.info("%s has no record of its settings; they are assumed to be those of the samples' features", path)
    return statistics


def check_record(path: Path, record: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Checks that statistics were computed with the expected settings.

    Raises:
      InputError: some settings differ; the message names them.
    """
    expected = json.loads(json.dumps(dict(expected)))
    differing = [f"{k} is {record.get(k)!r} and not {v!r}" for k, v in expected.items() if record.get(k) != v]
    if differing:
        raise InputError(
            f"the statistics {path} have other settings: {'; '.join(differing)}; delete the file to compute it again, "
            "or restore these settings"
        )


def cached_statistics(path: Path, record: Mapping[str, Any], compute: Callable[[], Statistics]) -> Statistics:
    """Loads statistics from a file, or computes and saves them if it does not exist.

    Args:
      path: path of a .npz file.
      record: the settings of the statistics.
      compute: computes the statistics.

    Raises:
      InputError: the file is damaged or has other settings.
    """
    if path.exists():
        return load_statistics(path, record)
    statistics = dataclasses.replace(compute(), record=dict(record))
    save_statistics(path, statistics)
    log.info("Statistics of %d images are in %s", statistics.count, path)
    return statistics


def check_finite(features: Num[np.ndarray, "n d"], what: str) -> None:
    """Checks that features have no NaN or infinity.

    Raises:
      InputError: some have; the message says how many rows, and which is the first.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise InputError(f"the features of {len(bad)} {what} images are NaN or infinite; the first is number {bad[0]}")


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = read_arrays(path, f"the statistics {path}", "download or compute them again")
    except FileNotFoundError:
        raise InputError(f"the statistics {path} do not exist; give the path of a .npz file") from None
    if not isinstance(arrays, dict):
        raise InputError(
            f"the statistics {path} cannot be read (it is a single array and not a .npz file); download or compute "
            "them again"
        )
    if "pool_3" not in arrays and not {"mu", "sigma"} <= arrays.keys():
        raise InputError(f"{path} holds the arrays {listed(arrays)}; statistics have mu and sigma, or pool_3")
    return arrays


def _count(count: np.ndarray) -> int:
    if count.ndim or count.dtype.kind not in "iu" or not 0 <= count < 2**53:
        raise ValueError(f"count is {shown(count.tolist())}, not a number of images")
    return int(count)


def _check(mean: np.ndarray, covariance: np.ndarray, features: np.ndarray | None) -> None:
    """Raises a ValueError that says why these arrays are not valid statistics."""
    if not all(array.dtype.kind in "fiu" for array in (mean, covariance, features) if array is not None):
        raise ValueError("they are not numbers")
    if mean.ndim != 1 or not mean.size or covariance.shape != 2 * mean.shape:
        raise ValueError(f"mu has shape {mean.shape} and sigma {covariance.shape}")
    if not np.isfinite(mean).all() or not np.isfinite(covariance).all():
        raise ValueError("mu or sigma is not finite")
    scale = np.abs(covariance).max(initial=0)
    if np.abs(covariance - covariance.T).max(initial=0) > 1e-6 * scale or np.diag(covariance).min(initial=0) < 0:
        raise ValueError("sigma is not a covariance")
    if features is not None and (features.ndim != 2 or features.shape[1:] != mean.shape):
        raise ValueError(f"features have shape {features.shape}")
    if features is not None and len(features) < 2:
        raise ValueError("there are fewer than 2 features")
    if features is not None and not np.isfinite(features).all():
        raise ValueError("features are not finite")
