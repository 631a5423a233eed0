"""LSUN (Yu et al. 2015)."""

import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from pfgm_jax.datasets.prepared import Example, Examples, Prepared
from pfgm_jax.downloads import Published
from pfgm_jax.errors import InputError


def _examples(files: list[Path]) -> dict[str, Examples]:
    import lmdb

    def examples(file: Path) -> Iterator[Example]:
        folder = file if file.is_dir() else _extract(file)
        try:
            with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
                for _, content in transaction.cursor():
                    yield {"image": io.BytesIO(content)}
        except lmdb.Error:
            raise InputError(f"{folder} is no such database") from None

    return {"train": lambda: examples(files[0]), "validation": lambda: examples(files[1])}


def _extract(file: Path) -> Path:
    """Extracts the database in a zip file to a folder beside it, which appears once it is complete."""
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


BEDROOM = Prepared(
    name="lsun_bedroom",
    files=(
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
    examples=_examples,
    test="validation",
    needs=("lmdb",),
)
