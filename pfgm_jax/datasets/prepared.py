"""Reads image data sets in the format of tensorflow-datasets from disk, without TensorFlow."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pfgm_jax.datasets.images import BrokenImageError, Geometry, read_image
from pfgm_jax.datasets.source import Request
from pfgm_jax.datasets.split import Dataset, Split, hold_out
from pfgm_jax.datasets.store import ImageStore, fingerprint
from pfgm_jax.downloads import Published
from pfgm_jax.errors import InputError, listed
from pfgm_jax.reading import read_arrays, reason

VERSION = "1.0.0"


Example = dict[str, Any]
Examples = Callable[[], Iterator[Example]]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A `Source` that `python -m pfgm_jax.datasets prepare` builds from published files.

    Attributes:
      name: its name in `data.dataset`.
      files: the files that its authors publish.
      examples: reads the examples of each split, by its name, from these files.
      test: the split that is held out.
      shape: shape of an image; None for axes that vary.
      encoding: format that images are stored in, png or jpeg.
      classes: names of the labels; () for none.
      crop, filter: see `Geometry`; the same as in the authors' release.
      needs: additional packages that it requires, by their names on PyPI.
    """

    name: str
    files: tuple[Published, ...]
    examples: Callable[[list[Path]], dict[str, Examples]]
    test: str
    shape: tuple[int | None, int | None, int] = (None, None, 3)
    encoding: str = "jpeg"
    classes: tuple[str, ...] = ()
    crop: int | None = None
    filter: str = "bicubic"
    needs: tuple[str, ...] = ()

    def __call__(self, request: Request) -> Dataset:
        """Loads the data set; see `Source`."""
        builder = _own_builder(self.name, request.directory)
        return _load(request, builder, self.test, self.crop, self.filter)


def prepared_path(name: str, directory: Path) -> Path:
    """Returns the folder of a `Prepared` data set; if the folder exists, the data set in it is complete."""
    return directory / f"pfgm_{name}" / VERSION


def load_tfds(request: Request) -> Dataset:
    """Loads an image data set that tensorflow-datasets has prepared.

    Raises:
      InputError: it is not prepared, has no images, or its images differ in size and the request has none.
    """
    builder = _builder(request.argument, request.directory)
    test = next((split for split in ("test", "validation") if split in builder.info.splits), "")
    return _load(request, builder, test)


def _load(request: Request, builder: Any, test: str, crop: int | None = None, filter: str = "bicubic") -> Dataset:
    """Loads a prepared image data set.

    Args:
      request: what to load.
      builder: builder of tensorflow-datasets.
      test: the split that is held out; "" for every 20th training example.
      crop, filter: see `Geometry`.
    """
    what, size = f"data.dataset is {request.name!r}", request.size
    features, splits = dict(builder.info.features.items()), builder.info.splits
    image = features.get("image")
    if image is None or len(image.shape) != 3 or "train" not in splits:
        raise InputError(f"{what}, which has no images called 'image' or no split 'train'; choose another data set")
    if size is None:
        if None in image.shape[:2]:
            raise InputError(f"data.image_size is 0, and {what}, whose images have several sizes; set it")
        size = (image.shape[0], image.shape[1])
    # A data set that was prepared again does not match the cache.
    made = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(Path(builder.data_path).iterdir())]
    geometry = Geometry(*size, request.channels or image.shape[2], crop, filter)

    def load(split: str) -> tuple[ImageStore, np.ndarray]:
        source = _open(builder, split, what)
        cache = request.directory / "cache" / fingerprint(made, split, geometry)
        name = f"image number {{}} of {request.name}, {split}".format
        store = ImageStore(lambda i: _decode(source, i, geometry), (len(source), *geometry.shape), cache, name)
        return store, _labels(features, source, cache / "labels.npy", what)

    train, labels = load("train")
    if test:
        return Dataset(Split(train, labels), Split(*load(test)), levels=256)
    held_out = hold_out(train.shape[0])
    parts = (np.flatnonzero(part) for part in (~held_out, held_out))
    return Dataset(*(Split(train, labels[part], part) for part in parts), levels=256)


def _decode(source: Any, i: int, geometry: Geometry) -> np.ndarray:
    try:
        image = source[i]["image"]
    except Exception as error:  # a damaged file can fail in any way
        raise BrokenImageError(reason(error)) from None
    if isinstance(image, bytes):
        return read_image(image, geometry)
    from PIL import Image

    return geometry.apply(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image))


def _own_builder(name: str, directory: Path) -> Any:
    import tensorflow_datasets as tfds

    path = prepared_path(name, directory)
    if not (path / "dataset_info.json").is_file():
        raise InputError(
            f"data.dataset is {name!r}, which is not prepared in {directory}; run python -m pfgm_jax.datasets prepare "
            f"{name}, or name its folder in data.dir"
        )
    try:
        return tfds.builder_from_directory(path)
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(
            f"data.dataset is {name!r}, whose description in {path} cannot be read ({reason(error)}); delete that "
            "folder and prepare it again"
        ) from None


def _builder(name: str, directory: Path) -> Any:
    import tensorflow_datasets as tfds

    cure = (
        f"prepare it with tensorflow-datasets (tfds build {name} --file_format=array_record --data_dir={directory}),"
        " or name its folder in data.dir"
    )
    try:
        builder = tfds.builder(name, data_dir=directory, try_gcs=False)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError, ImportError) as error:
        why = listed([re.split(r"[.\n]", str(error))[0]])
        raise InputError(
            f"data.dataset is 'tfds:{name}', which cannot be opened in {directory} ({why}); {cure}"
        ) from None
    if not builder.is_prepared():
        raise InputError(f"data.dataset is 'tfds:{name}', which is not prepared in {directory}; {cure}")
    return builder


def _open(builder: Any, split: str, what: str) -> Any:
    """Opens the examples of a split, with images left encoded."""
    import tensorflow_datasets as tfds

    try:
        source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        len(source)  # opens the files
        return source
    except NotImplementedError:
        raise InputError(f"{what}, which was not prepared as array_record; prepare it with --file_format=array_record")
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"{what}, whose split {split} cannot be read ({reason(error)}); prepare it again") from None


def _labels(features: dict[str, Any], source: Any, path: Path, what: str) -> np.ndarray:
    """Returns the labels of all examples, cached in a file because each is stored in a record beside its image."""
    import tensorflow_datasets as tfds

    if not isinstance(features.get("label"), tfds.features.ClassLabel):
        return np.full(len(source), -1, np.int32)
    with contextlib.suppress(FileNotFoundError, InputError):
        cached = read_arrays(path, str(path), "it is made again")
        if isinstance(cached, np.ndarray) and cached.shape == (len(source),) and cached.dtype == np.int32:
            return cached
    try:
        labels = np.array([source[i]["label"] for i in range(len(source))], np.int32)
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"{what}, whose labels cannot be read ({reason(error)}); prepare it again") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, labels)
    temporary.replace(path)
    return labels
