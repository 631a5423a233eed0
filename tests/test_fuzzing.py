"""Damaged files of every format that is read: only the project's own errors come out, of one sentence each.

Each test changes a good file in random ways of a fixed seed: bits flipped, bytes replaced, parts cut out, doubled or
put in, numbers of a header made huge. What then still reads is no failure.
"""

import io
import json
import shutil
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pfgm_jax import config, config_files, datasets, defaults, kept_steps, pieces, results
from pfgm_jax.datasets import prepare as prepare_lib
from pfgm_jax.errors import InputError
from pfgm_jax.metrics.image_files import PictureFolder, array_names, read_array
from pfgm_jax.metrics.statistics import collect_statistics, load_statistics, save_statistics
from pfgm_jax.metrics.weights import load_weights
from pfgm_jax.torch_file import read_torch_file
from pfgm_jax.training.writers import _lines_until
from tests import raw_files, torch_format
from tests.hostile.case import assert_sentence

# Mutations of a format, and seconds after which no more are tried.
COUNT, SECONDS = 150, 2.0
# So many are tried however long they take.
FEWEST = 20
HUGE = (
    "99999999999999999999",
    "1e999",
    "-1",
    "9" * 400,
    "()",
    "null",
    "(" * 300,
    "[" * 3000,
    "\0",
    "\ud7ff",
    "'",
    "{}",
)


