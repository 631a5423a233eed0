"""The order in which examples are drawn: a pure function of (seed, step), so that resuming needs no hidden state."""

import functools

import numpy as np


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def batch_indices(seed: int, step: int, batch_size: int, count: int) -> np.ndarray:
    """Indices of the examples of one step.

    Examples are drawn without replacement, epoch after epoch, each in an order of its own; a batch may hold the end of
    one epoch and the beginning of the next.

    Args:
      seed: of the order.
      step: counts from 0.
      batch_size: number of indices.
      count: number of examples in the data set.

    Returns:
      int32 [batch_size], each in [0, count).
    """
    epochs, places = np.divmod(step * batch_size + np.arange(batch_size), count)
    parts = [_permutation(seed, int(epoch), count)[places[epochs == epoch]] for epoch in np.unique(epochs)]
    return np.concatenate(parts).astype(np.int32)
