"""Callbacks between training steps: logging, held-out loss, checkpoints, stopping, snapshots."""

import collections
import logging
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import ml_collections
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree
from tqdm import tqdm

from pfgm_jax import build, given, pictures, sharding
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.datasets import Split
from pfgm_jax.errors import TrainingError
from pfgm_jax.folders import Folder
from pfgm_jax.generator import Generator
from pfgm_jax.interruption import StopRequest, farewell
from pfgm_jax.pages import run as page
from pfgm_jax.sharding import Devices
from pfgm_jax.training.overfitting import Losses, Overfitting
from pfgm_jax.training.state import TrainState
from pfgm_jax.training.writers import MetricWriter

log = logging.getLogger("pfgm_jax")

AFTER_A_BAD_STEP = (
    "training stops, and the last good checkpoint is kept; lower optim.lr, lengthen optim.warmup, or look at the data"
)


_norm = jax.jit(optax.tree.norm)


class Moment(NamedTuple):
    """The end of a step, and the actions that are due.

    Attributes:
      step: number of steps taken.
      logs: whether to log metrics.
      evaluates: whether to compute the held-out loss.
      saves: whether to save a checkpoint.
      draws: whether to draw a grid of samples.
      stops: whether to stop here, before the last step.
    """

    step: int
    logs: bool
    evaluates: bool
    saves: bool
    draws: bool
    stops: bool


def moment(training: ml_collections.ConfigDict, step: int, asked_to_stop: bool) -> Moment:
    """Returns the actions that are due after a step.

    Args:
      training: the fields of `config.training`, which set the intervals.
      step: number of steps taken.
      asked_to_stop: whether the run was asked to stop.
    """
    last = step == training.n_iters
    stops = asked_to_stop and not last
    evaluates, snapshot = (last or step % every == 0 for every in (training.eval_freq, training.snapshot_freq))
    saves = snapshot or stops or step % training.snapshot_freq_for_preemption == 0
    logs = evaluates or saves or step % training.log_freq == 0
    return Moment(step, logs, evaluates, saves, snapshot and training.snapshot_sampling, stops)


@runtime_checkable
class Callback(Protocol):
    """A function that the loop calls after every step."""

    def __call__(self, now: Moment, state: TrainState) -> None:
        """Performs the callback's action, if it is due.

        Args:
          now: the actions that are due.
          state: state after the step; the next step deletes its arrays.
        """
        ...


class Logger:
    """A callback that logs the mean metrics since the last line, speeds and, if it is due, the held-out loss.

    Beside the `held_out_loss` of the averaged parameters it logs the `fitted_loss`, that of as many training examples
    with the same perturbations, and the `loss_gap`, by how much the first is greater.
    """

    def __init__(
        self,
        writer: MetricWriter,
        bar: tqdm,
        images_per_step: int,
        held_out_loss: Callable[[PyTree], float],
        fitted_loss: Callable[[PyTree], float],
        devices: Devices,
    ):
        self._devices = devices
        self._writer, self._bar, self._images_per_step = writer, bar, images_per_step
        self._losses = {"held_out_loss": held_out_loss, "fitted_loss": fitted_loss}
        self._overfitting = Overfitting(writer.losses())
        self._pending: list[dict[str, Array]] = []  # metrics of the steps since the last line, still on the devices
        self._running: collections.deque[Any] = collections.deque()  # losses of steps that the bar does not show yet
        self._since = time.perf_counter()

    def add(self, metrics: dict[str, Float[Array, ""]], started: float) -> None:
        """Adds the metrics of a step that started at `started`, a time of `time.perf_counter`."""
        if not self._pending:
            self._since = started
        self._pending.append(metrics)
        self._running.append(metrics["loss"])
        self._show_finished()

    def __call__(self, now: Moment, state: TrainState) -> None:
        if not now.logs:
            return
        while self._running:  # the metrics wait for all of them, and the bar would stand still meanwhile
            jax.block_until_ready(self._running.popleft())
            self._bar.update()
        values = mean_of_finite(self._pending, now.step)
        values["steps_per_second"] = len(self._pending) / (time.perf_counter() - self._since)
        values["images_per_second"] = values["steps_per_second"] * self._images_per_step
        if now.evaluates:
            average = self._devices.gathered(state.ema_params)
            found = {name: loss(average) for name, loss in self._losses.items()}
            for name, value in found.items():
                if not math.isfinite(value):
                    raise TrainingError(f"the {name} of step {now.step} is {value}; {AFTER_A_BAD_STEP}")
            held_out, fitted = found.values()
            values |= found | {"loss_gap": held_out - fitted}
            log.info("Step %d: held-out loss %.4g, of training examples %.4g", now.step, held_out, fitted)
            warning = self._overfitting.warning(Losses(now.step, held_out, fitted))
            if warning and sharding.is_first():  # which alone knows the losses before a resumption
                log.warning("%s", warning)
        self._writer.scalars(now.step, values)
        self._bar.set_postfix({name: f"{values[name]:.3g}" for name in ("loss", "images_per_second")})
        self._pending = []

    def _show_finished(self) -> None:
        # JAX returns before a step is computed; a bar that counted calls would jump ahead and then stand still.
        while self._running and self._running[0].is_ready():
            self._running.popleft()
            self._bar.update()


