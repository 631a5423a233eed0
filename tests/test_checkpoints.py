"""Checkpoints that are damaged, in the way, or cannot be written."""

import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import InputError, StorageError
from pfgm_jax.training.state import create_state


def state_of(step):
    params = {"a": jnp.full((64, 64), float(step)), "b": {"c": jnp.arange(7.0) * step}}
    return create_state(params, optax.adam(1e-3)).__class__(
        jnp.int32(step), params, jax.tree.map(lambda p: p / 2, params), optax.adam(1e-3).init(params)
    )


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoints of steps 3 and 6."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step in (3, 6):
            checkpoints.save(state_of(step), {"step": step})
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    return tmp_path


def kinds_of_files(folder) -> list[str]:
    """One file of each kind in a checkpoint."""
    kinds = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            # Files with data have names of their own.
            kinds.setdefault("/".join(part if len(part) < 30 else "*" for part in name.split("/")), name)
    return list(kinds.values())


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_any_file_is_named_and_the_checkpoint_before_is_used(saved, tmp_path, caplog, damage):
    names = kinds_of_files(saved / "checkpoints" / "6")
    assert len(names) >= 12
    for i, name in enumerate(names):
        folder = tmp_path / str(i)
        shutil.copytree(saved, folder)
        DAMAGE[damage](folder / "checkpoints" / "6" / name)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "pfgm_jax"), Checkpoints(folder / "checkpoints") as checkpoints:
            assert_same(checkpoints.restore(state_of(0)), state_of(3))
            assert checkpoints.steps() == [3]
            checkpoints.save(state_of(6), {})  # the run goes on
        told = [record.getMessage() for record in caplog.records if record.name == "pfgm_jax"]
        assert len(told) == 1 and "The checkpoint of step 6 is damaged (its file" in told[0]
        assert name in told[0]
        (aside,) = (folder / "damaged").iterdir()
        assert aside.name.startswith("6-") and str(aside) in told[0]
        with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
            assert_same(checkpoints.restore(state_of(0)), state_of(6))


def test_altered_arrays_are_noticed_without_the_checksums_of_files(copied):
    """As after a kill between the end of a save and the writing of the checksums of its files."""
    (copied / "checkpoints" / "6.sums.json").unlink()
    sums = copied / "checkpoints" / "6" / "sums" / "metadata"
    content = json.loads(sums.read_text())
    name = next(name for name in content if "params" in name)
    sums.write_text(json.dumps({**content, name: content[name] ^ 1}))
    with Checkpoints(copied / "checkpoints") as checkpoints:
        assert_same(checkpoints.restore(state_of(0)), state_of(3))


