"""The interface of data sets for the rest of the code."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Num

from pfgm_jax.errors import FieldError

# If data have no test split, every 20th example is held out of training.
HOLD_OUT_EVERY = 20
# Bytes of images that are read at a time.
_READ = 1 << 26


@runtime_checkable
class Rows(Protocol):
    """Images [m, H, W, C], in memory or not, that are read by their numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """m, H, W, C."""
        ...

    def __getitem__(self, numbers: np.ndarray, /) -> Any: ...


class Split:
    """Examples with random access, in memory or not: `split[indices]` or `split[a:b]` is an array of them.

    Attributes:
      labels: a class of each, int32 [n], -1 for an example without one; or numbers, float32 [n, L].
      labelled: whether any example has a label.
      conditions: images [n, h, w, c] that condition the examples, read like these; None for none.
      crop: side of the patches that are read of the examples; 0 for whole ones.
      shape: n, H, W, C.
      whole_size: height and width of the examples of which patches are read.
    """

    def __init__(
        self,
        examples: Rows,
        labels: np.ndarray | None = None,
        numbers: np.ndarray | None = None,
        conditions: Rows | None = None,
        crop: int = 0,
    ):
        """Wraps examples.

        Args:
          examples: integer grey levels [m, H, W, C], or float32 images or vectors [m, 1, 1, N].
          labels: labels of the split's examples; None for none.
          numbers: indices of the split's examples in `examples`; None for all, in order.
          conditions: images that condition `examples`, whose sides divide theirs.
          crop: side of patches to read; 0 for whole examples.
        """
        self._examples, self._conditions = examples, conditions
        self._numbers = np.arange(examples.shape[0]) if numbers is None else numbers
        if labels is None:
            labels = np.full(len(self._numbers), -1, np.int32)
        self.labels = labels.astype(np.float32 if labels.dtype.kind == "f" else np.int32)
        self.labelled = bool(self.labels.ndim > 1 or (self.labels >= 0).any())
        self.crop = crop
        height, width, channels = examples.shape[1:]
        self.whole_size: tuple[int, int] = (height, width)
        self.shape = (len(self._numbers), *((crop, crop) if crop else (height, width)), channels)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: slice | list[int] | np.ndarray) -> Num[np.ndarray, "k H W C"]:
        return self.read(key)

    def read(
        self, key: slice | list[int] | np.ndarray, places: Float[np.ndarray, "k 2"] | None = None
    ) -> Num[np.ndarray, "k H W C"]:
        """Reads examples, or a patch of each.

        Args:
          key: which.
          places: where patches lie between the first and the last place that they can have, in [0, 1); None for a place
            that follows from the number of the example.
        """
        return self._patches(self._examples, self._numbers[key], places)

    def read_conditions(
        self, key: slice | list[int] | np.ndarray, places: Float[np.ndarray, "k 2"] | None = None
    ) -> Num[np.ndarray, "k H W c"] | None:
        """Reads the conditions of the same patches, with pixels repeated to the examples' size; None for none."""
        if self._conditions is None:
            return None
        return self._patches(self._conditions, self._numbers[key], places)

    @property
    def condition_shape(self) -> tuple[int, int, int] | None:
        """Returns the shape of a condition as it is read: H, W, c; None where there are none."""
        return None if self._conditions is None else (*self.shape[1:3], self._conditions.shape[3])

    @functools.cached_property
    def groups(self) -> Int[np.ndarray, " n"]:
        """Returns a number for each example, the same for examples of the same label; -1 without one."""
        if self.labels.ndim == 1:
            return self.labels
        return np.unique(self.labels, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int32)

    def first(self, count: int) -> "Split":
        """Returns the split of the first examples."""
        return self.part(np.arange(len(self))[:count])

    def part(self, which: np.ndarray) -> "Split":
        """Returns the split of some of the examples.

        Args:
          which: their indices, or a mask.
        """
        return Split(self._examples, self.labels[which], self._numbers[which], self._conditions, self.crop)

    def conditioned(self, factor: int) -> "Split":
        """Returns the split of which each example is conditioned on itself, with sides `factor` times as short."""
        return Split(self._examples, self.labels, self._numbers, BlockMeans(self._examples, factor), self.crop)

    def cropped(self, side: int) -> "Split":
        """Returns the split of square patches of the examples, one of each."""
        return Split(self._examples, self.labels, self._numbers, self._conditions, side)

    def _patches(self, rows: Rows, numbers: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        images = enlarged(np.asarray(rows[numbers]), *self._examples.shape[1:3])
        if not self.crop:
            return images
        if places is None:
            places = np.array([np.random.default_rng(int(number)).random(2) for number in numbers]).reshape(-1, 2)
        room = np.array(images.shape[1:3]) - self.crop + 1
        patches = np.empty((len(images), self.crop, self.crop, images.shape[3]), images.dtype)
        for patch, image, (top, left) in zip(patches, images, (places * room).astype(np.int64), strict=True):
            patch[:] = image[top : top + self.crop, left : left + self.crop]
        return patches

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class BlockMeans:
    """Images of fewer pixels, made when they are read: each is the mean of a block, rounded if the images have levels.

    Attributes:
      shape: m, h, w, c.
    """

    def __init__(self, rows: Rows, factor: int):
        """Wraps images.

        Args:
          rows: the images.
          factor: how many times as short sides become; it divides them.
        """
        self._rows, self._factor = rows, factor
        count, height, width, channels = rows.shape
        self.shape = (count, height // factor, width // factor, channels)

    def __getitem__(self, numbers: np.ndarray) -> Float[np.ndarray, "k h w c"]:
        images = np.asarray(self._rows[numbers])
        _, height, width, channels = self.shape
        blocks = images.reshape(-1, height, self._factor, width, self._factor, channels)
        means = blocks.mean(axis=(2, 4), dtype=np.float64)
        return (means if images.dtype.kind == "f" else np.round(means)).astype(np.float32)


def enlarged(images: Num[np.ndarray, "n h w c"], height: int, width: int) -> Num[np.ndarray, "n H W c"]:
    """Repeats the pixels of images whose sides divide a size until they have it."""
    h, w = images.shape[1:3]
    return images if (h, w) == (height, width) else images.repeat(height // h, axis=1).repeat(width // w, axis=2)


class Dataset(NamedTuple):
    """A data set.

    Attributes:
      train, test: training and test split.
      levels: number of grey levels of images; 0 for vectors and images of real numbers.
      lowest: the lowest grey level.
    """

    train: Split
    test: Split
    levels: int
    lowest: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Returns the shape of an example: H, W, C."""
        h, w, c = self.train.shape[1:]
        return h, w, c

    @property
    def of_range(self) -> bool:
        """Says whether the grey levels are those that the data happen to have, as of integers of 16 bits."""
        return bool(self.levels) and self.train[:0].dtype.itemsize > 1

    def fits(self, levels: int, lowest: int) -> bool:
        """Says whether a model of these grey levels knows all that the data have."""
        if not self.of_range:
            return (levels, lowest) == (self.levels, self.lowest)
        known = np.iinfo(self.train[:0].dtype)
        if lowest < known.min or lowest + levels - 1 > known.max:
            return False
        return lowest <= self.lowest and self.lowest + self.levels <= lowest + levels

    def conditioned(self, factor: int) -> "Dataset":
        """Returns the data set of which each example is conditioned on itself, with sides `factor` times as short.

        Raises:
          FieldError: the factor does not divide them, or the examples have conditions already; the field is
            'condition_factor'.
        """
        height, width, _ = self.shape
        if self.train.condition_shape is not None:
            raise FieldError("condition_factor", factor, "the data have conditions of their own: set it to 0")
        if height % factor or width % factor:
            raise FieldError("condition_factor", factor, f"it does not divide {height} x {width}, the data's size")
        return self._replace(train=self.train.conditioned(factor), test=self.test.conditioned(factor))

    def cropped(self, side: int) -> "Dataset":
        """Returns the data set of square patches, one of each example."""
        return self._replace(train=self.train.cropped(side), test=self.test.cropped(side))


def portions(read: Callable[[slice], np.ndarray], count: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """Reads examples a bounded number of bytes at a time; yields each part with the number of its first.

    Args:
      read: reads some.
      count: how many there are.
      step: of so many only one is read.
    """
    each = step * max(1, _READ // max(1, read(slice(0, 1)).nbytes))
    for first in range(0, count, each):
        yield first, read(slice(first, min(first + each, count), step))


def grey_range(read: Callable[[np.ndarray], np.ndarray], numbers: np.ndarray) -> tuple[int, int]:
    """Returns the number of grey levels from the lowest to the highest of some images, and the lowest.

    Args:
      read: reads images by their numbers.
      numbers: of the images.
    """
    ends = [
        (int(part.min()), int(part.max())) for _, part in portions(lambda which: read(numbers[which]), len(numbers))
    ]
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    return max(highest - lowest + 1, 2), lowest


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Returns at most `most` of the first `count` numbers, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def content_hash(examples: np.ndarray | Split, most: int) -> str:
    """Returns the SHA-256 of at most `most` evenly spaced examples, in hexadecimal digits."""
    shown = evenly_spaced(len(examples), most)
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
