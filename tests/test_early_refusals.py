"""What cannot be done is refused before anything is computed or written."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import run_lib
from pfgm_jax import datasets, evaluation, measured_images, metrics
from pfgm_jax.errors import InputError
from pfgm_jax.metrics.statistics import Statistics
from pfgm_jax.trained_model import TrainedModel
from tests.test_checkpoints import flip
from tests.test_evaluation import config_of_evaluation, own_cache, table, trained, workdir  # noqa: F401
from tests.test_results import contents
from tests.test_run_lib import small_digits


def refused(run, config, workdir, message, monkeypatch):  # noqa: F811
    """Asserts that a run is refused, and neither draws, solves or computes features, nor writes."""

    def computes(*_, **__):
        raise AssertionError("it computes before it refuses")

    before, folders = contents(workdir), {path for path in workdir.rglob("*") if path.is_dir()}
    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "draw", computes)
        patch.setattr(TrainedModel, "bits", computes)
        patch.setattr(evaluation, "quality_of_samples", computes)
        with pytest.raises(InputError, match=message) as caught:
            run(config, workdir)
    assert "\n" not in str(caught.value)
    assert contents(workdir) == before
    assert {path for path in workdir.rglob("*") if path.is_dir()} == folders


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("3,999", "there is no checkpoint of step 999 in .*; it holds 3, 6"),
        ("6,5,3", "there is no checkpoint of step 5"),
    ],
)
def test_checkpoints_that_are_missing(workdir, monkeypatch, steps, message):  # noqa: F811
    refused(run_lib.evaluate, config_of_evaluation(**{"eval.checkpoints": steps}), workdir, message, monkeypatch)


def test_checkpoints_that_are_damaged(workdir, monkeypatch, caplog):  # noqa: F811
    flip(workdir / "checkpoints" / "3" / "state" / "manifest.ocdbt")
    named = config_of_evaluation(**{"eval.checkpoints": "6,3"})
    refused(run_lib.evaluate, named, workdir, "checkpoint of step 3 in .* is damaged .*; choose another", monkeypatch)
    # Of all, the others are evaluated.
    every = config_of_evaluation(**{"eval.checkpoints": "all", "eval.enable_sampling": False, "eval.enable_bpd": False})
    assert [report["step"] for report in run_lib.evaluate(every, workdir)] == [6]
    assert "Step 3 is left out: the checkpoint of step 3 in" in caplog.text


@pytest.mark.parametrize("bad", ["statistics", "channels", "levels"])
def test_what_samples_cannot_be_compared_with(workdir, tmp_path, monkeypatch, bad):  # noqa: F811
    config = config_of_evaluation(**{"eval.enable_bpd": False})
    if bad == "statistics":
        other = Statistics(np.zeros(63), np.eye(63), 100)
        metrics.save_statistics(tmp_path / "own.npz", other)
        config.eval.statistics = str(tmp_path / "own.npz")
        message = "the samples have 64 features each and the reference 63"
    else:
        images = np.zeros((200, 8, 8, 3 if bad == "channels" else 1), np.uint8)
        np.save(tmp_path / "own.npy", images)
        config.data.dataset = f"arrays:{tmp_path}/own.npy"
        message = (
            "data.dataset is .*, whose examples are 8 x 8 x . with 256 grey levels; the model's are 8 x 8 x 1 with"
        )
    refused(run_lib.evaluate, config, workdir, message, monkeypatch)


def _picture(folder, name, size=(8, 8), grey=3):
    folder.mkdir(exist_ok=True)
    Image.new("L", size, grey).save(folder / name)


@pytest.mark.parametrize("mode", ["likelihood", "evaluate"])
def test_images_whose_likelihood_cannot_be_measured(workdir, tmp_path, monkeypatch, mode):  # noqa: F811
    for i, size in enumerate([(8, 8), (8, 9)]):
        _picture(tmp_path / "sizes", f"{i}.png", size)
    _picture(tmp_path / "grey", "0.png")
    _picture(tmp_path / "grey", "1.png", grey=17)
    _picture(tmp_path / "cut", "0.png")
    (tmp_path / "cut" / "1.png").write_bytes((tmp_path / "cut" / "0.png").read_bytes()[:-25])
    (tmp_path / "none").mkdir()
    good = np.zeros((40, 8, 8, 1), np.uint8)
    good[39] = 17  # in the last piece
    np.save(tmp_path / "late.npy", good)
    np.save(tmp_path / "vectors.npy", np.zeros((3, 64)))
    np.save(tmp_path / "empty.npy", good[:0])
    for source, message in {
        f"folder:{tmp_path}/sizes": "bring all images to one size",
        f"folder:{tmp_path}/grey": "an image has grey level 17; the model knows 0 to 16",
        f"folder:{tmp_path}/cut": "1.png cannot be read",
        f"folder:{tmp_path}/none": "holds no images",
        f"folder:{tmp_path}/nowhere": "holds no images|no such folder",
        f"arrays:{tmp_path}/late.npy": "an image has grey level 17; the model knows 0 to 16",
        f"arrays:{tmp_path}/vectors.npy": r"images have shape \(1, 1, 64\); the model's have \(8, 8, 1\)",
        f"arrays:{tmp_path}/empty.npy": "eval.bpd_dataset names .*empty.npy, .*; at least one example is needed",
        f"arrays:{tmp_path}/nowhere.npy": "eval.bpd_dataset names .*nowhere.npy, and there is no such file",
        "folder:": "eval.bpd_dataset is 'folder:'",
        "arrays:": "eval.bpd_dataset is 'arrays:'",
    }.items():
        config = config_of_evaluation(**{"eval.bpd_dataset": source, "eval.num_images": 0})
        refused(getattr(run_lib, mode), config, workdir, message, monkeypatch)


def test_one_image_can_be_measured_and_not_learned_from(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((1, 8, 8, 1), np.uint8))
    fields = {"data.image_size": 8, "data.num_channels": 1, "data.levels": 17}
    config = config_of_evaluation(**fields, **{"eval.bpd_dataset": f"arrays:{tmp_path}/one.npy"})
    images, files, record = measured_images.load_images(config)
    assert images.shape == (1, 8, 8, 1) and files is None and record["count"] == 1
    with pytest.raises(InputError, match="data.dataset names .*; at least 2 examples are needed, one to train on and"):
        datasets.load_dataset(f"arrays:{tmp_path}/one.npy")


def test_a_table_names_the_files_of_a_folder(workdir, tmp_path):  # noqa: F811
    names = ["a, b.png", 'c".png', "d/é.png"]
    (tmp_path / "own" / "d").mkdir(parents=True)
    for i, name in enumerate(names):
        _picture(tmp_path / "own", name, grey=i)
    folder = run_lib.likelihood(config_of_evaluation(**{"eval.bpd_dataset": f"folder:{tmp_path}/own"}), workdir)
    assert [(row["image"], row["file"]) for row in table(folder)] == [*zip("012", names, strict=True)]
    content = json.loads((folder / "table.json").read_text())
    assert [row["file"] for row in content["rows"]] == names and folder.name == "6-folder"


FOLDERS = ("checkpoints", "samples", "eval", "likelihood", "tensorboard", "damaged")
FILES = ("config.json", "metrics.jsonl", "metrics.dropped.jsonl", "log.jsonl", "report.html", "checkpoints/kept.json")


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
@pytest.mark.parametrize("instead", ["file", "folder", "loop"])
def test_what_is_in_the_place_of_a_runs_files(workdir, monkeypatch, name, instead):  # noqa: F811
    path = workdir / name
    if instead == ("folder" if name in FOLDERS else "file"):
        return
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if instead == "file":
        path.write_text("precious")
    elif instead == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    kind = {"file": "a file", "folder": "a folder", "loop": "neither a file nor a folder"}[instead]
    kept = "folder" if name in FOLDERS else "file"
    message = f"{path} is {kind}, where a run keeps a {kept}; move it to another place, or choose another --workdir"
    train = small_digits(
        **{"training.batch_size": 96, "training.n_iters": 8, "training.restart": name == "checkpoints"}
    )
    refused(run_lib.train, train, workdir, message, monkeypatch)
    for run in (run_lib.sample, run_lib.evaluate, run_lib.likelihood):
        refused(run, config_of_evaluation(), workdir, message, monkeypatch)


def test_what_may_not_be_written(workdir, monkeypatch):  # noqa: F811
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, *a: not str(path).endswith("metrics.jsonl") and access(path, *a))
    config = small_digits(**{"training.batch_size": 96, "training.n_iters": 8})
    refused(run_lib.train, config, workdir, "metrics.jsonl cannot be read and written; change its", monkeypatch)


def test_a_config_that_cannot_resume_does_not_replace_the_one_that_can(workdir):  # noqa: F811
    before = (workdir / "config.json").read_text()
    for step in (3, 6):
        flip(workdir / "checkpoints" / str(step) / "state" / "manifest.ocdbt")
    with pytest.raises(InputError, match="all checkpoints in .* are damaged"):
        run_lib.train(small_digits(**{"training.batch_size": 96, "optim.lr": 1e-3}), workdir)
    assert (workdir / "config.json").read_text() == before
