"""Builds data sets from the files that their authors publish, without TensorFlow.

Each becomes a data set of tensorflow-datasets in array_record format, which appears in its place once it is complete.
An interrupted preparation starts over, but keeps the files that were downloaded.
"""

import importlib.util
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pfgm_jax.datasets.prepared import VERSION, Example, Examples, Prepared, prepared_path
from pfgm_jax.downloads import obtain
from pfgm_jax.errors import InputError
from pfgm_jax.reading import reason
from pfgm_jax.registry import SOURCES

log = logging.getLogger("pfgm_jax")


def prepare(name: str, directory: Path) -> Path:
    """Builds a data set from files in `directory`/downloads/manual, of a package of the system, or from the network.

    Args:
      name: name of a `Prepared` source.
      directory: folder of all data sets.

    Returns:
      The folder of the data set.

    Raises:
      InputError: there is no such data set, or a file cannot be obtained or is not the published one.
    """
    source = SOURCES.get(name)
    if not isinstance(source, Prepared):
        known = [other for other in SOURCES if isinstance(SOURCES[other], Prepared)]
        raise InputError(f"there is no data set {name!r} to prepare; choose one of {', '.join(known)}")
    path = prepared_path(name, directory)
    if (path / "dataset_info.json").is_file():
        log.info("%s is prepared in %s", name, path)
        return path
    for package in source.needs:
        # Checked before gigabytes are downloaded.
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"preparing {name} needs the package {package}, which is not installed: run pip install {package}"
            )
    splits = source.examples([obtain(file, directory / "downloads") for file in source.files])
    for left_over in path.parent.glob("incomplete.*"):
        shutil.rmtree(left_over, ignore_errors=True)
    failures: list[Exception] = []
    try:
        _build(source, directory, {split: _watched(examples, failures) for split, examples in splits.items()})
    except Exception:
        if not failures:
            raise
        files = ", ".join(file.name for file in source.files)
        raise InputError(
            f"{name} cannot be built from {files} in {directory}/downloads ({reason(failures[0])}); download them again"
        ) from None
    log.info("%s is prepared in %s", name, path)
    return path


def _watched(examples: Examples, failures: list[Exception]) -> Examples:
    """Returns examples that note why their files cannot be read, which can be anything, and goes through libraries."""

    def watched() -> Iterator[Example]:
        try:
            yield from examples()
        except Exception as error:
            failures.append(error)
            raise

    return watched


def _build(source: Prepared, directory: Path, splits: dict[str, Examples]) -> None:
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        def _info(self):
            image = tfds.features.Image(shape=source.shape, encoding_format=source.encoding)
            features: dict[str, Any] = {"image": image}
            if source.classes:
                features["label"] = tfds.features.ClassLabel(names=list(source.classes))
            # No shuffling here: the pipeline has its own order.
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{source.name}, from the files that its authors publish",
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(examples) for split, examples in splits.items()}

        def _generate_examples(self, examples):
            yield from enumerate(examples())

    Builder.name = f"pfgm_{source.name}"
    Builder.VERSION = tfds.core.Version(VERSION)
    Builder(data_dir=directory, file_format="array_record").download_and_prepare()
