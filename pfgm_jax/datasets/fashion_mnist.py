"""Fashion-MNIST (Xiao et al. 2017): articles of clothing in 28 x 28 grey pixels."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pfgm_jax.datasets.prepared import Example, Examples, Prepared
from pfgm_jax.downloads import Content, Published
from pfgm_jax.errors import InputError

# The numbers that idx files of bytes begin with, by the number of axes.
MAGIC = {1: 0x801, 3: 0x803}
SIDE = 28
# Examples of a split.
MOST = 60_000

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
# Of Debian's package dataset-fashion-mnist.
_PACKAGED = Path("/usr/share/datasets/fashion-mnist")
_TROUBLE = "; on Debian, apt install dataset-fashion-mnist"


def _published(name: str, size: int, sha256: str, content: Content) -> Published:
    return Published(name, f"{_ADDRESS}/{name}", size, sha256, _TROUBLE, _PACKAGED / name, content)


def _examples(files: list[Path]) -> dict[str, Examples]:
    def examples(images: Path, labels: Path) -> Iterator[Example]:
        pixels, classes = _read_idx(images, (SIDE, SIDE)), _read_idx(labels, ())
        if len(pixels) != len(classes):
            raise InputError(f"{images.name} has {len(pixels)} images, and {labels.name} {len(classes)} labels")
        if classes.max() >= len(CLASSES):
            first = int(np.argmax(classes >= len(CLASSES)))
            raise InputError(
                f"label number {first} of {labels.name} is {classes[first]}, and labels end at {len(CLASSES) - 1}"
            )
        for image, label in zip(pixels, classes, strict=True):
            yield {"image": Image.fromarray(image), "label": int(label)}

    return {"train": lambda: examples(*files[:2]), "test": lambda: examples(*files[2:])}


def _read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Reads a compressed file of idx format: the kind, the size of each axis, then a byte a number.

    Args:
      path: of the file.
      shape: of an example.

    Returns:
      uint8 [n, *shape], with n > 0.

    Raises:
      InputError: the file is damaged, or of something else.
    """
    axes, each = 1 + len(shape), int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            header = file.read(4 * (1 + axes))
            if len(header) < 4 * (1 + axes):
                raise InputError(f"{path.name} ends within its header")
            kind, count, *sizes = (int(number) for number in np.frombuffer(header, ">u4"))
            if kind != MAGIC[axes]:
                raise InputError(f"{path.name} begins with {kind:#010x}, not with {MAGIC[axes]:#010x}")
            if tuple(sizes) != shape:
                shown = " x ".join(map(str, sizes))
                raise InputError(f"{path.name} has images of {shown} pixels, not {' x '.join(map(str, shape))}")
            if not 1 <= count <= MOST:
                raise InputError(f"{path.name} announces {count} examples, and a split has 1 to {MOST}")
            # No more is decompressed, whatever the file expands to.
            content = file.read(count * each + 1)
    except (OSError, EOFError, zlib.error):
        raise InputError(f"{path.name} is not a whole gzip file") from None
    if len(content) != count * each:
        is_longer = len(content) > count * each
        raise InputError(f"{path.name} is {'longer' if is_longer else 'shorter'} than its header says")
    return np.frombuffer(content, np.uint8).reshape(count, *shape)


FASHION_MNIST = Prepared(
    name="fashion_mnist",
    files=(
        _published(
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            Content(47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        ),
        _published(
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            Content(60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        ),
        _published(
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            Content(7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        ),
        _published(
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            Content(10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
    ),
    examples=_examples,
    test="test",
    shape=(SIDE, SIDE, 1),
    encoding="png",
    classes=CLASSES,
)
