"""CelebA (Liu et al. 2015), aligned and cropped as in the authors' release."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from pfgm_jax.datasets.prepared import Example, Examples, Prepared
from pfgm_jax.downloads import Published
from pfgm_jax.errors import InputError

_QUOTA = "; Google Drive often refuses it because of too many requests: try on another day, or with a browser"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="

# Bytes of an image.
LARGEST = 1 << 22


def _examples(files: list[Path]) -> dict[str, Examples]:
    images, partition = files

    def examples(number: str) -> Iterator[Example]:
        with zipfile.ZipFile(images) as archive:
            for line in partition.read_text().splitlines():
                name, part = line.split()
                if part == number:
                    if archive.getinfo(f"img_align_celeba/{name}").file_size > LARGEST:
                        raise InputError(f"{name} is too large")
                    yield {"image": archive.open(f"img_align_celeba/{name}")}

    numbers = {"train": "0", "validation": "1", "test": "2"}
    return {split: lambda number=number: examples(number) for split, number in numbers.items()}


CELEBA = Prepared(
    name="celeba",
    files=(
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
    examples=_examples,
    test="validation",
    crop=140,
    filter="bilinear",
)