def test_reading_sets_nothing_aside(copied):
    flip(copied / "checkpoints" / "6" / "state" / "_METADATA")
    before = sorted(path.relative_to(copied) for path in copied.rglob("*"))
    with Checkpoints(copied / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_ema()[1] == 3
        with pytest.raises(InputError, match="the checkpoint of step 6 in .* is damaged .*; choose another step"):
            checkpoints.restore(state_of(0), 6)
    assert sorted(path.relative_to(copied) for path in copied.rglob("*")) == before


def test_an_empty_step_and_left_over_saves_are_not_used(copied):
    (copied / "checkpoints" / "9").mkdir()
    shutil.copytree(copied / "checkpoints" / "6", copied / "checkpoints" / "12.orbax-checkpoint-tmp")
    with Checkpoints(copied / "checkpoints") as checkpoints:
        assert_same(checkpoints.restore(state_of(0)), state_of(6))


def test_when_all_are_damaged_nothing_is_begun_anew(copied):
    for step in (3, 6):
        flip(copied / "checkpoints" / str(step) / "state" / "manifest.ocdbt")
    with (
        Checkpoints(copied / "checkpoints") as checkpoints,
        pytest.raises(InputError, match=r"all checkpoints in .* are damaged \(steps 3, 6\); restore them from a copy"),
    ):
        checkpoints.restore(state_of(0))
    # Nor when the run is started once more.
    with Checkpoints(copied / "checkpoints") as checkpoints, pytest.raises(InputError, match="steps 3, 6"):
        checkpoints.restore(state_of(0))
    assert not (copied / "damaged").exists()


def test_what_is_whole_but_does_not_fit_is_not_set_aside(copied):
    other = create_state(state_of(0).params, optax.sgd(1e-3, momentum=0.9))
    with (
        Checkpoints(copied / "checkpoints") as checkpoints,
        pytest.raises(InputError, match="step 6 in .* is as it was saved, but cannot be restored; restore the"),
    ):
        checkpoints.restore(other)
    assert not (copied / "damaged").exists()


def test_checkpoints_without_checksums_are_read(copied):
    """Those that earlier versions wrote."""
    for step in (3, 6):
        shutil.rmtree(copied / "checkpoints" / str(step) / "sums")
        (copied / "checkpoints" / f"{step}.sums.json").unlink()
    with Checkpoints(copied / "checkpoints") as checkpoints:
        assert_same(checkpoints.restore(state_of(0)), state_of(6))


def test_what_cannot_be_written_is_one_sentence_and_the_rest_stays_good(copied, monkeypatch):
    with (
        pytest.raises(StorageError, match="cannot be written to .*checkpoints .*; earlier checkpoints are intact"),
        Checkpoints(copied / "checkpoints") as checkpoints,
    ):
        shutil.rmtree(copied / "checkpoints")
        (copied / "checkpoints").write_text("in the way")
        checkpoints.save(state_of(9), {})


def test_what_is_kept_for_good_stays_when_the_interval_changes(tmp_path):
    with Checkpoints(tmp_path, keep_every=30) as checkpoints:
        for step in (20, 30, 40, 60, 70, 80):
            checkpoints.save(state_of(step), {})
    with Checkpoints(tmp_path, keep_every=1000) as checkpoints:
        assert checkpoints.steps() == [30, 60, 70, 80]
        for step in (82, 84, 86):
            checkpoints.save(state_of(step), {})
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_of(88), {})
    assert Checkpoints(tmp_path, read_only=True).steps() == [30, 60, 86, 88]
    # A digit of it has changed.
    (tmp_path / "kept.json").write_text((tmp_path / "kept.json").read_text().replace("30", "31"))
    with pytest.raises(InputError, match="kept.json is damaged"):
        Checkpoints(tmp_path)
    (tmp_path / "kept.json").write_text("[30, 60]")  # as a user, or an earlier version, would write it
    assert {30, 60} <= {*Checkpoints(tmp_path).steps()}
    # Of a run that recorded nothing, all but the latest are there because they were to be kept.
    (tmp_path / "kept.json").unlink()
    with Checkpoints(tmp_path, keep_every=1000) as checkpoints:
        checkpoints.save(state_of(90), {})
        checkpoints.save(state_of(92), {})
        checkpoints.wait()
        assert {30, 60} <= set(checkpoints.steps())
    (tmp_path / "kept.json").write_text("[30")
    with pytest.raises(InputError, match="kept.json is damaged .*; write the list of steps to keep into it"):
        Checkpoints(tmp_path)


@pytest.mark.parametrize("read", ["restore", "restore_ema"])
def test_a_checkpoint_in_the_folder_of_another_step_is_noticed(copied, caplog, read):
    folder = copied / "checkpoints"
    shutil.rmtree(folder / "6")
    (folder / "6.sums.json").unlink()
    shutil.copytree(folder / "3", folder / "6")
    with caplog.at_level(logging.WARNING, "pfgm_jax"), Checkpoints(folder, read_only=True) as checkpoints:
        if read == "restore":
            assert_same(checkpoints.restore(state_of(0)), state_of(3))
        else:
            assert checkpoints.restore_ema()[1] == 3
    assert "The checkpoint of step 6 is damaged (it is of step 3)" in caplog.text
