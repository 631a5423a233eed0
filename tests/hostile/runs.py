"""A small run, the commands that use it, and what they leave when nothing disturbs them."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from tests.hostile import processes

_FIELDS = {
    "training.n_iters": 8,
    "training.batch_size": 96,
    "training.small_batch_size": 16,
    "training.field_reference": "batch",
    "training.snapshot_sampling": False,
    "training.snapshot_freq_for_preemption": 3,
    "model.name": "mlp",
    "model.nf": 16,
    "model.num_res_blocks": 1,
    "optim.warmup": 2,
    "sampling.batch_size": 4,
    "sampling.ode_solver": "euler",
    "sampling.N": 4,
    "sampling.rtol": 0.1,
    "sampling.atol": 0.1,
    "sampling.num_samples": 12,
    "eval.num_samples": 12,
    "eval.num_images": 8,
    "eval.batch_size": 4,
    "eval.features": "pixels",
}


def flags(folder: Path, mode: str) -> list[str]:
    """The command line of a mode, or of "eval of likelihoods", for the run in `folder`/run."""
    mode, _, of_likelihoods = mode.partition(" of ")
    measured = {"eval.enable_bpd": True, "eval.enable_sampling": False} if of_likelihoods else {}
    own = {**_FIELDS, **measured, "data.dir": folder / "data"}
    fields = [f"--config.{name}={value}" for name, value in own.items()]
    return [f"--mode={mode}", "--config=configs/digits.py", f"--workdir={folder / 'run'}", *fields]


@functools.cache
def _undisturbed(mode: str | None) -> Path:
    """A folder whose run was trained and then, unless that is None, used by a mode."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if mode is None:
        outcome = processes.run(folder, "main.py", *flags(folder, "train"))
    else:
        shutil.copytree(_undisturbed(None), folder, dirs_exist_ok=True)
        outcome = processes.run(folder, "main.py", *flags(folder, mode))
    assert outcome.status == 0, outcome.told
    return folder


def prepare(folder: Path, mode: str) -> None:
    """Puts into a folder what a mode needs: a trained run, or nothing to train one."""
    if mode != "train":
        shutil.copytree(_undisturbed(None), folder, dirs_exist_ok=True)


def assert_goes_on(folder: Path, mode: str) -> None:
    """Asserts that the same command ends well, with the results of one that nothing has disturbed."""
    outcome = processes.run(folder, "main.py", *flags(folder, mode))
    assert outcome.status == 0, outcome.told
    assert "Traceback" not in outcome.told and "damaged" not in outcome.told, outcome.told
    expected = results(_undisturbed(None if mode == "train" else mode) / "run")
    found = results(folder / "run")
    assert found.keys() == expected.keys(), (found.keys(), expected.keys())
    for name, value in expected.items():
        np.testing.assert_equal(found[name], value, err_msg=name)


def assert_same_samples(made: Path) -> None:
    """Asserts that a folder has the samples that are drawn when nothing disturbs."""
    (expected,) = _undisturbed("sample").glob("run/samples/*/samples.npz")
    np.testing.assert_equal(dict(np.load(made / "samples.npz")), dict(np.load(expected)))


def results(workdir: Path) -> dict:
    """What a run has led to, by file, without times."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    # Parameters decide the loss of held-out data.
    found: dict = {"metrics": [lines[-1]["step"], lines[-1]["held_out_loss"]]}
    for path in sorted(workdir.glob("samples/*/samples.npz")):
        found[str(path.relative_to(workdir))] = dict(np.load(path))
    for path in sorted(workdir.glob("samples/*/*.png")):
        found[str(path.relative_to(workdir))] = path.read_bytes()
    for path in sorted(workdir.glob("eval/*.json")):
        report = json.loads(path.read_text())
        report["config"]["data"].pop("dir")
        found[str(path.relative_to(workdir))] = {k: v for k, v in report.items() if k != "samples_per_second"}
    for path in sorted(workdir.glob("likelihood/*/table.csv")):
        found[str(path.relative_to(workdir))] = path.read_text()
    return found
