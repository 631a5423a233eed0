"""A run that the first version wrote (the heart of `make demo`) samples, resumes, is evaluated and loads."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

import pfgm_jax
import run_lib
from configs import heart

FIXTURE = Path("tests/fixtures/run_heart_v0.tar.gz")


@pytest.fixture
def workdir(tmp_path):
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run_heart_v0"


def recorded_samples(workdir):
    return np.load(workdir / "samples" / "3000-rk45" / "samples.npz")["samples"]


def check_samples(found, recorded):
    difference = np.abs(found - recorded).max(axis=(1, 2, 3))
    assert np.median(difference) < 1e-4
    # Nine of the 64 left the region that the network knows, where rounding decides where they end.
    inside = np.abs(recorded).max(axis=(1, 2, 3)) < 1.5
    assert inside.sum() == 55
    assert np.mean(difference[inside] < 1e-3) >= 0.8


def test_sample_mode_gives_its_samples(workdir):
    recorded = recorded_samples(workdir)
    shutil.rmtree(workdir / "samples")
    config = heart.get_config()
    config.sampling.num_samples = len(recorded)
    folder = run_lib.sample(config, workdir)
    assert folder == workdir / "samples" / "3000-rk45"
    check_samples(np.load(folder / "samples.npz")["samples"], recorded)


def test_the_library_loads_it(workdir):
    model = pfgm_jax.load(workdir)
    assert model.step == 3000 and model.shape == (1, 1, 2)
    recorded = recorded_samples(workdir)
    check_samples(model.sample(len(recorded), seed=model.config.seed), recorded)
    # Fields that it did not know have their defaults.
    assert model.config.sampling.method == "ode"


def test_training_resumes(workdir, caplog):
    config = heart.get_config()
    config.training.n_iters, config.training.log_freq = 3020, 10
    with caplog.at_level("INFO", logger="pfgm_jax"):
        state = run_lib.train(config, workdir)
    assert int(state.step) == 3020
    assert not [r for r in caplog.messages if "damaged" in r]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    before, after = ([line for line in lines if (line["step"] > 3000) == late] for late in (False, True))
    assert [line["step"] for line in after] == [3010, 3020]
    # It goes on where it was, and not from the beginning, where the loss was many times as large.
    assert after[-1]["loss"] < 2 * before[-1]["loss"] < before[0]["loss"]


def test_it_is_evaluated(workdir):
    config = heart.get_config()
    config.eval.enable_sampling = False
    (report,) = run_lib.evaluate(config, workdir)
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert report["held_out_loss"] == pytest.approx(last["held_out_loss"], rel=1e-5)
