"""Requests to stop, which any process of a run may receive, and all answer at the same step."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax.sharding import Devices


class SharedRequest:
    """A request that any process may receive, and that all processes answer at the same step.

    It is added to the sums of the training step. All processes read the result the same number of steps later, when it
    has long been available, so that none has to wait.
    """

    LAG = 4

    def __init__(self, devices: Devices):
        self._devices = devices
        self._answers: list[Array] = []
        self._flag = functools.lru_cache(self._place_flag)

    def flag(self, asked: bool) -> Float[Array, " D"]:
        """Returns this process's request as an argument of the training step."""
        return self._flag(asked)

    def answer(self, total: Float[Array, ""], asked: bool) -> bool:
        """Returns whether all processes should stop after the step that returned `total`, the sum of the flags."""
        if jax.process_count() == 1:
            return asked
        self._answers.append(total)
        return len(self._answers) > self.LAG and bool(self._answers.pop(0) > 0)

    def _place_flag(self, asked: bool) -> Array:
        return self._devices.place(np.full(self._devices.local_count, float(asked), np.float32))
