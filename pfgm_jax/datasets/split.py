"""What a data set is to the rest of the code."""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from pfgm_jax.datasets.store import ImageStore

# Of data without a test split of their own, every 20th example is held out of training.
HOLD_OUT_EVERY = 20


class Split:
    """Examples with random access, in memory or not: `split[indices]` or `split[a:b]` is an array of them.

    Attributes:
      labels: int32 [n]; -1 where an example has none.
      shape: n, H, W, C.
    """

    def __init__(
        self, examples: np.ndarray | ImageStore, labels: np.ndarray | None = None, numbers: np.ndarray | None = None
    ):
        """Wraps examples.

        Args:
          examples: uint8 images [m, H, W, C] with integer grey levels, or float32 vectors [m, 1, 1, N].
          labels: of the split's examples; None for none.
          numbers: of its examples among `examples`; None for all, in order.
        """
        self._examples = examples
        self._numbers = np.arange(examples.shape[0]) if numbers is None else numbers
        self.labels = np.full(len(self._numbers), -1, np.int32) if labels is None else labels.astype(np.int32)
        self.shape = (len(self._numbers), *examples.shape[1:])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: slice | list[int] | np.ndarray) -> Num[np.ndarray, "k H W C"]:
        return self._examples[self._numbers[key]]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class Dataset(NamedTuple):
    """A data set.

    Attributes:
      train, test: its splits.
      levels: number of grey levels of images; 0 for vectors.
    """

    train: Split
    test: Split
    levels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        h, w, c = self.train.shape[1:]
        return h, w, c


def content_hash(examples: np.ndarray | Split, most: int) -> str:
    """SHA-256 in hexadecimal digits of examples; of at most so many, spread evenly over all."""
    shown = np.unique(np.linspace(0, len(examples) - 1, min(most, len(examples))).astype(np.int64))
    return hashlib.sha256(np.ascontiguousarray(examples[shown]).tobytes()).hexdigest()


def hold_out(count: int) -> np.ndarray:
    """Which of so many examples are the test split, of data that have none of their own."""
    return np.arange(count) % HOLD_OUT_EVERY == min(HOLD_OUT_EVERY, count) - 1


def in_order(dataset: Dataset) -> Num[np.ndarray, "n H W C"]:
    """All examples of a data set without a test split of its own, in the order in which they came."""
    train, test = dataset.train, dataset.test
    examples = np.empty((len(train) + len(test), *train.shape[1:]), train[:1].dtype)
    held_out = hold_out(len(examples))
    examples[~held_out], examples[held_out] = train[:], test[:]
    return examples
