"""Losses of held-out examples beside those of training examples, and what is said of them."""

import json
import logging

import numpy as np

import run_lib
from configs import default
from pfgm_jax import datasets
from pfgm_jax.datasets.split import HOLD_OUT_EVERY
from pfgm_jax.training.overfitting import EVALUATIONS, Losses, Overfitting, losses_of_lines


def warnings(held_out, fitted, before=0):
    """What is said at each step; the run resumes after the first `before` of them."""
    losses = [Losses(step, *both) for step, both in enumerate(zip(held_out, fitted, strict=True))]
    watch = Overfitting(losses[:before])
    return [watch.warning(now) for now in losses[before:]]


def test_a_run_that_learns_by_heart_is_told_so_once():
    falling = [5.0, 4, 3, 2.9, 2.8, 2.7, 2.6, 2.5]
    rising = [5.0, 4, 3.5, 3.6, 3.7, 3.8, 3.9, 4.0]
    said = warnings(rising, falling)
    assert [i for i, text in enumerate(said) if text] == [2 + EVALUATIONS]
    assert said[2 + EVALUATIONS] == (
        "The run overfits: since step 2 the held-out loss rose from 3.5 to 3.8, and that of training examples fell "
        "from 3 to 2.7; use an earlier checkpoint (training.snapshot_freq keeps more of them), more data, more "
        "model.dropout or a smaller model.nf"
    )
    # The same after a resumption, before it was said and after.
    assert [bool(text) for text in warnings(rising, falling, 4)] == [False, True, False, False]
    assert not any(warnings(rising, falling, 6))
    # One evaluation that does not fit does not silence it for good.
    assert any(warnings([*rising, 4.1, 4.2], [5.0, 4, 3, 2.9, 3.1, 2.7, 2.6, 2.5, 2.4, 2.3]))


def test_a_run_that_does_not_learn_by_heart_is_not_told_so():
    falling = [5.0, 4, 3, 2.9, 2.8, 2.7, 2.6, 2.5]
    rising = [5.0, 4, 3.5, 3.6, 3.7, 3.8, 3.9, 4.0]
    assert not any(warnings(falling, falling))
    assert not any(warnings(rising, rising))
    assert not any(warnings([5, 4, 3, 3.5, 3.2, 2.9, 2.8, 2.7], falling))
    # Losses that have converged, but for noise.
    for seed in range(200):
        noise = 0.001 * np.random.default_rng(seed).normal(size=(2, 40))
        assert not any(warnings(0.5 * (1 + noise[0]), 0.4 * (1 + noise[1])))


def test_lines_without_losses_are_left_out():
    lines = ['{"step": 1, "held_out_loss": 2.0, "fitted_loss": 1}']
    for value in ("null", '"2"', "true", "[2]", "NaN", "Infinity"):
        lines.append('{"step": 2, "fitted_loss": 1, "held_out_loss": ' + value + "}")
    lines += ['{"step": 3, "held_out_loss": 2.0}', "[1, 2]", '{"step": 4, "loss": 2.0}']
    assert losses_of_lines(line.encode() for line in lines) == [Losses(1, 2.0, 1)]


def losses_of_run(train, test, tmp_path, **fields):
    """Trains on vectors, each repeated, and holds out others; returns what metrics.jsonl has."""
    x = np.repeat(test, HOLD_OUT_EVERY, axis=0)
    learned = np.arange(len(x)) % HOLD_OUT_EVERY != held_out_of_every(tmp_path)
    x[learned] = np.resize(train, (learned.sum(), train.shape[1]))
    np.save(tmp_path / "data.npy", x.astype(np.float32))
    config = default.get_config()
    config.data.dataset = f"arrays:{tmp_path / 'data.npy'}"
    config.training.sde = "vpsde"
    config.model.name, config.model.nf, config.model.num_res_blocks, config.model.ema_rate = "mlp", 64, 2, 0.9
    config.training.batch_size = config.training.small_batch_size = 64
    config.training.snapshot_sampling = False
    config.optim.warmup, config.optim.lr = 10, 3e-3
    config.update_from_flattened_dict(fields)
    run_lib.train(config, tmp_path / "run")
    return losses_of_lines((tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines())


def held_out_of_every(tmp_path):
    """Which of `HOLD_OUT_EVERY` examples is held out."""
    np.save(tmp_path / "numbers.npy", np.arange(2.0 * HOLD_OUT_EVERY, dtype=np.float32)[:, None])
    (first, _) = np.ravel(datasets.load_dataset(f"arrays:{tmp_path / 'numbers.npy'}").test[:])
    return int(first)


def test_gap_of_equal_examples_is_zero(tmp_path):
    same = np.tile(np.linspace(-1, 1, 6), (4, 1))
    fields = {"training.n_iters": 4, "training.eval_freq": 2}
    for losses in (found := losses_of_run(same, same, tmp_path, **fields)):
        assert losses.held_out == losses.fitted > 0
    assert [losses.step for losses in found] == [2, 4]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss_gap"] for line in lines if "loss_gap" in line] == [0, 0]


def test_a_run_on_few_examples_overfits_and_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pfgm_jax"), "propagate", True)
    train, test = np.random.default_rng(0).normal(size=(2, 12, 6))
    found = losses_of_run(train, test, tmp_path, **{"training.n_iters": 600, "training.eval_freq": 40})
    lowest = min(found, key=lambda losses: losses.held_out)
    # The network approaches what the training examples alone determine.
    assert found[-1].fitted < 0.7 * lowest.fitted and found[-1].held_out > 1.3 * lowest.held_out
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss_gap"] == found[-1].held_out - found[-1].fitted > 0
    assert len([text for text in caplog.messages if text.startswith("The run overfits: since step ")]) == 1
