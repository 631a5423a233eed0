"""The log of a workdir, the page that training and evaluation keep up to date, and Weights & Biases."""

import json
import logging
import sys
import types

import pytest

import run_lib
from pfgm_jax import config_files, diary
from pfgm_jax.errors import InputError, TrainingError
from pfgm_jax.pages import run as page
from pfgm_jax.training import callbacks, wandb_writer
from tests.test_run_lib import small_digits


def records(workdir):
    return [json.loads(line) for line in (workdir / diary.FILE).read_text().splitlines()]


def test_keeps_reports_and_the_error_that_ended_a_command(tmp_path):
    log = logging.getLogger("pfgm_jax")
    before = log.level, list(log.handlers)
    for number in range(2):
        with pytest.raises(TrainingError), diary.kept(tmp_path, "train"):
            log.warning("step %d\nis odd", number)
            log.debug("not kept")
            raise TrainingError("the loss is nan")
    with pytest.raises(InputError), diary.kept(tmp_path, "train"):
        raise InputError("there is no such step")
    log.warning("afterwards")
    assert (log.level, log.handlers) == before
    found = [(record["command"], record["level"], record["message"]) for record in records(tmp_path)]
    assert found == [
        ("train", "warning", "step 0\nis odd"),
        ("train", "error", "the loss is nan"),
        ("train", "warning", "step 1\nis odd"),
        ("train", "error", "the loss is nan"),
    ]


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path):
    (tmp_path / diary.FILE).write_text('{"time": "2026')
    with diary.kept(tmp_path, "train"):
        logging.getLogger("pfgm_jax").warning("again")
    assert json.loads((tmp_path / diary.FILE).read_text().splitlines()[-1])["message"] == "again"


def test_a_page_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    config_files.write(small_digits(), tmp_path)
    (tmp_path / "report.html").mkdir()
    page.update(tmp_path)
    assert "report.html was not written" in caplog.text


def test_a_run_that_fails_has_a_page_that_says_so(tmp_path, monkeypatch):
    def fail(*_):
        raise TrainingError("the loss is nan")

    monkeypatch.setattr(callbacks.Saver, "__call__", fail)
    with pytest.raises(TrainingError):
        run_lib.train(small_digits(), tmp_path)
    assert "the loss is nan" in (tmp_path / "report.html").read_text()


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / diary.FILE).mkdir()
    with diary.kept(tmp_path, "train"):
        logging.getLogger("pfgm_jax").warning("lost")


def test_training_and_evaluation_write_the_page(tmp_path, caplog):
    caplog.set_level(logging.INFO, "pfgm_jax")
    config = small_digits()
    run_lib.train(config, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert '"step": 6, ' in text and "fid" not in text.split("const run =")[1]
    config.eval.enable_bpd = config.eval.enable_loss = False
    config.sampling.ode_solver, config.sampling.N = "euler", 2
    config.eval.num_samples = config.sampling.batch_size = 8
    run_lib.evaluate(config, tmp_path)
    assert "fid" in (tmp_path / "report.html").read_text().split("const run =")[1]
    assert {record["command"] for record in records(tmp_path)} == {"train", "eval"}


class Wandb(types.ModuleType):
    """Records what would be sent."""

    def __init__(self):
        super().__init__("wandb")
        self.begun, self.sent, self.finished = [], [], 0

    def init(self, **options):
        self.begun.append(options)
        return types.SimpleNamespace(id="the-id", log=self.log, finish=self.finish)

    def log(self, values, step):
        self.sent.append((step, values))

    def finish(self):
        self.finished += 1

    def Image(self, pixels):
        return pixels


def test_weights_and_biases_receives_metrics_and_samples(tmp_path, monkeypatch):
    fake = Wandb()
    monkeypatch.setattr(wandb_writer, "wandb", fake)
    monkeypatch.setattr(wandb_writer, "check", lambda training: None)
    changes = {"training.wandb": "digits", "training.snapshot_freq": 4, "training.snapshot_sampling": True}
    run_lib.train(small_digits(**changes, **{"training.n_iters": 4}), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    *scalars, (step, picture) = fake.sent
    assert [{"step": step, **values} for step, values in scalars] == lines and step == 4
    assert picture["samples"].ndim == 3 and fake.finished == 1
    (first,) = fake.begun
    assert first["project"] == "digits" and first["id"] is None and first["config"]["training.n_iters"] == 4
    run_lib.train(small_digits(**changes), tmp_path)
    assert fake.begun[1]["id"] == "the-id" and fake.begun[1]["resume"] == "allow"


def test_weights_and_biases_that_is_missing_or_fails_is_one_sentence(tmp_path, monkeypatch):
    config = small_digits(**{"training.wandb": "digits"})
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="training.wandb is 'digits', which needs the package wandb; pip install"):
        run_lib.train(config, tmp_path / "a")
    assert not (tmp_path / "a").exists()

    def fail(**_):
        raise ValueError("no API key")

    fake = Wandb()
    fake.init = fail
    monkeypatch.setattr(wandb_writer, "wandb", fake)
    monkeypatch.setattr(wandb_writer, "check", lambda training: None)
    with pytest.raises(InputError, match="no run could be begun there .no API key.; log in with `wandb login`"):
        run_lib.train(config, tmp_path / "b")
    config.training.wandb = ""
    run_lib.train(config, tmp_path / "b")
