"""Statistics of the features of a reference set: what samples are compared with."""

import dataclasses
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from pfgm_jax.errors import InputError

log = logging.getLogger("pfgm_jax")

# How many features are kept, by default: as many as CIFAR-10 has training images, and as precision and recall were
# published with. In float32 they take 410 MB.
KEPT = 50_000
# Rows of features that are turned to float64 at a time.
ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of the features of a set of images.

    Attributes:
      mean: of the features.
      covariance: of the features, with n - 1.
      count: n; 0 where it is not known.
      features: those of at most so many images as were to be kept, drawn at random where there were more; None where
        none were kept, and then there are no KID, precision and recall.
      record: what made them, by field; empty for those that others published.
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    count: int
    features: Float[np.ndarray, "k d"] | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Moments:
    """Mean and covariance of rows that come in batches, in float64 (Chan, Golub & LeVeque 1983, equation 2.1)."""

    def __init__(self):
        self.count = 0
        self._mean = np.zeros(0)
        self._scatter = np.zeros((0, 0))

    def add(self, rows: Num[np.ndarray, "b d"]) -> None:
        """Takes more rows."""
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
        """With n - 1.

        Raises:
          InputError: there are fewer than 2 rows.
        """
        if self.count < 2:
            raise InputError(f"statistics of {self.count} images cannot be taken; give at least 2")
        return self._scatter / (self.count - 1)


def collect_statistics(
    features: Iterable[Num[np.ndarray, "_ d"]], keep: int = KEPT, record: Mapping[str, Any] | None = None
) -> Statistics:
    """Statistics of features that come in batches.

    Args:
      features: one row an image.
      keep: how many of the features are kept; each has the same chance (Vitter 1985, algorithm R).
      record: of what made them.

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
    """Writes statistics, whole or not at all, with the names `mu` and `sigma` that pytorch-fid reads."""
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
    """Statistics from a file.

    Args:
      path: of a .npz file that `save_statistics` wrote, or published: with `mu` and `sigma`, as pytorch-fid writes
        them, or with features [n, 2048] as `pool_3`, as the authors of score_sde do.
      expected: fields that the record must have; published files have no record, and are believed.

    Raises:
      InputError: the file is missing, damaged or something else, or its record differs.
    """
    arrays = _read(path)
    try:
        record = json.loads(str(arrays.get("record", "{}")))
        if "pool_3" in arrays:
            pool = arrays["pool_3"]
            if pool.ndim != 2 or not np.issubdtype(pool.dtype, np.floating):
                raise ValueError(f"pool_3 is {pool.dtype} of shape {pool.shape}, not features [n, d]")
            statistics = collect_statistics(np.array_split(pool, 1 + len(pool) // ROWS), record=record)
        else:
            features = arrays.get("features")
            mean, covariance = (arrays[name].astype(np.float64) for name in ("mu", "sigma"))
            _check(mean, covariance, features)
            statistics = Statistics(mean, covariance, int(arrays.get("count", 0)), features, record)
    except (ValueError, TypeError) as error:
        raise InputError(f"the statistics {path} are damaged ({error}); get or make them anew") from None
    if expected and record:
        check_record(path, record, expected)
    elif expected:
        log.info("%s does not say how it was made; it is taken to be made as the samples' features are", path)
    return statistics


def check_record(path: Path, record: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses statistics that were made otherwise.

    Raises:
      InputError: names the fields that differ.
    """
    expected = json.loads(json.dumps(dict(expected)))
    differing = [f"{k} is {record.get(k)!r} and not {v!r}" for k, v in expected.items() if record.get(k) != v]
    if differing:
        raise InputError(
            f"the statistics {path} were made otherwise: {'; '.join(differing)}; delete the file to have it made anew, "
            "or set these back"
        )


def cached_statistics(path: Path, record: Mapping[str, Any], compute: Callable[[], Statistics]) -> Statistics:
    """The statistics in a file, which are computed and written there where it does not exist.

    Args:
      path: of a .npz file.
      record: of what makes them.
      compute: makes them.

    Raises:
      InputError: the file is damaged or was made otherwise.
    """
    if path.exists():
        return load_statistics(path, record)
    statistics = dataclasses.replace(compute(), record=dict(record))
    save_statistics(path, statistics)
    log.info("Statistics of %d images are in %s", statistics.count, path)
    return statistics


def check_finite(features: Num[np.ndarray, "n d"], what: str) -> None:
    """Refuses features with NaN or infinity.

    Raises:
      InputError: says how many rows have, and the first of them.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise InputError(f"the features of {len(bad)} {what} images are NaN or infinite, first of number {bad[0]}")


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                raise ValueError("it is a single array and not a .npz file")
            arrays = {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise InputError(f"the statistics {path} do not exist; give the path of a .npz file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"the statistics {path} cannot be read ({error}); get or make them anew") from None
    if "pool_3" not in arrays and not {"mu", "sigma"} <= arrays.keys():
        raise InputError(
            f"{path} holds the arrays {', '.join(arrays) or 'none'}; statistics have mu and sigma, or pool_3"
        )
    return arrays


def _check(mean: np.ndarray, covariance: np.ndarray, features: np.ndarray | None) -> None:
    """Raises a ValueError that says why these cannot be statistics."""
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
        raise ValueError(f"mu has shape {mean.shape} and sigma {covariance.shape}")
    if not np.isfinite(mean).all() or not np.isfinite(covariance).all():
        raise ValueError("mu or sigma is not finite")
    scale = np.abs(covariance).max(initial=0)
    if np.abs(covariance - covariance.T).max(initial=0) > 1e-6 * scale or np.diag(covariance).min(initial=0) < 0:
        raise ValueError("sigma is not a covariance")
    if features is not None and (features.ndim != 2 or features.shape[1:] != mean.shape):
        raise ValueError(f"features have shape {features.shape}")
    if features is not None and not np.isfinite(features).all():
        raise ValueError("features are not finite")
