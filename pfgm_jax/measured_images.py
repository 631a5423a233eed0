"""Images that a config names: those whose likelihoods are measured, or that are restored."""

from typing import Any, NamedTuple

import ml_collections
import numpy as np

from pfgm_jax import arguments, build, datasets, given
from pfgm_jax.datasets.arrays import read_examples
from pfgm_jax.errors import InputError, shown
from pfgm_jax.folders import to_path
from pfgm_jax.metrics.image_files import PictureFolder

# Number of images that are hashed, evenly spaced.
HASHED = 4096


class MeasuredImages(NamedTuple):
    """Images, and where they come from.

    Attributes:
      images: in stored form.
      files: the file of each, below the folder that was named; None where they are no files.
      record: describes them by their number and a hash of at most `HASHED` of them.
    """

    images: np.ndarray | datasets.Split
    files: tuple[str, ...] | None
    record: dict[str, Any]


def load_images(config: ml_collections.ConfigDict) -> MeasuredImages:
    """Loads the images that `eval.bpd_dataset` names, the first `eval.num_images` of them.

    Raises:
      InputError: there are none, one cannot be read, or the model does not accept them.
    """
    name, count = config.eval.bpd_dataset, config.eval.num_images or None
    images, files = named_images(config, name, count, "eval.bpd_dataset")
    record = {"images": name, "count": len(images), "hash": datasets.content_hash(images, HASHED)}
    if build.takes_labels(config) or config.data.condition_channels:
        record["given"] = given.hash_of(images) if isinstance(images, datasets.Split) else ""
    return MeasuredImages(images, files, record)


def named_images(
    config: ml_collections.ConfigDict, name: str, count: int | None, field: str
) -> tuple[np.ndarray | datasets.Split, tuple[str, ...] | None]:
    """Loads images of a model in stored form, and the file of each if they come from files.

    Args:
      config: of the model, whose fields are filled in.
      name: test, train, folder:PATH or arrays:PATH.
      count: the first so many; None for all.
      field: of the config that names them, for messages.

    Raises:
      InputError: there are none, one cannot be read, or the model does not accept them.
    """
    if name in ("test", "train"):
        dataset = build.load_dataset(config)
        check_data_of_model(config, dataset)
        split = getattr(dataset, name)
        return split if count is None else split.first(count), None
    images, files = read_images(config, name, count, field)
    shape = build.image_shape(config)
    if images.shape[1:] != shape:
        path = name.partition(":")[2]
        raise InputError(f"{field} names {path}, whose images have shape {images.shape[1:]}; the model's have {shape}")
    stored = arguments.to_images(images[:], shape, build.create_scaling(config))
    if not isinstance(images, datasets.Split):
        return stored, files
    given.check_examples(config, images)
    return images, files


def read_images(
    config: ml_collections.ConfigDict, name: str, count: int | None, field: str
) -> tuple[np.ndarray | datasets.Split, tuple[str, ...] | None]:
    """Reads images of any size from files, as they are, and the file of each if it has one.

    Args:
      config: of a model, whose fields are filled in.
      name: folder:PATH or arrays:PATH.
      count, field: see `named_images`.

    Raises:
      InputError: there are none, one cannot be read, or pictures have fewer bits than the model's images.
    """
    kind, _, path = name.partition(":")
    dtype = build.create_scaling(config).stored_dtype
    if kind == "folder" and path and dtype != np.uint8:
        raise InputError(
            f"{field} names {path}, whose pictures are read in 8 bits, but the model has {dtype}; give arrays:PATH"
        )
    if kind == "folder" and path:
        # What is measured refers to the original images, so images of another size are not resized.
        pictures = PictureFolder(to_path(path, field))
        return pictures[:count], pictures.files[:count]
    if kind == "arrays" and path:
        examples = read_examples(to_path(path, field), f"{field} names {path}")
        return examples.split(np.arange(examples.x.shape[0])[:count]), None
    raise InputError(f"{field} is {shown(name)}; choose test, train, folder:PATH or arrays:PATH")


def check_data_of_model(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> None:
    """Checks that a data set holds what the model was trained on.

    Raises:
      InputError: its examples have another shape, or other grey levels.
    """

    def told(shape: tuple[int, int, int], levels: int, lowest: int) -> str:
        begin = f" from {lowest} on" if lowest else ""
        return f"{' x '.join(map(str, shape))} with {levels or 'no'} grey levels{begin}"

    shape, levels, lowest = build.image_shape(config), config.data.levels, config.data.lowest
    if shape != dataset.shape or not dataset.fits(levels, lowest):
        raise InputError(
            f"data.dataset is {shown(config.data.dataset)}, whose examples are "
            f"{told(dataset.shape, dataset.levels, dataset.lowest)}; the model's are {told(shape, levels, lowest)}: "
            "choose data of that kind"
        )
    given.check_examples(config, dataset.test)
