"""Checkpoints whose seal is damaged, and those that a run deletes while they are read."""

import json
import logging
import re
import shutil
import threading
import time

import orbax.checkpoint as ocp
import pytest

from pfgm_jax import seals
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import InputError
from tests.test_checkpoints import assert_same, copied, flip, saved, state_of  # noqa: F401


def told(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "pfgm_jax"]


# A seal, damaged in one place or another.
SEAL_DAMAGE = {
    "a digit of a checksum": lambda text: re.sub(r": (\d)", lambda digit: f": {9 - int(digit[1])}", text, count=1),
    "a bit of a name": lambda text: text.replace("manifest", "manifesu", 1),
    "a bit of JSON": lambda text: text.replace(":", ";", 1),
    "cut": lambda text: text[:50],
    "emptied": lambda text: "",
    "null": lambda text: "null",
    "a list": lambda text: "[1]",
    "nested": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("damage", SEAL_DAMAGE)
def test_a_damaged_seal_condemns_no_checkpoint_and_is_made_anew(copied, caplog, damage):  # noqa: F811
    folder = copied / "checkpoints"
    seal, change = folder / "6.sums.json", SEAL_DAMAGE[damage]
    whole = seal.read_text()
    seal.write_text(change(whole))
    assert seal.read_text() != whole
    for read_only in (True, False):
        with caplog.at_level(logging.WARNING, "pfgm_jax"), Checkpoints(folder, read_only=read_only) as checkpoints:
            assert_same(checkpoints.restore(state_of(0)), state_of(6))
    assert not told(caplog)
    assert seal.read_text() == whole


def test_an_earlier_versions_seal_that_contradicts_its_checkpoint_leaves_it_to_the_arrays(copied, caplog):  # noqa: F811
    """Which had no checksum of its own."""
    folder = copied / "checkpoints"
    files = json.loads((folder / "6.sums.json").read_text())["files"]
    wrong = {**files, "_CHECKPOINT_METADATA": files["_CHECKPOINT_METADATA"] ^ 1}
    (folder / "6.sums.json").write_text(json.dumps(wrong))
    with caplog.at_level(logging.WARNING, "pfgm_jax"), Checkpoints(folder, read_only=True) as checkpoints:
        assert_same(checkpoints.restore(state_of(0)), state_of(6))
        assert not told(caplog)
        # The arrays tell.
        (data,) = (folder / "6" / "state" / "d").iterdir()
        for path in [data, *(folder / "6" / "state" / "ocdbt.process_0" / "d").iterdir()]:
            flip(path)
        assert_same(checkpoints.restore(state_of(0)), state_of(3))


def test_a_step_folder_without_a_state_is_named_so(copied, caplog):  # noqa: F811
    (copied / "checkpoints" / "9").mkdir()
    with (
        caplog.at_level(logging.WARNING, "pfgm_jax"),
        Checkpoints(copied / "checkpoints", read_only=True) as checkpoints,
    ):
        assert checkpoints.restore_ema()[1] == 6
    assert "The checkpoint of step 9 is damaged (its folder state is missing) and not used" in told(caplog)[0]


@pytest.mark.parametrize("moment", ["before its files are looked at", "after", "before it is read"])
@pytest.mark.parametrize("step", [None, 6])
def test_what_a_run_deletes_while_it_is_read_is_not_taken_for_damage(copied, caplog, monkeypatch, moment, step):  # noqa: F811
    """Reading goes on with what the run has saved since, at whichever moment it deletes."""
    folder = copied / "checkpoints"

    def overtaken():
        if (folder / "6").is_dir():
            with Checkpoints(folder, keep_last=1) as running:
                running.save(state_of(9), {})
            assert not (folder / "6").exists()

    verdict, restore = seals.verdict, ocp.PyTreeCheckpointer.restore
    module, name, function = {
        "before its files are looked at": (seals, "verdict", lambda *a: (overtaken(), verdict(*a))[1]),
        "after": (seals, "verdict", lambda *a: (verdict(*a), overtaken())[0]),
        "before it is read": (ocp.PyTreeCheckpointer, "restore", lambda *a, **k: (overtaken(), restore(*a, **k))[1]),
    }[moment]
    monkeypatch.setattr(module, name, function)
    with caplog.at_level(logging.WARNING, "pfgm_jax"), Checkpoints(folder, read_only=True) as checkpoints:
        if step is None:
            assert checkpoints.restore_ema()[1] == 9
        else:
            with pytest.raises(InputError, match="checkpoint of step 6 in .* was deleted while it was read; choose"):
                checkpoints.restore_ema(step)
    assert not told(caplog)


@pytest.mark.parametrize("error", [FileNotFoundError, NotADirectoryError])
def test_a_checkpoint_that_is_deleted_while_they_are_listed_is_passed_over(copied, monkeypatch, error):  # noqa: F811
    manager, failures = ocp.CheckpointManager, [error("6"), error("6")]

    def listed(*args, **options):
        if failures:
            raise failures.pop()
        return manager(*args, **options)

    monkeypatch.setattr(ocp, "CheckpointManager", listed)
    with Checkpoints(copied / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_ema()[1] == max(checkpoints.steps())
    assert not failures


def test_models_load_while_a_run_deletes_checkpoints(tmp_path):
    with Checkpoints(tmp_path / "made", keep_last=40) as checkpoints:
        for step in range(1, 31):
            checkpoints.save(state_of(step), {})
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (tmp_path / "made" / "1").rename(folder / "1")
    failures = []

    def run():
        """As orbax does it in the process of a run: a save appears at once, and a deletion takes its time."""
        for step in range(2, 31):
            (tmp_path / "made" / str(step)).rename(folder / str(step))
            (tmp_path / "made" / f"{step}.sums.json").rename(folder / f"{step}.sums.json")
            shutil.rmtree(folder / str(step - 1))
            (folder / f"{step - 1}.sums.json").unlink(missing_ok=True)
            time.sleep(0.05)

    writer = threading.Thread(target=run)
    writer.start()
    loaded = []
    while writer.is_alive():
        try:
            with Checkpoints(folder, read_only=True) as checkpoints:
                loaded.append(checkpoints.restore_ema()[1])
        except Exception as error:
            failures.append(error)
    writer.join()
    assert not failures, failures[0]
    assert loaded == sorted(loaded) and len({*loaded}) >= 2
