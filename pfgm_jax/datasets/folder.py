"""Data sets from a folder of pictures."""

import logging
from pathlib import Path

import numpy as np

from pfgm_jax.datasets.images import BrokenImageError, Geometry, is_picture, own_shape, read_image
from pfgm_jax.datasets.source import Request
from pfgm_jax.datasets.split import Dataset, Split, hold_out
from pfgm_jax.datasets.store import ImageStore, fingerprint
from pfgm_jax.errors import InputError
from pfgm_jax.folders import to_path

log = logging.getLogger("pfgm_jax")


def load(request: Request) -> Dataset:
    """Loads the pictures in the folder that a request names; see `load_folder`."""
    root = to_path(request.argument, "data.dataset")
    return load_folder(root, request.size, request.channels, request.directory / "cache")


def load_folder(root: Path, size: tuple[int, int] | None, channels: int, cache: Path) -> Dataset:
    """Loads the images in a folder and its subfolders, sorted by path.

    Each folder directly below it is a label, in alphabetical order. Images outside these folders have the label -1.
    Unreadable files are skipped, and a warning lists them by name.

    Args:
      root: the folder.
      size: height and width to resize images to; None keeps their own size, if all have the same.
      channels: number of channels of the result; 0 means 1 if all images are grey, 4 if all have opacity, else 3.
      cache: folder for resized images that do not fit in memory.

    Returns:
      The images; every 20th is in the test split.

    Raises:
      InputError: there are no readable images, or their sizes differ and `size` is None.
    """
    where = f"data.dataset is 'folder:{root}'"
    if not root.is_dir():
        raise InputError(f"{where}, and there is no such folder; give the path of one")
    paths = sorted(p for p in root.rglob("*") if is_picture(p) and not _hidden(p.relative_to(root)))
    paths = [p for p in paths if p.is_file()]
    if not paths:
        raise InputError(f"{where}, which holds no images (files such as .png and .jpg); name another folder")
    broken: dict[int, str] = {}
    if size is None or not channels:
        size, channels = _own_geometry(where, paths, size, channels, broken)
    geometry = Geometry(*size, channels)

    files = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    directory = cache / fingerprint("folder", files, geometry)
    store = ImageStore(
        lambda i: read_image(paths[i], geometry), (len(paths), *geometry.shape), directory, lambda i: str(paths[i])
    )
    broken |= store.fill((i for i in range(len(paths)) if i not in broken), f"reading {root}")
    if broken:
        listing = "".join(f"\n  {paths[i].relative_to(root)}: {broken[i]}" for i in sorted(broken))
        log.warning("%d of %d images in %s are skipped:%s", len(broken), len(paths), root, listing)
    good = np.array([i for i in range(len(paths)) if i not in broken], np.int64)
    if len(good) < 2:
        first = f" (the first that cannot: {paths[min(broken)].name})" if broken else ""
        raise InputError(
            f"{where}, and {len(good)} of its {len(paths)} images can be read{first}; at least 2 are needed"
        )
    folders = [p.relative_to(root).parts[0] if p.parent != root else "" for p in paths]
    number = {name: i for i, name in enumerate(sorted(set(folders) - {""}))}
    labels = np.array([number.get(name, -1) for name in folders], np.int32)
    held_out = hold_out(len(good))
    splits = (Split(store, labels[numbers], numbers) for numbers in (good[~held_out], good[held_out]))
    return Dataset(*splits, levels=256)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _own_geometry(
    where: str, paths: list[Path], size: tuple[int, int] | None, channels: int, broken: dict[int, str]
) -> tuple[tuple[int, int], int]:
    """Reads the size and channels of the images from their headers."""
    sizes, kinds = set(), set()
    for i, path in enumerate(paths):
        try:
            *own_size, kind = own_shape(path)
            sizes.add(tuple(own_size))
            kinds.add(kind)
        except BrokenImageError as error:
            broken[i] = str(error)
    if not sizes:
        raise InputError(f"{where}, and none of its {len(paths)} images can be read ({broken[0]}); name another folder")
    if size is None and len(sizes) > 1:
        (h0, w0), (h1, w1) = min(sizes), max(sizes)
        raise InputError(
            f"data.image_size is 0, and {where}, whose images have {len(sizes)} sizes, from {h0} x {w0} to {h1} x {w1};"
            " set it to the size to resize them to"
        )
    return size or min(sizes), channels or (kinds.pop() if len(kinds) == 1 else 3)