class Saver:
    """A callback that saves checkpoints, and raises TrainingError if the parameters are not finite."""

    def __init__(self, checkpoints: Checkpoints, config: dict[str, Any]):
        self._checkpoints, self._config = checkpoints, config

    def __call__(self, now: Moment, state: TrainState) -> None:
        if now.saves:
            if not math.isfinite(_norm(state.params)):
                raise TrainingError(f"the parameters of step {now.step} are not finite; {AFTER_A_BAD_STEP}")
            self._checkpoints.save(state, self._config)


class Stopper:
    """A callback that ends the process, if it was asked to stop, once its last step is on disk."""

    def __init__(self, checkpoints: Checkpoints, stop: StopRequest):
        self._checkpoints, self._stop = checkpoints, stop

    def __call__(self, now: Moment, state: TrainState) -> None:
        if now.stops:
            self._checkpoints.wait()
            log.warning("%s", farewell(f"step {now.step} is saved"))
            raise SystemExit(self._stop.exit_status)


class Snapshots:
    """A callback that draws a grid of samples with the averaged parameters, if there are classes one a row."""

    def __init__(self, generator: Generator, writer: MetricWriter, examples: Split, devices: Devices):
        """Prepares to draw.

        Args:
          generator: draws.
          writer: receives the grids.
          examples: whose conditions the samples have, if the network is conditioned on images.
          devices: that share the work.
        """
        self._generator, self._writer, self._examples, self._devices = generator, writer, examples, devices

    def __call__(self, now: Moment, state: TrainState) -> None:
        generator = self._generator
        if not now.draws or build.holds_vectors(generator.config):
            return
        config, label = generator.config, None
        count, columns = pictures.GRID_IMAGES, 0
        if config.model.num_classes:
            seen = np.flatnonzero(config.data.label_counts)[: pictures.GRID_CLASSES]
            columns = pictures.CLASS_IMAGES
            label = np.repeat(seen, columns)
            count = len(label)
        context = given.of_samples(config, config.seed, 0, count, self._examples, label)
        average = self._devices.gathered(state.ema_params)
        drawn = list(generator.draw(average, count, config.seed, context=context))
        if failed := sum(int(np.sum(~np.asarray(batch.ok))) for batch in drawn):
            log.warning("At step %d the ODE solve failed for %d samples", now.step, failed)
        stored = np.asarray(generator.scaling.to_stored(np.concatenate([batch.x for batch in drawn])))
        self._writer.picture(
            now.step, pictures.image_grid(pictures.to_pixels(stored, build.window(config)), columns=columns)
        )


class Page:
    """A callback that writes the page of the run again after each evaluation."""

    def __init__(self, workdir: Folder):
        self._workdir = workdir

    def __call__(self, now: Moment, state: TrainState) -> None:
        if now.evaluates and sharding.is_first():
            page.update(self._workdir)


def mean_of_finite(pending: list[dict[str, Array]], last_step: int) -> dict[str, float]:
    """Computes the mean metrics of several steps.

    Args:
      pending: metrics of each step.
      last_step: number of the last of these steps.

    Raises:
      TrainingError: a metric is not finite.
    """
    fetched = jax.device_get(pending)
    for i, metrics in enumerate(fetched):
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} of step {last_step - len(fetched) + 1 + i} is {value}; {AFTER_A_BAD_STEP}"
                )
    return {name: float(np.mean([m[name] for m in fetched])) for name in fetched[0]}
