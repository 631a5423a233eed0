"""Data sets made from the files that their authors publish, here small ones in the same formats."""

import dataclasses
import hashlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

import run_lib
from configs import celeba, cifar10, lsun_bedroom
from pfgm_jax import datasets
from pfgm_jax.datasets import prepare as prepare_lib
from pfgm_jax.datasets.cifar10 import CIFAR10
from pfgm_jax.errors import InputError
from pfgm_jax.methods import Poisson
from pfgm_jax.registry import SOURCES
from tests import raw_files
from tests.command_lines import outcomes
from tests.servers import serve


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of all three, prepared, and what is in them."""
    directory = tmp_path_factory.mktemp("data")
    manual = directory / "downloads" / "manual"
    manual.mkdir(parents=True)
    made = {"cifar10": raw_files.cifar10(manual), "celeba": raw_files.celeba(manual), "lsun": raw_files.lsun(manual)}
    for name in ("cifar10", "celeba", "lsun_bedroom"):
        prepare_lib.prepare(name, directory)
    return directory, made


def test_cifar10_comes_back_pixel_for_pixel(prepared):
    directory, made = prepared
    dataset = datasets.load_dataset("cifar10", directory=directory)
    for split, name in ((dataset.train, "train"), (dataset.test, "test")):
        images, labels = made["cifar10"][name]
        np.testing.assert_array_equal(split[:], images)
        np.testing.assert_array_equal(split.labels, labels)
    again = datasets.load_dataset("cifar10", directory=directory)  # its labels from the cache
    np.testing.assert_array_equal(again.train.labels, made["cifar10"]["train"][1])
    assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]


def test_celeba_comes_back_pixel_for_pixel(prepared):
    directory, made = prepared
    dataset = datasets.load_dataset("celeba", 140, directory=directory)
    for split, name in ((dataset.train, "train"), (dataset.test, "validation")):
        np.testing.assert_array_equal(split[:], made["celeba"][name][:, 39:179, 19:159])
    small = datasets.load_dataset("celeba", 64, directory=directory).train[:3]
    cropped = [Image.fromarray(image[39:179, 19:159]) for image in made["celeba"]["train"][:3]]
    expected = [np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)) for image in cropped]
    np.testing.assert_array_equal(small, expected)


def test_lsun_comes_back_pixel_for_pixel(prepared):
    directory, made = prepared
    dataset = datasets.load_dataset("lsun_bedroom", 256, directory=directory)
    for split, name in ((dataset.train, "train"), (dataset.test, "validation")):
        assert len(split) == len(made["lsun"][name])
        for i, image in enumerate(made["lsun"][name]):
            top, left = (image.shape[0] - 256) // 2, (image.shape[1] - 256) // 2
            np.testing.assert_array_equal(split[[i]][0], image[top : top + 256, left : left + 256])


REDUCED = {
    "training.n_iters": 4,
    "training.eval_freq": 4,
    "training.batch_size": 16,
    "training.small_batch_size": 4,
    "training.snapshot_sampling": False,
    "model.nf": 8,
    "model.ch_mult": (1,),
    "model.num_res_blocks": 1,
    "model.attn_resolutions": (),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "size", "network"),
    # Two of them by the perceptron, which compiles in less time.
    [(cifar10, 32, "ncsnpp"), (celeba, 64, "mlp"), (lsun_bedroom, 32, "mlp")],
)
def test_configs_train_on_their_data(prepared, tmp_path, config, size, network):
    config = config.get_config()
    changes = {"data.dir": str(prepared[0]), "data.image_size": size, "model.name": network}
    config.update_from_flattened_dict({**REDUCED, **changes})
    assert int(run_lib.train(config, tmp_path).step) == 4
    assert "held_out_loss" in (tmp_path / "metrics.jsonl").read_text()


def test_any_data_set_of_tensorflow_datasets_is_read(prepared, monkeypatch):
    directory, made = prepared
    dataset = datasets.load_dataset("tfds:pfgm_cifar10", directory=directory)
    np.testing.assert_array_equal(dataset.test[:], made["cifar10"]["test"][0])
    np.testing.assert_array_equal(dataset.test.labels, made["cifar10"]["test"][1])
    grey = datasets.load_dataset("tfds:pfgm_cifar10", 16, 1, directory).train
    assert grey.shape == (40, 16, 16, 1)
    monkeypatch.setenv("TFDS_DATA_DIR", str(directory))
    assert datasets.data_dir() == directory


def test_data_that_are_not_there_are_named_with_the_cure(tmp_path, prepared):
    for name, message in (
        ("cifar10", "is not prepared in .*; run python -m pfgm_jax.datasets prepare cifar10, or name its folder"),
        ("tfds:mnist", "data.dataset is 'tfds:mnist', which is not prepared in .*tfds build mnist --file_format=array"),
        ("tfds:no_such", "data.dataset is 'tfds:no_such', which cannot be opened in "),
    ):
        with pytest.raises(InputError, match=message):
            datasets.load_dataset(name, directory=tmp_path)
    with pytest.raises(InputError, match="data.image_size is 0, and data.dataset is 'celeba', whose images have sev"):
        datasets.load_dataset("celeba", directory=prepared[0])
    with pytest.raises(
        InputError, match="there is no data set 'mnist' to prepare; choose one of cifar10, fashion_mnist, celeba"
    ):
        prepare_lib.prepare("mnist", tmp_path)


def test_an_interrupted_preparation_is_not_read_and_is_begun_again(tmp_path, monkeypatch):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    made = raw_files.cifar10(manual)
    splits = CIFAR10.examples

    def interrupted(files):
        def examples():
            yield next(splits(files)["train"]())
            raise KeyboardInterrupt

        return {"train": examples}

    with monkeypatch.context() as patch:
        patch.setitem(SOURCES._entries, "cifar10", dataclasses.replace(CIFAR10, examples=interrupted))
        with pytest.raises(KeyboardInterrupt):
            prepare_lib.prepare("cifar10", tmp_path)
    with pytest.raises(InputError, match="is not prepared"):
        datasets.load_dataset("cifar10", directory=tmp_path)
    (tmp_path / "pfgm_cifar10" / "incomplete.killed").mkdir()
    prepare_lib.prepare("cifar10", tmp_path)
    assert [p.name for p in (tmp_path / "pfgm_cifar10").iterdir()] == ["1.0.0"]
    np.testing.assert_array_equal(datasets.load_dataset("cifar10", directory=tmp_path).train[:], made["train"][0])


def test_what_is_not_installed_is_named_before_anything_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package lmdb, which is not installed: run pip install lmdb"):
        prepare_lib.prepare("lsun_bedroom", tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    raw_files.cifar10(manual)
    path = manual / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="cifar10 cannot be built from cifar-10-binary.tar.gz in .*; download them"):
        prepare_lib.prepare("cifar10", tmp_path)
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(InputError, match="cifar10 cannot be built from"):
        prepare_lib.prepare("cifar10", tmp_path)


@pytest.fixture
def server():
    with serve() as running:
        yield running


def test_downloads_are_checked_and_go_on_where_they_stopped(tmp_path, server, monkeypatch):
    made = raw_files.cifar10(tmp_path)
    content = server.content = (tmp_path / "cifar-10-binary.tar.gz").read_bytes()
    (raw,) = CIFAR10.files
    url = f"http://localhost:{server.server_port}/{raw.name}"
    ours = dataclasses.replace(raw, url=url, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(SOURCES._entries, "cifar10", dataclasses.replace(CIFAR10, files=(ours,)))
    downloads = tmp_path / "data" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / f"{raw.name}.part").write_bytes(content[:1000])
    prepare_lib.prepare("cifar10", tmp_path / "data")
    assert server.asked == ["bytes=1000-"]
    dataset = datasets.load_dataset("cifar10", directory=tmp_path / "data")
    np.testing.assert_array_equal(dataset.train[:], made["train"][0])

    server.lost_after = 2000
    with pytest.raises(InputError, match=f"the connection was lost after 2000 of {len(content)} bytes: run it again"):
        prepare_lib.prepare("cifar10", tmp_path / "lost")
    server.lost_after = None
    prepare_lib.prepare("cifar10", tmp_path / "lost")
    assert server.asked[1:] == [None, "bytes=2000-"]

    server.content = b"<html>quota exceeded</html>"
    with pytest.raises(
        InputError, match=r"not have the checksum of cifar-10-binary.tar.gz; .* put it at .*/manual/cifar"
    ):
        prepare_lib.prepare("cifar10", tmp_path / "other")
    assert list((tmp_path / "other" / "downloads").iterdir()) == []
    offline = dataclasses.replace(ours, url="http://localhost:9/x", trouble="; try on another day")
    monkeypatch.setitem(SOURCES._entries, "cifar10", dataclasses.replace(CIFAR10, files=(offline,)))
    with pytest.raises(InputError, match=r"cannot be downloaded from http.*refused.*; try on another day; or get it"):
        prepare_lib.prepare("cifar10", tmp_path / "other")


def test_info_prints_what_follows_from_the_data(prepared, tmp_path):
    command = [sys.executable, "-m", "pfgm_jax.datasets", "info", "--config=configs/cifar10.py"]
    command += [f"--config.data.dir={prepared[0]}", f"--picture={tmp_path / 'data.png'}"]
    command += ["--config.training.batch_size=40", "--config.training.small_batch_size=8", "--config.training.M=0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    found = dict(line.split(": ") for line in result.stdout.splitlines())
    norm = np.linalg.norm(prepared[1]["cifar10"]["train"][0].reshape(40, -1) / 127.5 - 1, axis=1).mean()
    assert abs(float(found["mean norm"]) / norm - 1) < 1e-5
    assert found["training examples"] == "40" and found["shape"] == "32 x 32 x 3"
    labels, counts = np.unique(prepared[1]["cifar10"]["train"][1], return_counts=True)
    of_each = ", ".join(f"{label} ({count})" for label, count in zip(labels, counts, strict=True))
    assert found["labels"] == f"10, with so many examples of each, {of_each}"
    M = int(0.75 * np.log(norm**2 / (2 * np.sqrt(3072) * 0.01**2)) / np.log(1.03)) + 1
    assert float(found["M"]) == M and found["z_max"] == "40"
    assert round(float(found["share of the prior clipped"]), 3) == 0.540
    grid = np.asarray(Image.open(tmp_path / "data.png"))
    assert grid.ndim == 3 and grid.std() > 30


def test_share_of_the_prior_that_is_clipped():
    rng = np.random.default_rng(0)
    draws = 17 * np.linalg.norm(rng.normal(size=(100_000, 64)), axis=1) / np.abs(rng.normal(size=100_000))
    method = Poisson(shape=(8, 8, 1), z_max=17, upper_norm=170)
    assert abs((draws > 170).mean() - method.summary()["share of the prior clipped"]) < 0.006


def test_commands_that_do_not_exist_are_refused():
    refused = {
        "'list' is not a command; give 'prepare NAME' or 'info --config FILE'": ["list"],
        "a command, prepare or info, is missing; see python -m pfgm_jax.datasets --help": [],
    }
    found = outcomes("pfgm_jax.datasets", list(refused.values()))
    assert found == [[1, f"error: {message}\n"] for message in refused]
