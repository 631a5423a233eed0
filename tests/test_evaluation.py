"""Evaluations and likelihoods of a run, from end to end."""

import csv
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

import pfgm_jax
import run_lib
from pfgm_jax import build, curves
from pfgm_jax.errors import InputError
from pfgm_jax.trained_model import TrainedModel
from tests.test_held_out import excess_by_scipy
from tests.test_run_lib import small_digits
from tests.test_sharding import environment, start_processes


def config_of_evaluation(**overrides):
    fields = {
        "eval.features": "pixels",
        "eval.num_samples": 30,
        "eval.batch_size": 8,
        "eval.num_images": 12,
        "eval.enable_bpd": True,
        "sampling.batch_size": 8,
        "sampling.ode_solver": "euler",
        "sampling.N": 12,
        # Of likelihoods; what has been trained so little is rough.
        "sampling.rtol": 0.1,
        "sampling.atol": 0.1,
    }
    return small_digits(**{"training.batch_size": 96, **fields, **overrides})


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("evaluation") / "run"
    config = small_digits(**{"training.batch_size": 96, "training.snapshot_freq_for_preemption": 3})
    run_lib.train(config, workdir)
    return workdir


@pytest.fixture
def workdir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def without_speed(reports):
    return [{name: value for name, value in report.items() if name != "samples_per_second"} for report in reports]


def test_report_says_what_the_samples_and_losses_are(workdir):
    (report,) = run_lib.evaluate(config_of_evaluation(), workdir)
    samples = run_lib.sample(config_of_evaluation(**{"sampling.num_samples": 30}), workdir) / "samples.npz"
    images = np.load(samples)["samples"].reshape(30, 64) / 16.0
    dataset = build.load_dataset(small_digits())
    train, test = (split[:].reshape(-1, 64) / 16.0 for split in (dataset.train, dataset.test))
    for split, name in ((train, "fid"), (test, "fid_test")):
        # The Fréchet distance by eigenvalues of the product of covariances.
        (mu, cov), (nu, other) = ((a.mean(0), np.cov(a, rowvar=False)) for a in (images, split))
        roots = np.sqrt(np.maximum(np.linalg.eigvals(cov @ other).real, 0)).sum()
        fid = ((mu - nu) ** 2).sum() + np.trace(cov) + np.trace(other) - 2 * roots
        assert report[name] == pytest.approx(fid, rel=1e-4)
    near, far = (cdist(x, train).min(axis=1) for x in (images, test))
    assert report["memorized"] == pytest.approx(excess_by_scipy(near, far), abs=1e-12)
    assert report["nearer_than_test"] == (near < np.median(far)).mean()
    assert report["evaluations"] == 12 and report["samples"] == 30 and report["samples_per_second"] > 0
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert report["held_out_loss"] == pytest.approx(last["held_out_loss"], rel=1e-5)
    written = json.loads((workdir / "eval" / "6.json").read_text())
    assert written.pop("config")["sampling"]["N"] == 12 and written == report
    rows = table(run_lib.likelihood(config_of_evaluation(), workdir))
    bits = [float(row["bits_per_dim"]) for row in rows]
    assert len(bits) == 12 and report["bits_per_dim"] == pytest.approx(np.mean(bits), rel=1e-5)
    assert report["bits_per_dim_standard_error"] == pytest.approx(np.std(bits, ddof=1) / np.sqrt(12), rel=1e-4)


def table(folder):
    with (folder / "table.csv").open() as file:
        return list(csv.DictReader(file))


def interrupt_the_third_draw(monkeypatch):
    """Returns a list, which receives the number of the first sample of each draw."""
    draw, calls = TrainedModel.draw, []

    def interrupted(model, n, seed, first=0, context=None):
        calls.append(first)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(model, n, seed, first, context)

    monkeypatch.setattr(TrainedModel, "draw", interrupted)
    return calls


