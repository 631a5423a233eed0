"""What a data source is, and how one is found by the name that it has in `data.dataset`."""

import os
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from pfgm_jax.datasets.split import Dataset
from pfgm_jax.errors import InputError
from pfgm_jax.registry import SOURCES


class Request(NamedTuple):
    """What is asked of a source.

    Attributes:
      name: the whole of `data.dataset`.
      argument: what follows the colon; "" for a source that takes none.
      size: height and width that images of files are brought to; None for their own.
      channels: of images of files; 0 for their own.
      directory: of prepared data sets and of the cache.
    """

    name: str
    argument: str
    size: tuple[int, int] | None
    channels: int
    directory: Path


@runtime_checkable
class Source(Protocol):
    """Loads data."""

    def __call__(self, request: Request) -> Dataset:
        """Loads the training and test examples of a request.

        Raises:
          InputError: the data are missing, unreadable, or not examples.
        """
        ...


def data_dir(path: str = "") -> Path:
    """Returns the folder of `data.dir`: what it says, else TFDS_DATA_DIR, else ~/.cache/pfgm_jax."""
    return Path(path or os.environ.get("TFDS_DATA_DIR") or "~/.cache/pfgm_jax").expanduser()


def load_dataset(
    name: str, image_size: int | tuple[int, int] = 0, num_channels: int = 0, directory: Path | None = None
) -> Dataset:
    """Loads the data set of `data.dataset`.

    Args:
      name: one of `registry.SOURCES`, with its argument after the colon where it takes one.
      image_size: side of a square, or height and width, that images of files are brought to; 0 for their own.
      num_channels: of images of files; 0 for their own.
      directory: of prepared data sets and of the cache; by default `data_dir()`.

    Returns:
      Its training and test examples. Where there is no test split, it is every 20th example.

    Raises:
      InputError: the name is unknown, or the data are missing, unreadable, or not examples.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    kind, _, argument = name.partition(":")
    source = next((s for s in SOURCES if s.split(":")[0] == kind and (":" in s) == bool(argument)), None)
    if source is None:
        raise InputError(f"data.dataset is {name!r}; choose one of {', '.join(SOURCES)}")
    size = (height, width) if height else None
    return SOURCES[source](Request(name, argument, size, num_channels, directory or data_dir()))
