"""The progress bar of training, beside steps whose computation a test decides."""

import io
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from pfgm_jax.sharding import Devices
from pfgm_jax.training.callbacks import Logger
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