def mutations(whole: bytes, seed: int, count: int):
    """Yields damaged versions of a file."""
    random = np.random.default_rng(seed)
    yield from (b"", whole[:1], whole[: len(whole) // 2], whole + whole, bytes(len(whole)))
    for _ in range(count):
        content = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            # Headers are at either end.
            place = int(random.integers(0, len(content)) * random.choice([0.02, 0.2, 1]))
            place = place if random.random() < 0.7 else len(content) - 1 - place
            place, length = max(place, 0), int(random.integers(1, 9))
            match random.integers(6):
                case 0:
                    content[place] ^= 1 << int(random.integers(8))
                case 1:
                    content[place : place + length] = random.bytes(length)
                case 2:
                    del content[place : place + length]
                case 3:
                    content[place:place] = content[place : place + 4 * length]
                case 4:
                    content[place : place + length] = b"\xff" * length
                case _:
                    content[place : place + length] = str(random.choice(HUGE)).encode()
            content = content or bytearray(b"\0")
        yield bytes(content)


def with_json_mutations(values, seed: int, count: int):
    """Yields damaged versions of JSON: of its text, and of single values."""
    yield from mutations(json.dumps(values).encode(), seed, count // 2)
    yield from (b"null", b"[]", b"3", b'"x"', b"{}", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"\xff\xfe{}")
    random = np.random.default_rng(seed)
    odd = [None, [], {}, "x", 1e300, -1, 2.5, True, float("nan"), 10**30, [[[]]], {"a": {"b": 1}}, "é\ud7ff"]
    for _ in range(count // 2):
        copy = json.loads(json.dumps(values))
        place = copy
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = keys[int(random.integers(len(keys)))]
            if not isinstance(place[key], dict | list) or not place[key] or random.random() < 0.2:
                place[key] = odd[int(random.integers(len(odd)))]
                break
            place = place[key]
        yield json.dumps(copy).encode()


def fuzz(contents, path: Path, read, rewrite=lambda content: content) -> int:
    """Reads every content; returns how many were refused."""
    until, refused = time.monotonic() + SECONDS, 0
    for number, content in enumerate(contents):
        path.write_bytes(rewrite(content))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
        except InputError as error:
            assert_sentence(str(error))
            refused += 1
        except Exception as error:
            raise AssertionError(f"mutation {number}: {type(error).__name__}: {error}") from error
        if time.monotonic() > until and number >= FEWEST:
            break
    return refused


def array_file(kind: str, array) -> bytes:
    buffer = io.BytesIO()
    {"npy": np.save, "npz": np.savez, "compressed": np.savez_compressed}[kind](buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_arrays_of_data_sets(tmp_path, kind):
    whole = array_file(kind, np.zeros((9, 4, 4, 3), np.uint8))
    read = lambda path: datasets.load_dataset(f"arrays:{path}")
    assert fuzz(mutations(whole, 0, COUNT), tmp_path / "data", read) > 10


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_headers_of_arrays(tmp_path, kind):
    # A mutation of the header alone, in an archive whose checksums are right.
    def rewrite(content):
        if kind == "npy":
            return content
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("samples.npy", content)
        return buffer.getvalue()

    whole = array_file("npy", np.zeros((3, 4), np.float32))[:140]
    read = lambda path: datasets.load_dataset(f"arrays:{path}")
    assert fuzz(mutations(whole, 1, 3 * COUNT), tmp_path / "data", read, rewrite) > 10


def test_arrays_of_images_for_metrics(tmp_path):
    whole = array_file("npz", np.zeros((9, 4, 4, 3), np.uint8))
    path = tmp_path / "images.npz"
    assert fuzz(mutations(whole, 2, COUNT), path, lambda path: (array_names(path), read_array(path))) > 10


def test_arrays_of_every_type_and_shape(tmp_path):
    arrays = [
        np.array(v) for v in (3, 2.5, "text", True, 1j, b"bytes", [], [[]], ["a", "b"], [1, 2], [[1.5, 2], [3, 4]])
    ]
    arrays += [np.zeros((2, 3), [("a", "f4"), ("b", "i2")]), np.zeros((4, 0, 3)), np.array(["2020-01-01"], "M8[D]")]
    arrays += [
        np.zeros((1,) * 20),
        np.full((2, 4, 4, 3), 255, np.uint8),
        np.full((3, 2), 1e300),
        np.zeros((3, 2), "f2"),
    ]
    for array in arrays:
        for kind in ("npy", "npz"):
            path = tmp_path / f"a.{kind}"
            whole = [array_file(kind, array)]
            fuzz(whole, path, lambda path: datasets.load_dataset(f"arrays:{path}"))
            fuzz(whole, path, read_array)
        for name in ("mu", "sigma", "count", "features", "record", "pool_3"):
            held = {"mu": np.zeros(2), "sigma": np.eye(2), name: array}
            np.savez(tmp_path / "s.npz", allow_pickle=False, **held)
            fuzz([(tmp_path / "s.npz").read_bytes()], tmp_path / "t.npz", lambda path: load_statistics(path, {"a": 1}))


def test_statistics(tmp_path):
    made = collect_statistics([np.random.default_rng(0).normal(size=(20, 3))], record={"split": "train"})
    save_statistics(tmp_path / "good.npz", made)
    whole = (tmp_path / "good.npz").read_bytes()
    read = lambda path: load_statistics(path, {"split": "train"})
    assert fuzz(mutations(whole, 3, COUNT), tmp_path / "bad.npz", read) > 10


def test_config_of_a_run(tmp_path):
    values = config_files.to_dict(defaults.get_config())

    def read(path):
        config.validate(config_files.read(path.parent))

    assert fuzz(with_json_mutations(values, 4, 2 * COUNT), tmp_path / "config.json", read) > 10


def test_record_of_kept_steps(tmp_path):
    read = lambda path: kept_steps.read_kept(path.parent, 2)
    assert fuzz(with_json_mutations([10, 20, 30], 5, COUNT), tmp_path / "kept.json", read) > 10


def test_records_of_results(tmp_path):
    contents = with_json_mutations({"step": 3, "sampling": {"N": 3}}, 6, COUNT)
    assert fuzz(contents, tmp_path / "record.json", lambda path: results._record_of(path.parent)) == 0


def test_pieces_of_results(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, bits=np.zeros((4, 1)), first=np.array(0), seconds=np.array(0.1))
    path = tmp_path / "00000000.npz"
    read = lambda path: pieces._count_rows(path.parent, 4)
    assert fuzz(mutations(buffer.getvalue(), 7, COUNT), path, read) == 0


def test_metrics_of_a_run_are_never_lost(tmp_path):
    lines = b"".join(json.dumps({"step": i, "loss": 0.5}).encode() + b"\n" for i in range(9))

    def read(path):
        kept, dropped = _lines_until(path, 5)
        content = path.read_bytes()
        assert sorted(b"".join(kept + dropped).split()) == sorted(content.split())

    fuzz(
        [*mutations(lines, 8, COUNT), b"[]\n3\nnull\n" + lines, b"\xff\xfe\n" + lines, b"[" * 10_000],
        tmp_path / "m",
        read,
    )


@pytest.mark.parametrize("name", ["torch", "old"])
def test_files_of_torch(tmp_path, name):
    if name == "torch":
        content = torch_format.checkpoint({"module.a": np.zeros((3, 4), np.float32), "module.b": np.ones(3)})
        whole = torch_format.write(tmp_path / "good.pth", content).read_bytes()
    else:
        whole = Path("tests/fixtures/metrics/legacy.pth").read_bytes()
    assert fuzz(mutations(whole, 9, COUNT), tmp_path / "bad.pth", read_torch_file) > 10


def test_weights_of_inception(tmp_path):
    whole = Path("tests/fixtures/metrics/legacy.pth").read_bytes()
    assert fuzz(mutations(whole, 10, COUNT // 5), tmp_path / "bad.pth", load_weights) > 10


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA"])
def test_pictures(tmp_path, format):
    buffer = io.BytesIO()
    Image.fromarray(raw_files.random_images(0, 1, 12, 12)[0]).save(buffer, format)
    (tmp_path / "good.png").write_bytes(raw_files.encoded(raw_files.random_images(0, 1, 12, 12)[0], "PNG"))

    def read(path):
        PictureFolder(path.parent)[:]

    fuzz(mutations(buffer.getvalue(), 11, COUNT // 3), tmp_path / "bad.png", read)


def test_published_archives(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    raw_files.cifar10(manual, per_batch=1)
    path = manual / "cifar-10-binary.tar.gz"
    whole = path.read_bytes()

    def read(path):
        shutil.rmtree(tmp_path / "pfgm_cifar10", ignore_errors=True)
        prepare_lib.prepare("cifar10", tmp_path)

    assert fuzz(mutations(whole, 12, 20), path, read) > 3


def test_prepared_data(tmp_path):
    manual = tmp_path / "made" / "downloads" / "manual"
    manual.mkdir(parents=True)
    raw_files.cifar10(manual, per_batch=2)
    folder = prepare_lib.prepare("cifar10", tmp_path / "made")
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()

        def read(_):
            shutil.rmtree(tmp_path / "made" / "cache", ignore_errors=True)
            dataset = datasets.load_dataset("cifar10", directory=tmp_path / "made")
            assert len(dataset.train[:]) and len(dataset.test[:])

        fuzz(mutations(whole, zlib.crc32(path.name.encode()), 12), path, read)
        path.write_bytes(whole)
