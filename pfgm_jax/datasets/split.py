"""The interface of data sets for the rest of the code."""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from pfgm_jax.datasets.store import ImageStore

# If data have no test split, every 20th example is held out of training.
HOLD_OUT_EVERY = 20


class Split:
    """Examples with random access, in memory or not: `split[indices]` or `split[a:b]` is an array of them.

    Attributes:
      labels: int32 [n]; -1 for an example without one.
      labelled: whether any example has a label.
      shape: n, H, W, C.
    """

    def __init__(
        self, examples: np.ndarray | ImageStore, labels: np.ndarray | None = None, numbers: np.ndarray | None = None
    ):
        """Wraps examples.

        Args:
          examples: uint8 images [m, H, W, C] with integer grey levels, or float32 vectors [m, 1, 1, N].
          labels: labels of the split's examples; None for none.
          numbers: indices of the split's examples in `examples`; None for all, in order.
        """
        self._examples = examples
        self._numbers = np.arange(examples.shape[0]) if numbers is None else numbers
        self.labels = np.full(len(self._numbers), -1, np.int32) if labels is None else labels.astype(np.int32)
        self.labelled = bool((self.labels >= 0).any())
        self.shape = (len(self._numbers), *examples.shape[1:])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: slice | list[int] | np.ndarray) -> Num[np.ndarray, "k H W C"]:
        return self._examples[self._numbers[key]]

    def first(self, count: int) -> "Split":
        """Returns the split of the first examples."""
        return Split(self._examples, self.labels[:count], self._numbers[:count])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class Dataset(NamedTuple):
    """A data set.

    Attributes:
      train, test: training and test split.
      levels: number of grey levels of images; 0 for vectors.
    """

    train: Split
    test: Split
    levels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Returns the shape of an example: H, W, C."""
        h, w, c = self.train.shape[1:]
        return h, w, c


def content_hash(examples: np.ndarray | Split, most: int) -> str:
    """Returns the SHA-256 of at most `most` evenly spaced examples, in hexadecimal digits."""
    shown = np.unique(np.linspace(0, len(examples) - 1, min(most, len(examples))).astype(np.int64))
    return hashlib.sha256(np.ascontiguousarray(examples[shown]).tobytes()).hexdigest()


def hold_out(count: int) -> np.ndarray:
    """Returns a mask of the examples to hold out as a test split."""
    return np.arange(count) % HOLD_OUT_EVERY == min(HOLD_OUT_EVERY, count) - 1


def in_order(dataset: Dataset) -> Num[np.ndarray, "n H W C"]:
    """Returns all examples of a data set that was split by `hold_out`, in their original order."""
    train, test = dataset.train, dataset.test
    examples = np.empty((len(train) + len(test), *train.shape[1:]), train[:1].dtype)
    held_out = hold_out(len(examples))
    examples[~held_out], examples[held_out] = train[:], test[:]
    return examples
