"""Data sets from a folder of pictures."""

import contextlib
import logging
from pathlib import Path

import numpy as np

from pfgm_jax.datasets.deep_images import own_deep_shape, read_deep_image
from pfgm_jax.datasets.images import BrokenImageError, Geometry, is_picture, own_shape, read_image
from pfgm_jax.datasets.source import Request
from pfgm_jax.datasets.split import Dataset, Split, grey_range, hold_out
from pfgm_jax.datasets.store import ImageStore, fingerprint
from pfgm_jax.errors import InputError, listed
from pfgm_jax.folders import to_path

# The folders of a folder of pairs.
EXAMPLES, CONDITIONS = "x", "cond"

log = logging.getLogger("pfgm_jax")


def load(request: Request) -> Dataset:
    """Loads the pictures in the folder that a request names; see `load_folder`.

    A folder with the folders x/ and cond/ holds pairs: those in cond/ condition those of the same name in x/.
    """
    root = to_path(request.argument, "data.dataset")
    conditions = root / CONDITIONS
    pairs = conditions.is_dir() and (root / EXAMPLES).is_dir()
    if pairs and (
        others := [p.name for p in root.iterdir() if p.name not in (EXAMPLES, CONDITIONS) and p.name[0] != "."]
    ):
        raise InputError(
            f"data.dataset is 'folder:{root}', which holds {EXAMPLES}/ and {CONDITIONS}/, whose pictures are pairs, "
            f"and besides {listed(sorted(others))}; move that to another place, or rename these two"
        )
    wanted = request.size, request.channels, request.directory / "cache", request.bits
    return load_folder(root / EXAMPLES, *wanted, conditions) if pairs else load_folder(root, *wanted)


def load_folder(
    root: Path,
    size: tuple[int, int] | None,
    channels: int,
    cache: Path,
    bits: int = 8,
    conditions: Path | None = None,
) -> Dataset:
    """Loads the images in a folder and its subfolders, sorted by path.

    Each folder directly below it is a label, in alphabetical order. Images outside these folders have the label -1.
    Unreadable files are skipped, and a warning lists them by name.

    Args:
      root: the folder.
      size: height and width to resize images to; None keeps their own size, if all have the same.
      channels: number of channels of the result; 0 means 1 if all images are grey, 4 if all have opacity, else 3; of
        more than 8 bits, their own.
      cache: folder for resized images that do not fit in memory.
      bits: of a value; see `Geometry`.
      conditions: folder with an image for each, of the same name but for its ending; None for none. They keep their own
        size where its sides divide those of the result, and are resized to that otherwise.

    Returns:
      The images; every 20th is in the test split.

    Raises:
      InputError: there are no readable images, their sizes differ and `size` is None, or one has no condition.
    """
    where = f"data.dataset is 'folder:{root}'"
    paths = _pictures(root, where)
    broken: dict[int, str] = {}
    store = _open(where, root, paths, size, channels, cache, bits, broken)
    of_conditions = None
    if conditions is not None:
        beside, unread = _conditions(conditions, root, paths, where), dict[int, str]()
        told = f"{where}, with {conditions}"
        own = _sizes(beside, bits)
        height, width = next(iter(own)) if len(own) == 1 else (0, 0)
        keeps = bool(height and width) and not (store.shape[1] % height or store.shape[2] % width)
        wanted = (height, width) if keeps else store.shape[1:3]
        of_conditions = _open(told, conditions, beside, wanted, 0, cache, bits, unread)
        broken |= {i: f"its condition {beside[i]}: {reason}" for i, reason in unread.items() if i not in broken}
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
    splits = (Split(store, labels[numbers], numbers, of_conditions) for numbers in (good[~held_out], good[held_out]))
    levels, lowest = (256, 0) if bits == 8 else (0, 0) if bits == 32 else grey_range(store.__getitem__, good)
    return Dataset(*splits, levels=levels, lowest=lowest)


def _pictures(root: Path, where: str) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"{where}, and there is no such folder; give the path of one")
    paths = sorted(p for p in root.rglob("*") if is_picture(p) and not _hidden(p.relative_to(root)))
    paths = [p for p in paths if p.is_file()]
    if not paths:
        raise InputError(f"{where}, which holds no images (files such as .png and .jpg); name another folder")
    return paths


def _conditions(folder: Path, root: Path, paths: list[Path], where: str) -> list[Path]:
    """Finds the condition of each image."""
    bare = lambda path, of: path.relative_to(of).with_suffix("")
    there = {bare(path, folder): path for path in _pictures(folder, f"{where}, with {folder}")}
    missing = [path for path in paths if bare(path, root) not in there]
    if missing:
        raise InputError(
            f"{where}, and {len(missing)} of its {len(paths)} images have no condition in {folder}, the first is "
            f"{missing[0].relative_to(root)}; add an image of that name there, or leave these out"
        )
    return [there[bare(path, root)] for path in paths]


def _open(
    where: str,
    root: Path,
    paths: list[Path],
    size: tuple[int, int] | None,
    channels: int,
    cache: Path,
    bits: int,
    broken: dict[int, str],
) -> ImageStore:
    """Opens images and reads those that are not yet known to be broken; adds those that are."""
    if size is None or not channels:
        size, channels = _own_geometry(where, paths, size, channels, bits, broken)
    geometry = Geometry(*size, channels, bits=bits)
    read = read_image if bits == 8 else read_deep_image
    files = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    # The folder too: the files of another may have the same names, sizes and times.
    kept_for = (str(root.resolve()), files, geometry)
    shape, directory = (len(paths), *geometry.shape), cache / fingerprint("folder", *kept_for)
    decode, name = lambda i: read(paths[i], geometry), lambda i: str(paths[i])
    store = ImageStore(decode, shape, directory, name, geometry.dtype)
    broken |= store.fill((i for i in range(len(paths)) if i not in broken), f"reading {root}")
    return store


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _sizes(paths: list[Path], bits: int) -> set[tuple[int, int]]:
    """Returns the sizes that images have; those that cannot be read have none."""
    sizes = set()
    for path in paths:
        with contextlib.suppress(BrokenImageError):
            sizes.add((own_shape(path) if bits == 8 else own_deep_shape(path))[:2])
    return sizes


def _own_geometry(
    where: str,
    paths: list[Path],
    size: tuple[int, int] | None,
    channels: int,
    bits: int,
    broken: dict[int, str],
) -> tuple[tuple[int, int], int]:
    """Reads the size and channels of the images, from their headers where they have 8 bits."""
    sizes, kinds = set(), set()
    for i, path in enumerate(paths):
        try:
            *own_size, kind = own_shape(path) if bits == 8 else own_deep_shape(path)
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
    own = (3 if bits == 8 else min(kinds)) if len(kinds) > 1 else min(kinds)
    return size or min(sizes), channels or own
