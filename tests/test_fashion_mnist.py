"""Fashion-MNIST, from small files in its format, and from those of the distribution where they are installed."""

import dataclasses
import gzip
import hashlib
import logging
import shutil
import tracemalloc

import jax
import numpy as np
import pytest

import run_lib
from configs import fashion_mnist
from pfgm_jax import build, datasets, models
from pfgm_jax import config as config_lib
from pfgm_jax.datasets import prepare as prepare_lib
from pfgm_jax.datasets.fashion_mnist import FASHION_MNIST, MOST, _examples, _read_idx
from pfgm_jax.downloads import Content, obtain
from pfgm_jax.errors import InputError
from pfgm_jax.registry import SOURCES
from tests.hostile.case import assert_refused
from tests.servers import serve
from tests.test_fuzzing import fuzz, mutations

COUNTS = {"train": 40, "t10k": 12}


def idx(examples, *, kind=None, count=None, sizes=None):
    """A file of idx format, before it is compressed, whose header may lie."""
    kind = kind or 0x800 + examples.ndim
    header = [kind, len(examples) if count is None else count, *(sizes or examples.shape[1:])]
    return np.array(header, ">u4").tobytes() + examples.tobytes()


def made(part):
    """Images and labels of a part, all classes among them."""
    rng = np.random.default_rng(COUNTS[part])
    images = rng.integers(0, 256, (COUNTS[part], 28, 28), dtype=np.uint8)
    return images, rng.permutation(np.arange(COUNTS[part]) % 10).astype(np.uint8)


