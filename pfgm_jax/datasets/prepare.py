"""Makes data sets from the files that their authors publish, without TensorFlow.

Each becomes one of tensorflow-datasets' in array_record format, which appears in its place when it is whole: an
interrupted preparation is begun again, with the files that were downloaded.
"""

import importlib.util
import io
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from pfgm_jax.datasets.prepared import NAMES, VERSION, prepared_path
from pfgm_jax.downloads import Published, obtain
from pfgm_jax.errors import InputError

log = logging.getLogger("pfgm_jax")

Example = dict[str, Any]


_QUOTA = "; Google Drive often refuses it because too many have asked: try on another day, or with a browser"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_RAW = {
    "cifar10": (
        Published(
            "cifar-10-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    "celeba": (
        Published(
            "img_align_celeba.zip",
            f"{_DRIVE}0B7EVK8r0v71pZjFTYXZWM3FlRnM",
            1_443_490_838,
            "46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
            _QUOTA,
        ),
        Published(
            "list_eval_partition.txt",
            f"{_DRIVE}0B7EVK8r0v71pY0NSMzRuSXJEVkk",
            2_836_386,
            "fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7",
            _QUOTA,
        ),
    ),
    "lsun_bedroom": (
        Published(
            "bedroom_train_lmdb.zip",
            "http://dl.yf.io/lsun/scenes/bedroom_train_lmdb.zip",
            45_922_737_680,
            "a15644c2e7153106867f0adb3491fc41224102d1f01b24494fb47d9f5d1f174e",
        ),
        Published(
            "bedroom_val_lmdb.zip",
            "http://dl.yf.io/lsun/scenes/bedroom_val_lmdb.zip",
            4_670_661,
            "5d022e781b241c25ec2e1f1f769afcdb8091d7fd58362667aec03137b8114b12",
        ),
    ),
}


def prepare(name: str, directory: Path) -> Path:
    """Makes a data set, from files in `directory`/downloads/manual or from the network.

    Args:
      name: one of `NAMES`.
      directory: of all data sets.

    Returns:
      The folder of the data set.

    Raises:
      InputError: there is no such data set, a file cannot be had, or it is not what it should be.
    """
    if name not in NAMES:
        raise InputError(f"there is no data set {name!r} to prepare; choose one of {', '.join(NAMES)}")
    path = prepared_path(name, directory)
    if (path / "dataset_info.json").is_file():
        log.info("%s is prepared in %s", name, path)
        return path
    if name == "lsun_bedroom" and importlib.util.find_spec("lmdb") is None:
        # Said before gigabytes are downloaded.
        raise InputError("preparing lsun_bedroom needs the package lmdb, which is not installed: run pip install lmdb")
    splits = _SPLITS[name]([obtain(raw, directory / "downloads") for raw in _RAW[name]])
    for left_over in path.parent.glob("incomplete.*"):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        _build(name, directory, splits)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        files = ", ".join(raw.name for raw in _RAW[name])
        raise InputError(
            f"{name} cannot be made from {files} in {directory}/downloads ({error}); get them anew"
        ) from None
    log.info("%s is prepared in %s", name, path)
    return path


def _build(name: str, directory: Path, splits: dict[str, Callable[[], Iterator[Example]]]) -> None:
    import tensorflow_datasets as tfds

    has_labels = name == "cifar10"
    shape = (32, 32, 3) if name == "cifar10" else (None, None, 3)
    encoding = "png" if name == "cifar10" else "jpeg"

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        def _info(self):
            features: dict[str, Any] = {"image": tfds.features.Image(shape=shape, encoding_format=encoding)}
            if has_labels:
                features["label"] = tfds.features.ClassLabel(names=CIFAR10_CLASSES)
            # Examples are drawn in an order of our own.
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{name}, from the files that its authors publish",
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(examples) for split, examples in splits.items()}

        def _generate_examples(self, examples):
            yield from enumerate(examples())

    Builder.name = f"pfgm_{name}"
    Builder.VERSION = tfds.core.Version(VERSION)
    Builder(data_dir=directory, file_format="array_record").download_and_prepare()


CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def _cifar10(files: list[Path]) -> dict[str, Callable[[], Iterator[Example]]]:
    def examples(members: list[str]) -> Iterator[Example]:
        with tarfile.open(files[0]) as archive:
            for member in members:
                file = archive.extractfile(f"cifar-10-batches-bin/{member}")
                if file is None:
                    raise ValueError(f"{member} is missing")
                records = np.frombuffer(file.read(), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
                for record in records:
                    image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                    yield {"image": Image.fromarray(np.ascontiguousarray(image)), "label": int(record[0])}

    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    return {"train": lambda: examples(train), "test": lambda: examples(["test_batch.bin"])}


def _celeba(files: list[Path]) -> dict[str, Callable[[], Iterator[Example]]]:
    images, partition = files

    def examples(number: str) -> Iterator[Example]:
        with zipfile.ZipFile(images) as archive:
            for line in partition.read_text().splitlines():
                name, part = line.split()
                if part == number:
                    yield {"image": archive.open(f"img_align_celeba/{name}")}

    numbers = {"train": "0", "validation": "1", "test": "2"}
    return {split: lambda number=number: examples(number) for split, number in numbers.items()}


def _lsun(files: list[Path]) -> dict[str, Callable[[], Iterator[Example]]]:
    import lmdb

    def examples(file: Path) -> Iterator[Example]:
        folder = file if file.is_dir() else _extract(file)
        try:
            with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
                for _, content in transaction.cursor():
                    yield {"image": io.BytesIO(content)}
        except lmdb.Error as error:
            raise ValueError(f"{folder}: {error}") from None

    return {"train": lambda: examples(files[0]), "validation": lambda: examples(files[1])}


_SPLITS = {"cifar10": _cifar10, "celeba": _celeba, "lsun_bedroom": _lsun}


def _extract(file: Path) -> Path:
    """The folder of the data base in a zip file, beside it; whole or absent."""
    folder = file.with_suffix("")
    if not folder.is_dir():
        partial = folder.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(file) as archive:
            for member in tqdm(archive.infolist(), desc=f"extracting {file.name}", unit="file"):
                archive.extract(member, partial)
        (partial / folder.name).rename(folder)
        shutil.rmtree(partial)
    return folder
