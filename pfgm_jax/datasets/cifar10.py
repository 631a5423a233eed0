"""CIFAR-10 (Krizhevsky 2009)."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pfgm_jax.datasets.prepared import Example, Examples, Prepared
from pfgm_jax.downloads import Published
from pfgm_jax.errors import InputError

# Bytes of a member: 10,000 images.
LARGEST = 10_000 * (1 + 3 * 32 * 32)


def _examples(files: list[Path]) -> dict[str, Examples]:
    def examples(members: list[str]) -> Iterator[Example]:
        with tarfile.open(files[0]) as archive:
            for member in members:
                file = archive.extractfile(f"cifar-10-batches-bin/{member}")
                content = file.read(LARGEST + 1) if file else b""
                if not content or len(content) > LARGEST:
                    raise InputError(f"{member} is empty or too large")
                records = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
                for record in records:
                    image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                    yield {"image": Image.fromarray(np.ascontiguousarray(image)), "label": int(record[0])}

    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    return {"train": lambda: examples(train), "test": lambda: examples(["test_batch.bin"])}


CIFAR10 = Prepared(
    name="cifar10",
    files=(
        Published(
            "cifar-10-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    examples=_examples,
    test="test",
    shape=(32, 32, 3),
    encoding="png",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
