"""Where results lie: none replaces another."""

import json
import shutil

import numpy as np
import pytest

import run_lib
from pfgm_jax import build, results
from pfgm_jax.errors import InputError, StorageError
from pfgm_jax.trained_model import TrainedModel
from tests.test_evaluation import config_of_evaluation, own_cache, trained, workdir  # noqa: F401
from tests.test_run_lib import small_digits


def contents(folder):
    """What a run holds, but for its log and its page, which grow with each command."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if str(name) not in ("log.jsonl", "report.html")}


def assert_kept(before, folder):
    """Whatever was there is there, as it was."""
    after = contents(folder)
    assert [name for name in before if before[name] != after.get(name)] == []


def config_of_samples(**overrides):
    return small_digits(**{"sampling.ode_solver": "euler", "sampling.N": 4, "sampling.num_samples": 12, **overrides})


# Whatever decides samples.
OTHER_SAMPLES = (
    {"seed": 7},
    {"sampling.N": 5},
    {"sampling.ode_solver": "improved_euler"},
    {"sampling.schedule": "rho"},
    {"sampling.z_min": 0.01},
    {"sampling.shared_step": True},
    {"sampling.checkpoint": 3},
)


def test_other_samples_go_to_another_folder_and_none_is_replaced(workdir):  # noqa: F811
    found = [run_lib.sample(config_of_samples(), workdir)]
    assert found[0] == workdir / "samples" / "6-euler"
    for other in OTHER_SAMPLES:
        before = contents(workdir / "samples")
        found.append(run_lib.sample(config_of_samples(**other), workdir))
        assert_kept(before, workdir / "samples")
        record = json.loads((found[-1] / "record.json").read_text())
        assert record["sampling"]["ode_solver"] == found[-1].name.split("-")[1]
    assert len({*found}) == len(found)
    # Each is found again.
    before = contents(workdir / "samples")
    assert [run_lib.sample(config_of_samples(**other), workdir) for other in ({}, *OTHER_SAMPLES)] == found
    assert contents(workdir / "samples") == before


def test_more_samples_extend_those_that_are_there_and_fewer_take_nothing_away(workdir, monkeypatch):  # noqa: F811
    draw, calls = TrainedModel.draw, []
    monkeypatch.setattr(
        TrainedModel, "draw", lambda m, n, seed, first, *given: calls.append(first) or draw(m, n, seed, first, *given)
    )

    def samples(n):
        calls.clear()
        folder = run_lib.sample(config_of_samples(**{"sampling.num_samples": n, "sampling.batch_size": 6}), workdir)
        return folder, np.load(folder / "samples.npz")["samples"]

    folder, few = samples(8)
    assert calls == [0, 6] and sorted(path.name for path in folder.glob("[0-9]*.png")) == [f"{i}.png" for i in range(8)]
    _, more = samples(13)
    assert calls == [8] and len(more) == 13
    np.testing.assert_array_equal(more[:8], few)
    assert sorted(path.name for path in folder.glob("[0-9]*.png")) == [f"{i:02}.png" for i in range(13)]
    before = contents(folder)
    (folder / "07.png").unlink()
    samples(13)
    assert contents(folder) == before
    _, still = samples(5)
    assert calls == [] and len(still) == 13 and contents(folder) == before
    shutil.rmtree(folder)
    _, at_once = samples(13)
    np.testing.assert_allclose(at_once.astype(int), more, atol=1)
    # Nor does an evaluation draw them again.
    calls.clear()
    evaluation = config_of_evaluation(**{"eval.num_samples": 15, "eval.enable_bpd": False, "eval.enable_loss": False})
    evaluation.sampling = config_of_samples(**{"sampling.batch_size": 6}).sampling
    run_lib.evaluate(evaluation, workdir)
    assert calls == [13]


def test_pieces_are_of_one_place_and_whole(workdir):  # noqa: F811
    """A piece that is cut off, or has been copied over another, is made again."""
    config = config_of_samples(**{"sampling.batch_size": 4})
    folder = run_lib.sample(config, workdir)
    before = contents(folder)
    for damage in ("copied", "cut", "emptied"):
        pieces = sorted((folder / "pieces").glob("*.npz"))
        assert [piece.name for piece in pieces] == ["00000000.npz", "00000004.npz", "00000008.npz"]
        whole = pieces[0].read_bytes()
        pieces[1].write_bytes({"copied": whole, "cut": whole[:100], "emptied": b""}[damage])
        (folder / "samples.npz").unlink()
        run_lib.sample(config, workdir)
        images = [name for name in before if name.suffix == ".png"]
        assert len(images) == 13 and all(before[name] == (folder / name).read_bytes() for name in images)
        np.testing.assert_array_equal(np.load(folder / "pieces" / "00000004.npz")["first"], 4)


# Whatever decides a report.
OTHER_REPORTS = (
    {"seed": 7},
    {"sampling.N": 5},
    {"eval.enable_loss": False},
    {"eval.enable_bpd": True, "eval.num_images": 2},
    {"training.small_batch_size": 8},
)


@pytest.mark.slow
def test_other_evaluations_go_to_other_files_and_none_is_replaced(workdir):  # noqa: F811
    plain = {"eval.num_samples": 8, "eval.enable_bpd": False}
    files = [workdir / "eval" / "6.json"]
    for other in ({}, *OTHER_REPORTS):
        before = contents(workdir / "eval")
        (report,) = run_lib.evaluate(config_of_evaluation(**{**plain, **other}), workdir)
        assert_kept(before, workdir / "eval")
        new = {*(workdir / "eval").glob("*.json")} - {*files} or {files[0]}
        assert len(new) == 1
        written = json.loads(new.pop().read_text())
        assert written.pop("config") and written == report
        files = sorted((workdir / "eval").glob("*.json"))
    assert len(files) == 1 + len(OTHER_REPORTS) and files[0].name.startswith("6")


def test_what_an_earlier_version_left_is_not_replaced(workdir):  # noqa: F811
    """Which has no record."""
    (workdir / "samples" / "6-euler").mkdir(parents=True)
    (workdir / "samples" / "6-euler" / "samples.npz").write_bytes(b"precious")
    (workdir / "eval").mkdir()
    (workdir / "eval" / "6.json").write_text("precious")
    before = contents(workdir)
    assert run_lib.sample(config_of_samples(), workdir).name.startswith("6-euler-")
    run_lib.evaluate(config_of_evaluation(**{"eval.enable_sampling": False, "eval.enable_bpd": False}), workdir)
    assert_kept(before, workdir)
    assert len([*(workdir / "eval").glob("6-*.json")]) == 1


def test_a_place_is_found_whatever_lies_there(tmp_path):
    claim = lambda **record: results.claim(tmp_path / "results", "5", record).name
    assert claim(a=1) == claim(a=1) == "5"
    other = claim(a=2)
    assert other.startswith("5-") and claim(a=2) == other
    # A record that cannot be read belongs to something else.
    (tmp_path / "results" / "5" / "record.json").write_bytes(b"\xff{")
    again = claim(a=1)
    assert again.startswith("5-") and again not in ("5", other)
    # An empty folder is what a killed process left.
    (tmp_path / "results" / "6").mkdir()
    assert results.claim(tmp_path / "results", "6", {}).name == "6"
    (tmp_path / "results" / other / "record.json").write_text('{"a": 3}')
    with pytest.raises(InputError, match=f"{other} holds what was made otherwise; move it to another place"):
        claim(a=2)
    assert not [path for path in (tmp_path / "results").iterdir() if path.name.startswith(".")]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="results cannot be written to .*file .*; see that it is a folder"):
        results.claim(tmp_path / "file", "5", {})


def test_likelihoods_are_named_by_their_images_and_shared(workdir, monkeypatch, tmp_path):  # noqa: F811
    bits, calls = TrainedModel.bits, []
    monkeypatch.setattr(TrainedModel, "bits", lambda *a: calls.append(len(a[1])) or bits(*a))
    np.save(tmp_path / "own.npy", build.load_dataset(small_digits()).test[:2])
    few = config_of_evaluation(**{"eval.num_images": 2})
    own = config_of_evaluation(**{"eval.bpd_dataset": f"arrays:{tmp_path}/own.npy"})
    names = [run_lib.likelihood(config, workdir).name for config in (few, own)]
    assert names == ["6-test", "6-arrays"] and len(calls) == 2
    other = config_of_evaluation(**{"eval.num_images": 2, "eval.num_probes": 2})
    assert run_lib.likelihood(other, workdir).name.startswith("6-test-") and len(calls) == 3
    # What an evaluation needs is there.
    few.eval.enable_sampling = few.eval.enable_loss = False
    run_lib.evaluate(few, workdir)
    assert len(calls) == 3


def test_results_of_before_a_field_existed_are_found_while_it_has_its_default(workdir):  # noqa: F811
    folder = run_lib.sample(config_of_samples(), workdir)
    path = folder / "record.json"
    record = json.loads(path.read_text())
    assert record["sampling"].pop("eta") == 0.0
    path.write_text(json.dumps(record))
    before = contents(folder)
    assert run_lib.sample(config_of_samples(), workdir) == folder
    assert contents(folder) == before
    assert run_lib.sample(config_of_samples(**{"sampling.eta": 0.5}), workdir) != folder


def test_results_of_before_a_group_of_fields_existed_are_found_too(workdir):  # noqa: F811
    record = {"step": 3, "sampling": {"N": 100}, "pfgmpp": {"D": 0.0, "sigma_min": 0.002, "sigma_max": 80.0}}
    before = {name: value for name, value in record.items() if name != "pfgmpp"}
    folder = results.claim(workdir / "samples", "of-before", before)
    assert results.claim(workdir / "samples", "of-before", record) == folder
    # Beside it, in a folder with a hash.
    other = results.claim(workdir / "samples", "of-before", {**before, "step": 4})
    assert other != folder and results.claim(workdir / "samples", "of-before", {**record, "step": 4}) == other
    record["pfgmpp"]["D"] = 8.0
    assert results.claim(workdir / "samples", "of-before", record) != folder
