"""Caches decoded images: in memory if they fit, else on disk, else not at all."""

import hashlib
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num
from tqdm import tqdm

from pfgm_jax.datasets.images import BrokenImageError
from pfgm_jax.errors import InputError

log = logging.getLogger("pfgm_jax")

# Share of the machine's memory that one split of a data set may fill.
MEMORY_SHARE = 0.25
THREADS = min(16, os.cpu_count() or 1)


class ImageStore:
    """Images of one size, indexed by number and decoded on first access.

    On disk they are in `directory`/images. Each has a checksum in `directory`/sums, written after the image: an image
    half written by a killed process or on a full disk is decoded again. Several processes may share a directory.

    Attributes:
      shape: number of images, H, W, C.
    """

    def __init__(
        self,
        decode: Callable[[int], Num[np.ndarray, "H W C"]],
        shape: tuple[int, int, int, int],
        directory: Path,
        name: Callable[[int], str] = "image number {}".format,
        dtype: Any = np.uint8,
    ):
        """Chooses where to cache images.

        Args:
          decode: decodes the image with a given number; may raise BrokenImageError.
          shape: number of images, H, W, C.
          directory: folder for exactly this set of images at this size; see `fingerprint`.
          name: says in messages which image has a given number.
          dtype: of the pixels.
        """
        self.shape, self._dtype = shape, np.dtype(dtype)
        self._decode, self._directory, self._name = decode, directory, name
        self._sums: np.ndarray | None = None
        self._ready = np.zeros(shape[0], bool)
        size = int(np.prod(shape, dtype=np.int64)) * self._dtype.itemsize
        if size <= MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            self._images: np.ndarray | None = np.empty(shape, self._dtype)
        else:
            self._images = self._open_files(size)

    def _open_files(self, size: int) -> np.ndarray | None:
        images, sums = self._directory / "images", self._directory / "sums"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            stored = images.stat().st_blocks * 512 if images.exists() else 0
            free = shutil.disk_usage(self._directory).free
            if size - stored > 0.95 * free:
                raise OSError(f"{free / 2**30:.0f} GiB are free")
            for path, length in ((images, size), (sums, 4 * self.shape[0])):
                with path.open("ab") as file:
                    file.truncate(length)
            self._sums = np.memmap(sums, np.uint32, "r+", shape=self.shape[:1])
            return np.memmap(images, self._dtype, "r+", shape=self.shape)
        except OSError as error:
            log.warning(
                "%.1f GiB of resized images fit neither in memory nor in %s (%s); each is decoded whenever it is drawn",
                size / 2**30,
                self._directory,
                error,
            )
            return None

    def __getitem__(self, numbers: np.ndarray) -> Num[np.ndarray, "k H W C"]:
        """Returns the images with the given numbers.

        Raises:
          InputError: an image cannot be decoded.
        """
        if self._images is None:
            images = [self._named(self._decode, int(i)) for i in numbers]
            return np.stack(images) if images else np.empty((0, *self.shape[1:]), self._dtype)
        for i in np.unique(numbers[~self._ready[numbers]]):
            self._named(self._fetch, int(i))
        return np.asarray(self._images[numbers])

    def _named(self, act: Callable[[int], Any], i: int) -> Any:
        """Does something with an image; names it if it is broken."""
        try:
            return act(i)
        except BrokenImageError as error:
            raise InputError(f"{self._name(i)} cannot be read ({error}); restore it, or leave it out") from None

    def fill(self, numbers: Iterable[int], what: str) -> dict[int, str]:
        """Decodes images ahead of time, with a progress bar.

        Args:
          numbers: numbers of the images.
          what: description for the bar.

        Returns:
          The numbers of broken images, each with the reason.
        """

        def attempt(i):
            try:
                self._decode(i) if self._images is None else self._fetch(i)
            except BrokenImageError as error:
                return i, str(error)
            return i, None

        numbers = list(numbers)
        with ThreadPoolExecutor(THREADS) as pool:
            results = pool.map(attempt, numbers)
            bar = tqdm(results, desc=what, total=len(numbers), unit="image", dynamic_ncols=True)
            return {i: reason for i, reason in bar if reason is not None}

    def _fetch(self, i: int) -> None:
        assert self._images is not None
        if self._sums is None:
            self._images[i] = self._decode(i)
        elif self._sums[i] == 0 or self._sums[i] != _checksum(self._images[i]):
            self._images[i] = self._decode(i)
            self._sums[i] = _checksum(self._images[i])
        self._ready[i] = True


def _checksum(image: np.ndarray) -> int:
    return zlib.crc32(image.tobytes()) or 1  # 0 means that there is none


def fingerprint(*parts: object) -> str:
    """Returns a directory name for the images that these parts describe."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
