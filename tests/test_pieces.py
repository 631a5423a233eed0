"""What is drawn piece by piece: interrupted, resumed, refused to two at once."""

import shutil

import numpy as np
import pytest

import run_lib
from pfgm_jax import interruption, locks, pieces
from pfgm_jax.errors import WorkdirInUseError
from tests.test_evaluation import config_of_evaluation, interrupt_the_third_draw, trained, workdir  # noqa: F401  (fixtures)


def test_interrupted_sampling_goes_on_to_the_same_samples(workdir, monkeypatch):  # noqa: F811
    config = config_of_evaluation(**{"sampling.num_samples": 30})
    calls = interrupt_the_third_draw(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_lib.sample(config, workdir)
    resumed = dict(np.load(run_lib.sample(config, workdir) / "samples.npz"))
    assert calls == [0, 8, 16, 16, 24]
    shutil.rmtree(workdir / "samples")
    for name, rows in np.load(run_lib.sample(config, workdir) / "samples.npz").items():
        np.testing.assert_array_equal(resumed[name], rows)
    assert calls[5:] == [0, 8, 16, 24]


def test_what_is_saved_is_known_at_any_moment(tmp_path):
    told = []

    def compute(first):
        told.append(interruption.saved_now())
        return {"x": np.arange(first, first + 4)}

    before = interruption.saved_now()
    rows = pieces.rows_in_pieces(tmp_path, 10, 4, compute, "image")
    assert told == [f"{n} of 10 images are saved in {tmp_path}" for n in (0, 4, 8)]
    assert interruption.saved_now() == before
    np.testing.assert_array_equal(rows["x"], np.arange(10))


@pytest.mark.parametrize("large", [1, 200, 10**9])
def test_rows_are_the_same_on_the_disk_and_in_memory(tmp_path, monkeypatch, large):
    """Rows of 24 bytes, in pieces of 4 rows; interrupted after two."""
    monkeypatch.setattr(pieces, "LARGE", large)
    every = np.arange(33.0).reshape(11, 3)

    def compute(first):
        if first == 8 and not again:
            raise KeyboardInterrupt
        rows = np.minimum(np.arange(first, first + 4), 10)
        return {"x": every[rows], "n": rows}

    again = False
    with pytest.raises(KeyboardInterrupt):
        pieces.rows_in_pieces(tmp_path, 11, 4, compute, "image")
    again = True
    for _ in range(2):
        found = pieces.rows_in_pieces(tmp_path, 11, 4, compute, "image")
        np.testing.assert_array_equal(found["x"], every)
        np.testing.assert_array_equal(found["n"], np.arange(11))
        assert found["lengths"].tolist() == [4, 4, 3] and len(found["seconds"]) == 3
        assert isinstance(found["x"], np.memmap) == (large < every.nbytes)
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["00000000.npz", "00000004.npz", "00000008.npz"]


def test_two_processes_do_not_draw_the_same_samples(workdir):  # noqa: F811
    config = config_of_evaluation(**{"sampling.num_samples": 8})
    folder = run_lib.sample(config, workdir)
    with locks.only_writer(folder / "pieces"), pytest.raises(WorkdirInUseError, match="is writing in .*pieces; wait"):
        run_lib.sample(config, workdir)


def test_progress_is_shown_with_the_time_left(workdir, capsys):  # noqa: F811
    config = config_of_evaluation()
    run_lib.evaluate(config, workdir)
    shown = capsys.readouterr().err
    for bar in ("30/30 [", "sample/s]", "12/12 [", "image/s]"):
        assert bar in shown, shown
    run_lib.likelihood(config, workdir)
    assert "12/12 [" in capsys.readouterr().err
