"""A tiny run that is made once, and what each mode must make of a damaged copy of it."""

import atexit
import functools
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import pfgm_jax
import run_lib
from tests.hostile.case import Case, assert_refused, assert_sentence
from tests.test_run_lib import small_digits

# What may come of a mode: the newest checkpoint is used, or the one before; any other text is what a refusal names.
SAME, BEFORE = "same", "before"
STEPS = {SAME: 6, BEFORE: 3}
USES = ("sample", "evaluate", "likelihood")
# What a run rewrites, or writes beside what was there.
REWRITTEN = (
    *(".sums.json", ".lock", ".lock.holder", "config.json", "metrics.jsonl", "eval/3.json", "eval/6.json"),
    *("log.jsonl", "report.html"),
)


class Damage(NamedTuple):
    """One damage of a workdir.

    Attributes:
      name: says what is damaged.
      act: damages a workdir.
      expected: by mode, `SAME`, `BEFORE`, or what a refusal names; `SAME` where nothing is said.
      uses: modes to try besides `load` and `train`.
      told: what a warning names where the checkpoint before is used.
    """

    name: str
    act: Callable[[Path], Any]
    expected: Mapping[str, str] = {}
    uses: tuple[str, ...] = USES
    told: str = ""


def everywhere(outcome: str) -> dict[str, str]:
    """The same outcome in every mode."""
    return dict.fromkeys(("load", "train", *USES), outcome)


def config_in(folder: Path, **overrides: Any):
    """The run's config; training has nothing to do, so that it compiles nothing."""
    fields = {
        "training.batch_size": 96,
        "training.snapshot_freq_for_preemption": 3,
        "training.n_iters": 3,
        "data.dir": str(folder / "data"),
        "sampling.ode_solver": "euler",
        "sampling.N": 2,
        "sampling.num_samples": 6,
        "sampling.batch_size": 3,
        "sampling.rtol": 0.5,
        "sampling.atol": 0.5,
        "eval.features": "pixels",
        "eval.num_samples": 6,
        "eval.num_images": 2,
        "eval.enable_loss": False,
    }
    return small_digits(**{**fields, **overrides})


@functools.cache
def pristine() -> Path:
    """The folder of a run with checkpoints of steps 3 and 6, used in every mode at both."""
    folder = Path(tempfile.mkdtemp(prefix="pristine-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not jax.config.values["jax_compilation_cache_dir"]:
        # Cases compile the same again and again.
        jax.config.update("jax_compilation_cache_dir", str(folder.with_name(f"{folder.name}-jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        atexit.register(shutil.rmtree, folder.with_name(f"{folder.name}-jax"), ignore_errors=True)
    run_lib.train(config_in(folder, **{"training.n_iters": 6}), folder / "run")
    run_lib.evaluate(config_in(folder, **{"eval.checkpoints": "3,6"}), folder / "run")
    for step in STEPS.values():
        config = config_in(folder, **{"sampling.checkpoint": step})
        for mode in ("sample", "likelihood"):
            getattr(run_lib, mode)(config, folder / "run")
    return folder


def load(folder: Path) -> Any:
    model = pfgm_jax.load(folder / "run")
    return model.step, model.params


def train(folder: Path) -> Any:
    state = run_lib.train(config_in(folder), folder / "run")
    return int(state.step), state


def sample(folder: Path) -> Any:
    found = run_lib.sample(config_in(folder), folder / "run")
    return int(found.name.split("-")[0]), np.load(found / "samples.npz")["samples"].astype(np.int32)


def evaluate(folder: Path) -> Any:
    (report,) = run_lib.evaluate(config_in(folder), folder / "run")
    return report["step"], {name: report[name] for name in ("samples", "fid", "evaluations")}


def likelihood(folder: Path) -> Any:
    found = run_lib.likelihood(config_in(folder), folder / "run")
    content = json.loads((found / "table.json").read_text())
    return content["step"], [row["bits_per_dim"] for row in content["rows"]]


MODES = {"load": load, "train": train, "sample": sample, "evaluate": evaluate, "likelihood": likelihood}


@functools.cache
def undamaged(mode: str, outcome: str) -> Any:
    """What a mode gives without damage; or if the newest checkpoint had never been."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(pristine(), folder, dirs_exist_ok=True)
        if outcome == BEFORE:
            shutil.rmtree(Path(folder, "run", "checkpoints", "6"))
        step, content = MODES[mode](Path(folder))
        assert step == STEPS[outcome]
        return jax.device_get(content)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder; links are not followed."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_nothing_good_is_lost(good: Mapping[str, bytes], folder: Path) -> None:
    """Asserts that every file that was as it should be is there, wherever, and every line of metrics."""
    after = contents(folder)
    there = {*after.values()}
    lost = [name for name, content in good.items() if not name.endswith(REWRITTEN) and content not in there]
    assert not lost, f"lost: {lost}"
    lines = lambda files: {line for name in files if "metrics" in name for line in files[name].splitlines()}
    assert lines(good) <= lines(after), "lines of metrics are lost"


class _Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def _attempt(damage: Damage, folder: Path) -> None:
    shutil.copytree(pristine(), folder, dirs_exist_ok=True)
    whole = contents(folder)
    damage.act(folder / "run")
    good = {name: content for name, content in contents(folder).items() if whole.get(name) == content}
    heard, log, disabled = _Warnings(), logging.getLogger("pfgm_jax"), logging.root.manager.disable
    log.addHandler(heard)
    logging.disable(logging.NOTSET)
    try:
        # Training comes last, since it sets aside what is damaged; what it leaves is loaded once more.
        for mode in ("load", *damage.uses, "train"):
            expected = damage.expected.get(mode, SAME)
            if expected not in STEPS:
                assert_refused(lambda mode=mode: MODES[mode](folder), expected)
                continue
            step, content = MODES[mode](folder)
            assert step == STEPS[expected], f"{mode} uses step {step}, not {STEPS[expected]}"
            jax.tree.map(np.testing.assert_array_equal, jax.device_get(content), undamaged(mode, expected))
            assert_nothing_good_is_lost(good, folder)
        if damage.expected.get("train", SAME) in STEPS and damage.expected.get("load", SAME) in STEPS:
            assert load(folder)[0] == STEPS[damage.expected.get("train", SAME)]
    finally:
        log.removeHandler(heard)
        logging.disable(disabled)
    for text in heard.texts:
        assert_sentence(text)
    assert damage.told in "\n".join(heard.texts), (damage.told, heard.texts)


def case_of(damage: Damage) -> Case:
    """A damage as a hostile test."""
    return Case(damage.name, functools.partial(_attempt, damage))
