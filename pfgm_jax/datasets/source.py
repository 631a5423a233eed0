"""The interface of data sources, and their look-up by the name in `data.dataset`."""

import os
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from pfgm_jax.datasets.split import Dataset
from pfgm_jax.errors import InputError, shown
from pfgm_jax.registry import SOURCES


class Request(NamedTuple):
    """A request for data.

    Attributes:
      name: the whole of `data.dataset`.
      argument: the part after the colon; "" for a source that takes none.
      size: height and width to resize images from files to; None keeps their own.
      channels: number of channels of images from files; 0 keeps their own.
      directory: folder of prepared data sets and of the cache.
      bits: of a value of images from a folder.
    """

    name: str
    argument: str
    size: tuple[int, int] | None
    channels: int
    directory: Path
    bits: int = 8


@runtime_checkable
class Source(Protocol):
    """A function that loads data."""

    def __call__(self, request: Request) -> Dataset:
        """Loads the training and test examples that a request asks for.

        Raises:
          InputError: the data are missing, unreadable, or not valid examples.
        """
        ...


def data_dir(path: str = "") -> Path:
    """Returns the data folder: `path` if it is not empty, else TFDS_DATA_DIR, else ~/.cache/pfgm_jax."""
    return Path(path or os.environ.get("TFDS_DATA_DIR") or "~/.cache/pfgm_jax").expanduser()


def load_dataset(
    name: str,
    image_size: int | tuple[int, int] = 0,
    num_channels: int = 0,
    directory: Path | None = None,
    bits: int = 8,
) -> Dataset:
    """Loads the data set that `data.dataset` names.

    Args:
      name: one of `registry.SOURCES`, followed by a colon and its argument if it takes one.
      image_size: side of a square, or height and width, to resize images from files to; 0 keeps their own.
      num_channels: number of channels of images from files; 0 keeps their own.
      directory: folder of prepared data sets and of the cache; by default `data_dir()`.
      bits: of a value of images from a folder: 8, 16, or 32 for real numbers.

    Returns:
      Its training and test examples. If it has no test split, every 20th example is held out.

    Raises:
      InputError: the name is unknown, or the data are missing, unreadable, or not valid examples.
    """
    if not isinstance(name, str):
        raise InputError(f"data.dataset is {shown(name)}; choose one of {', '.join(SOURCES)}")
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    kind, colon, argument = name.partition(":")
    fits = lambda known: known.split(":")[0] == kind and (":" in known) == bool(colon) == bool(argument)
    source = next(filter(fits, SOURCES), None)
    if source is None:
        raise InputError(f"data.dataset is {shown(name)}; choose one of {', '.join(SOURCES)}")
    if bits != 8 and kind != "folder":
        raise InputError(
            f"data.bits is {bits}, but data.dataset is {shown(name)}, and only the pictures of folder:PATH are read as "
            "it says; set it to 8"
        )
    size = (height, width) if height else None
    return SOURCES[source](Request(name, argument, size, num_channels, directory or data_dir(), bits))
