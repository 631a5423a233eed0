"""Draws batches. Their order is a pure function of (seed, step), so that resuming needs no hidden state."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Array, Int, Num

from pfgm_jax.datasets.split import Split
from pfgm_jax.datasets.store import THREADS

# The order of epochs uses shorter seeds.
_PLACES = 1


class Batch(NamedTuple):
    """The B examples of a step, or the b of them that a process has read.

    Attributes:
      stored: grey levels or vectors.
      index: index in the data set of every example of the step.
      label: of each example; None for a data set without labels.
      condition: image that conditions each example; None for a data set without.
      group: number of each example, the same for examples of the same label; None for a data set without labels.
    """

    stored: Num[Array | np.ndarray, "b H W C"]
    index: Int[Array | np.ndarray, " B"]
    label: Num[Array | np.ndarray, "b ..."] | None
    condition: Num[Array | np.ndarray, "b H W c"] | None = None
    group: Int[Array | np.ndarray, " b"] | None = None


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def batch_indices(seed: int, step: int, batch_size: int, count: int) -> np.ndarray:
    """Returns the indices of the examples of one step.

    Examples are drawn without replacement, epoch after epoch. Each epoch has its own order. A batch may span the end of
    one epoch and the beginning of the next.

    Args:
      seed: seed of the order.
      step: number of the step, counted from 0.
      batch_size: number of indices.
      count: number of examples in the data set.

    Returns:
      int32 [batch_size], each in [0, count).
    """
    epochs, places = np.divmod(step * batch_size + np.arange(batch_size), count)
    parts = [_permutation(seed, int(epoch), count)[places[epochs == epoch]] for epoch in np.unique(epochs)]
    return np.concatenate(parts).astype(np.int32)


def host_rows(rows: int, process_index: int, process_count: int) -> slice:
    """Returns the rows of the global batch that a process reads: equal shares, in the order of the processes.

    Raises:
      ValueError: the rows cannot be divided evenly among the processes.
    """
    if rows % process_count:
        raise ValueError(f"{rows} rows cannot be shared evenly by {process_count} processes")
    each = rows // process_count
    return slice(process_index * each, (process_index + 1) * each)


def read_batch(split: Split, seed: int, step: int, batch_size: int, rows: int, process: tuple[int, int]) -> Batch:
    """Reads a process's share of the first `rows` examples of the batch of a step; see `step_batches`."""
    index = batch_indices(seed, step, batch_size, len(split))[:rows]
    share = host_rows(rows, *process)
    own = index[share]
    places = np.random.default_rng((seed, step, _PLACES)).random((rows, 2))[share] if split.crop else None
    labels, groups = (split.labels[own], split.groups[own]) if split.labelled else (None, None)
    return Batch(split.read(own, places), index, labels, split.read_conditions(own, places), groups)


def step_batches(
    split: Split,
    *,
    seed: int,
    batch_size: int,
    rows: int,
    start: int,
    stop: int,
    process: tuple[int, int] = (0, 1),
    threads: int = THREADS,
    place: Callable[[Batch], Batch] = lambda batch: batch,
) -> Iterator[Batch]:
    """Yields the batches of steps `start` to `stop`, which threads read ahead while steps are computed.

    Args:
      split: the examples to draw from.
      seed: seed of the order.
      batch_size: size of the global batch.
      rows: number of its first examples that are read.
      start, stop: steps, counted from 0.
      process: number of this process, and number of processes; each process reads its share of the rows.
      threads: number of reading threads; 0 for none. Each reads whole batches. The batches do not depend on it.
      place: moves a batch to the devices; runs in those threads, before the batch is needed.

    Yields:
      Batches, in the order of the steps.
    """
    steps = grain.MapDataset.range(start, stop)
    batches = steps.map(lambda step: place(read_batch(split, seed, int(step), batch_size, rows, process)))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    yield from batches.to_iter_dataset(options)
