"""The progress bar of training, beside steps whose computation a test decides."""

import io
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
from tqdm import tqdm

from pfgm_jax.sharding import Devices
from pfgm_jax.training.callbacks import Logger, Moment
from pfgm_jax.training.state import TrainState
from pfgm_jax.training.writers import NoWriter


class Loss:
    """The loss of a step that may still be computed."""

    ready = False

    def is_ready(self):
        return self.ready


@pytest.mark.parametrize("late", [0, 3, 9])
def test_the_bar_shows_steps_that_are_finished(late):
    bar = tqdm(total=30, file=io.StringIO())
    logger = Logger(NoWriter(Path(), 0), bar, 1, lambda params: 0.0, lambda params: 0.0, Devices.all())
    losses: list[Any] = [Loss() for _ in range(30)]
    for taken, loss in enumerate(losses, 1):
        logger._running.append(loss)
        finished = max(0, taken - late)
        for done in losses[:finished]:
            done.ready = True
        logger._show_finished()
        assert bar.n == finished
    # A step that is finished before an earlier one is not shown before it.
    losses[-1].ready = True
    logger._show_finished()
    assert bar.n == 30 - late


def test_the_bar_moves_while_metrics_are_waited_for():
    bar = tqdm(total=30, file=io.StringIO())
    logger = Logger(NoWriter(Path(), 0), bar, 1, lambda params: 0.0, lambda params: 0.0, Devices.all())
    shown = []

    class Waiting:
        def block_until_ready(self):
            shown.append(bar.n)

    logger._pending = [{"loss": jnp.ones(())} for _ in range(5)]
    logger._running.extend(Waiting() for _ in range(5))
    state = TrainState(0, 0, 0, 0)
    logger(Moment(5, logs=True, evaluates=False, saves=False, draws=False, stops=False), state)
    assert shown == [0, 1, 2, 3, 4] and bar.n == 5