def test_an_interrupted_evaluation_goes_on_to_the_same_report(workdir, monkeypatch):
    calls = interrupt_the_third_draw(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_lib.evaluate(config_of_evaluation(), workdir)
    damaged = workdir / "samples" / "6-euler" / "pieces" / "00000008.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    resumed = run_lib.evaluate(config_of_evaluation(), workdir)
    assert calls == [0, 8, 16, 8, 16, 24]
    shutil.rmtree(workdir / "eval")
    shutil.rmtree(workdir / "samples")
    shutil.rmtree(workdir / "likelihood")
    monkeypatch.undo()
    assert without_speed(resumed) == without_speed(run_lib.evaluate(config_of_evaluation(), workdir))


def test_what_was_made_otherwise_is_not_taken_for_what_is_asked(workdir, tmp_path, monkeypatch):
    """Samples and likelihoods are made anew when, and only when, what decides them has changed."""
    draw, bits, calls = TrainedModel.draw, TrainedModel.bits, []
    monkeypatch.setattr(TrainedModel, "draw", lambda *a: calls.append("draw") or draw(*a))
    monkeypatch.setattr(TrainedModel, "bits", lambda *a: calls.append("bits") or bits(*a))
    own = tmp_path / "own.npy"
    images = build.load_dataset(small_digits()).test[:4]
    np.save(own, images)
    few = {"eval.num_samples": 8, "eval.enable_loss": False, "eval.bpd_dataset": f"arrays:{own}"}

    def made(**overrides):
        calls.clear()
        run_lib.evaluate(config_of_evaluation(**few, **overrides), workdir)
        return calls

    assert made() == ["draw", "bits"]
    assert made() == []
    assert made(**{"sampling.z_exp": 1.0}) == ["draw", "bits"]
    np.save(own, images[::-1])
    assert made(**{"sampling.z_exp": 1.0}) == ["bits"]
    model = pfgm_jax.load(workdir)
    retrained = TrainedModel(model.config, jax.tree.map(lambda p: p * 1.001, model.params), model.step)
    assert retrained.record != model.record


def test_likelihoods_are_by_steps_that_suit_them(workdir):
    """With a solver of few steps for samples, bits are those of RK45."""
    few = {"eval.num_images": 4}
    by_euler, by_rk45 = (
        [row["bits_per_dim"] for row in table(run_lib.likelihood(config_of_evaluation(**few, **solver), workdir))]
        for solver in ({}, {"sampling.ode_solver": "rk45"})
    )
    assert by_euler == by_rk45


@pytest.mark.slow
def test_devices_and_processes_change_nothing(trained):
    program = ["-m", "tests.evaluate_on_devices", str(trained)]
    done = subprocess.run(
        [sys.executable, *program, "1", "8"], env=environment(8), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    two_processes = start_processes(*program, "4")
    printed = [process.communicate(timeout=300) for process in two_processes]
    assert [process.returncode for process in two_processes] == [0, 0], printed
    texts = (done.stdout, *(out for out, _ in printed))
    one, *others = (  # gloo prints, too
        without_speed(json.loads(line))[0] for text in texts for line in text.splitlines() if line.startswith("[{")
    )
    assert len(others) == 2  # one of one process, and one of two
    assert "30/30" in printed[0][1] and "30/30" not in printed[1][1]
    for other in others:
        assert other == pytest.approx(one, rel=1e-4, abs=1e-5)


def test_all_checkpoints_or_some_are_evaluated(workdir):
    config = config_of_evaluation(**{"eval.enable_sampling": False, "eval.enable_bpd": False})
    config.eval.checkpoints = "all"
    assert [report["step"] for report in run_lib.evaluate(config, workdir)] == [3, 6]
    config.eval.checkpoints = "3"
    assert [report["step"] for report in run_lib.evaluate(config, workdir)] == [3]
    config.eval.checkpoints = "3, 5"
    with pytest.raises(InputError, match="there is no checkpoint of step 5 in .*; it holds 3, 6"):
        run_lib.evaluate(config, workdir)


@pytest.mark.slow
def test_curves_and_grids_are_made(workdir, monkeypatch):
    monkeypatch.setattr(build, "samplers_of", lambda method: ["euler", "improved_euler"])
    monkeypatch.setattr(curves, "EVALUATIONS", (3, 6))
    fields = dict.fromkeys(("nfe_curve", "norm_curve", "interpolate", "rescale"), True)
    config = config_of_evaluation(**{f"eval.enable_{name}": value for name, value in fields.items()})
    config.eval.enable_bpd = config.eval.enable_loss = False
    (report,) = run_lib.evaluate(config, workdir)
    folder = workdir / "eval" / "6"
    found = json.loads((folder / "nfe.json").read_text())
    assert {name: [p["evaluations"] for p in curve] for name, curve in found.items()} == {
        "euler": [3, 6],
        "improved_euler": [3, 5],
    }
    norms = json.loads((folder / "norms.json").read_text())
    # On the plane of the prior |x|/z_max is the root of a beta prime variable, which is about 8 in 64 dimensions.
    assert 4 < norms["median"][0] / norms["z"][0] < 25
    assert np.all(np.diff(norms["z"]) < 0) and np.all(np.array(norms["lower"]) <= norms["upper"])
    for name in ("nfe.png", "norms.png", "interpolation.png", "rescaling.png"):
        assert (folder / name).stat().st_size > 1000
    assert report["interpolation"] == str(folder / "interpolation.png")


def test_likelihoods_of_a_file_of_images(workdir, tmp_path):
    images = build.load_dataset(small_digits()).test[:3]
    np.save(tmp_path / "own.npy", images)
    of_test = table(run_lib.likelihood(config_of_evaluation(**{"eval.num_images": 3, "eval.num_probes": 2}), workdir))
    config = config_of_evaluation(
        **{"eval.bpd_dataset": f"arrays:{tmp_path}/own.npy", "eval.num_images": 0, "eval.num_probes": 2}
    )
    folder = run_lib.likelihood(config, workdir)
    for row, expected in zip(table(folder), of_test, strict=True):
        assert float(row["bits_per_dim"]) == pytest.approx(float(expected["bits_per_dim"]), rel=1e-5)
        assert float(row["standard_error"]) > 0
    content = json.loads((folder / "table.json").read_text())
    assert content["count"] == 3 and len(content["rows"]) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"eval.bpd_dataset": "validation"}, "eval.bpd_dataset is 'validation'; choose test, train, folder:PATH or"),
        ({"eval.divergence": "none"}, "eval.divergence is 'none'; choose one of rademacher, gaussian, exact"),
        ({"eval.checkpoints": "last"}, "eval.checkpoints is 'last'; give newest, all, or steps such as \"50000,"),
        ({"eval.features": "vgg"}, "eval.features is 'vgg'; choose one of inception, pixels"),
        ({"eval.num_samples": 1}, "eval.num_samples is 1; give a number of at least 2"),
    ],
)
def test_refuses_a_bad_config(workdir, overrides, message):
    with pytest.raises(InputError, match=message):
        run_lib.likelihood(config_of_evaluation(**overrides), workdir)


def test_refuses_images_that_are_not_the_models(workdir, tmp_path):
    for size, message in (
        ((8, 9), r"have shape \(9, 8, 1\); the model's have \(8, 8, 1\)"),
        ((8, 8), "grey level 40;"),
    ):
        folder = tmp_path / str(size)
        folder.mkdir()
        Image.new("L", size, 40).save(folder / "0.png")
        with pytest.raises(InputError, match=message):
            run_lib.likelihood(config_of_evaluation(**{"eval.bpd_dataset": f"folder:{folder}"}), workdir)
    for array, message in (
        (np.zeros((3, 5, 8, 1), np.uint8), r"have shape \(5, 8, 1\); the model's have \(8, 8, 1\)"),
        (np.full((3, 8, 8, 1), 40, np.uint8), "an image has grey level 40; the model knows 0 to 16"),
    ):
        np.save(tmp_path / "bad.npy", array)
        with pytest.raises(InputError, match=message):
            run_lib.likelihood(config_of_evaluation(**{"eval.bpd_dataset": f"arrays:{tmp_path}/bad.npy"}), workdir)