def write(folder, contents=None, level=9):
    """Writes the four files; those that are named, without the end of their name, with other contents."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in COUNTS:
        images, labels = made(part)
        for name, examples in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
            content = (contents or {}).get(name, idx(examples))
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(content, level))


@pytest.fixture(autouse=True)
def published(tmp_path_factory, monkeypatch):
    """A data set whose published files are small, are not on the network, and would be packaged in the folder."""
    folder = tmp_path_factory.mktemp("published")
    write(folder)
    files = []
    for file in FASHION_MNIST.files:
        whole = (folder / file.name).read_bytes()
        content = gzip.decompress(whole)
        changes = {
            "url": "http://localhost:9/x",
            "size": len(whole),
            "sha256": hashlib.sha256(whole).hexdigest(),
            "packaged": folder / "package" / file.name,
            "content": Content(len(content), hashlib.sha256(content).hexdigest()),
        }
        files.append(dataclasses.replace(file, **changes))
    ours = dataclasses.replace(FASHION_MNIST, files=tuple(files))
    monkeypatch.setitem(SOURCES._entries, "fashion_mnist", ours)
    return folder, files


def prepare(directory):
    shutil.rmtree(directory / "pfgm_fashion_mnist", ignore_errors=True)
    return prepare_lib.prepare("fashion_mnist", directory)


def assert_comes_back(directory):
    dataset = datasets.load_dataset("fashion_mnist", directory=directory)
    assert dataset.levels == 256 and dataset.shape == (28, 28, 1)
    for split, part in ((dataset.train, "train"), (dataset.test, "t10k")):
        images, labels = made(part)
        np.testing.assert_array_equal(split[:], images[..., None])
        np.testing.assert_array_equal(split.labels, labels)


@pytest.fixture
def told(caplog):
    """The warnings of the project."""
    with caplog.at_level(logging.WARNING, "pfgm_jax"):
        yield lambda: [record.getMessage() for record in caplog.records if record.name == "pfgm_jax"]


def test_it_comes_back_pixel_for_pixel(tmp_path, told):
    write(tmp_path / "downloads" / "manual")
    folder = prepare(tmp_path)
    assert_comes_back(tmp_path)
    assert not told()
    assert (folder / "label.labels.txt").read_text().split("\n")[:3] == ["T-shirt/top", "Trouser", "Pullover"]


def test_its_config_trains_on_it(tmp_path):
    write(tmp_path / "downloads" / "manual")
    prepare(tmp_path)
    config = fashion_mnist.get_config()
    reduced = {"n_iters": 5, "batch_size": 16, "small_batch_size": 4, "snapshot_sampling": False}
    config.training.update(reduced)
    config.data.dir = str(tmp_path)
    whole = config_lib.fill_in(config, build.load_dataset(config))
    params = models.shapes_of_params(models.create_model(whole), build.image_shape(whole))
    assert sum(p.size for p in jax.tree.leaves(params)) == 6_988_162
    # By the perceptron, which compiles in less time.
    config.model.update({"name": "mlp", "nf": 8, "num_res_blocks": 1})
    assert int(run_lib.train(config, tmp_path / "run").step) == 5


def test_files_of_a_package_are_found_and_verified(tmp_path, published, told):
    folder, files = published
    write(folder / "package", level=1)
    assert all(file.packaged.read_bytes() != (folder / file.name).read_bytes() for file in files)
    prepare(tmp_path)
    assert_comes_back(tmp_path)
    assert not list((tmp_path / "downloads").glob("*.gz")) and not told()

    # Other content of the same length, more of it, less, and none at all.
    file = files[0]
    content = bytearray(gzip.decompress(file.packaged.read_bytes()))
    content[-1] ^= 1
    with serve((folder / file.name).read_bytes()) as server:
        local = dataclasses.replace(file, url=f"http://localhost:{server.server_port}/x")
        for i, bad in enumerate((bytes(content), bytes(content) + b"0", bytes(content[:-1]), b"")):
            file.packaged.write_bytes(gzip.compress(bad))
            path = obtain(local, tmp_path / f"{i}")
            assert path == tmp_path / f"{i}" / file.name and path.read_bytes() == server.content
        file.packaged.write_bytes(b"no gzip file")
        obtain(local, tmp_path / "none")
        assert len(server.asked) == len(told()) == 5
    assert all("package/train-images-idx3-ubyte.gz does not have the checksum of the pu" in text for text in told())


def test_where_files_are_not_the_package_is_named(tmp_path):
    with pytest.raises(
        InputError, match="cannot be downloaded from .*; on Debian, apt install dataset-fashion-mnist; or"
    ):
        prepare(tmp_path)


def test_files_of_the_user_may_be_compressed_anew_and_come_first(tmp_path, published, told):
    write(tmp_path / "downloads" / "manual", level=1)
    write(published[0] / "package", {"train-labels-idx1": idx(made("train")[1][::-1])})
    prepare(tmp_path)
    assert_comes_back(tmp_path)
    assert not told()
    write(tmp_path / "downloads" / "manual", {"train-labels-idx1": idx(made("train")[1][::-1])})
    prepare(tmp_path)
    assert [text for text in told() if "manual/train-labels-idx1-ubyte.gz does not have the checksum" in text] == told()
    dataset = datasets.load_dataset("fashion_mnist", directory=tmp_path)
    np.testing.assert_array_equal(dataset.train.labels, made("train")[1][::-1])


IMAGES, LABELS = made("train")
WRONG = {
    "train-images-idx3-ubyte.gz begins with 0x00000801, not with 0x00000803": {"train-images-idx3": idx(LABELS)},
    "t10k-labels-idx1-ubyte.gz begins with 0x00000803, not with 0x00000801": {"t10k-labels-idx1": idx(IMAGES)},
    "train-images-idx3-ubyte.gz begins with 0x03080000, not w": {"train-images-idx3": idx(IMAGES, kind=0x3080000)},
    "train-images-idx3-ubyte.gz ends within its header": {"train-images-idx3": idx(IMAGES)[:15]},
    "train-labels-idx1-ubyte.gz ends within its header": {"train-labels-idx1": b""},
    "has images of 28 x 14 pixels, not 28 x 28": {"train-images-idx3": idx(IMAGES, sizes=(28, 14))},
    "train-images-idx3-ubyte.gz is shorter than its header says": {"train-images-idx3": idx(IMAGES)[:-1]},
    "train-images-idx3-ubyte.gz is longer than its header says": {"train-images-idx3": idx(IMAGES) + b"0"},
    "train-labels-idx1-ubyte.gz is longer than its header says": {"train-labels-idx1": idx(LABELS, count=39)},
    "train-images-idx3-ubyte.gz announces 4294967295 ex": {"train-images-idx3": idx(IMAGES, count=2**32 - 1)},
    "t10k-labels-idx1-ubyte.gz announces 0 examples, and a split has 1 to 60000": {"t10k-labels-idx1": idx(LABELS[:0])},
    "train-images-idx3-ubyte.gz has 40 images, and train-la": {"train-labels-idx1": idx(LABELS[1:])},
    "label number 1 of train-labels-idx1-ubyte.gz is 10, and labels end at 9": {
        "train-labels-idx1": idx(np.concatenate([LABELS[:1], np.full(39, 10, np.uint8)]))
    },
}


@pytest.mark.parametrize("reason", WRONG)
def test_wrong_content_is_refused(tmp_path, reason):
    write(tmp_path / "downloads" / "manual", WRONG[reason])
    assert_refused(lambda: prepare(tmp_path), "fashion_mnist cannot be built from ", f"{reason}", "; download them")
    assert not list((tmp_path / "pfgm_fashion_mnist").glob("1.*"))


def test_files_that_expand_are_not_expanded(tmp_path, published):
    folder, (file, *_) = published
    bomb = gzip.compress(idx(IMAGES) + bytes(100 << 20))
    write(folder / "package")
    for path in (file.packaged, tmp_path / file.name):
        path.write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="is longer than its header says"):
            _read_idx(tmp_path / file.name, (28, 28))
        with pytest.raises(InputError, match="cannot be downloaded"):
            obtain(file, tmp_path / "downloads")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_damaged_files_are_refused(tmp_path):
    whole = gzip.compress(idx(IMAGES[:3]))
    read = lambda path: _read_idx(path, (28, 28))
    assert fuzz(mutations(whole, 28, 60), tmp_path / "images.gz", read) > 30
    # Each byte of the header, which a checksum would give away too late.
    plain = idx(IMAGES[:3])
    flipped = (plain[:i] + bytes([plain[i] ^ 1]) + plain[i + 1 :] for i in range(16))
    assert fuzz(flipped, tmp_path / "header.gz", read, gzip.compress) == 16


@pytest.mark.skipif(
    not all(file.packaged and file.packaged.is_file() for file in FASHION_MNIST.files),
    reason="the package dataset-fashion-mnist is not installed",
)
def test_the_files_of_debian_are_the_published_ones(tmp_path, told):
    files = [obtain(dataclasses.replace(file, url="http://localhost:9/x"), tmp_path) for file in FASHION_MNIST.files]
    assert files == [file.packaged for file in FASHION_MNIST.files] and not told()
    for split, count in (("train", MOST), ("test", 10_000)):
        labels = np.array([example["label"] for example in _examples(files)[split]()])
        assert np.bincount(labels).tolist() == [count // 10] * 10
    first = next(_examples(files)["train"]())
    assert FASHION_MNIST.classes[first["label"]] == "Ankle boot"
    pixels = gzip.decompress(files[0].read_bytes())[16 : 16 + 28 * 28]
    assert np.asarray(first["image"]).tobytes() == pixels
