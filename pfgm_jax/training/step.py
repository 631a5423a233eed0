"""Creates the parts of a training run from its config: compiled steps, batches, held-out loss."""

import functools
from collections.abc import Callable, Iterator

import jax
import ml_collections
import numpy as np
from jaxtyping import PyTree

from pfgm_jax import build, datasets, models
from pfgm_jax.keys import Keys
from pfgm_jax.sharding import Devices
from pfgm_jax.training import losses
from pfgm_jax.training.losses import Objective
from pfgm_jax.training.state import create_optimizer

HELD_OUT_BATCHES = 8


def create_objective(config: ml_collections.ConfigDict, devices: Devices) -> Objective:
    """Creates the training objective of a config whose fields are filled in."""
    method, model = build.create_method(config), models.create_model(config)
    return Objective(method, model, build.create_charges(config, devices), config.training.accumulate)


def create_step(config: ml_collections.ConfigDict, devices: Devices) -> tuple[Callable, Callable]:
    """Creates `losses.train_step` and `losses.held_out_loss` for a config, compiled at the first call.

    The former donates the buffers of its input state.

    Returns:
      (state, key, batch, dataset, flag) -> (state, metrics, flags), and (params, key, batch, dataset) -> loss.
    """
    optim, profiles = ml_collections.FrozenConfigDict(config.optim), tuple(config.model.ema_profiles)
    return _compiled(create_objective(config, devices), optim, profiles, config.model.ema_rate, devices)


# What is compiled is shared by runs of equal parts.
@functools.lru_cache(maxsize=16)
def _compiled(
    objective: Objective,
    optim: ml_collections.FrozenConfigDict,
    ema_profiles: tuple[float, ...],
    ema_rate: float,
    devices: Devices,
) -> tuple[Callable, Callable]:
    step = functools.partial(losses.train_step, objective, create_optimizer(optim, ema_profiles), ema_rate)
    held_out = functools.partial(losses.held_out_loss, objective)
    return (
        jax.jit(step, donate_argnums=0, out_shardings=devices.whole),
        jax.jit(held_out, out_shardings=devices.whole),
    )


def batches(
    config: ml_collections.ConfigDict, split: datasets.Split, devices: Devices, start: int, stop: int
) -> Iterator[datasets.Batch]:
    """Yields the batches of steps `start` to `stop`, on the devices."""
    training = config.training

    def place(batch):
        return devices.place(batch._replace(index=None))._replace(index=devices.place_whole(batch.index))

    return datasets.step_batches(
        split,
        seed=config.seed,
        batch_size=training.batch_size,
        rows=build.create_charges(config, devices).rows_needed(training.batch_size),
        start=start,
        stop=stop,
        process=(jax.process_index(), jax.process_count()),
        place=place,
    )


def as_many_as_held_out(dataset: datasets.Dataset) -> datasets.Dataset:
    """Returns the data set with as many training examples as there are test examples in the place of these.

    Losses of both are comparable: where the field is that of all examples, its noise is that of their number.
    """
    count = min(len(dataset.train), len(dataset.test))
    which = np.linspace(0, len(dataset.train) - 1, count).astype(np.int64)
    return dataset._replace(test=dataset.train.part(which))


def create_held_out_loss(
    config: ml_collections.ConfigDict, dataset: datasets.Dataset, devices: Devices, loss: Callable | None = None
) -> Callable[[PyTree], float]:
    """Creates a function from parameters to the mean loss of `HELD_OUT_BATCHES` batches of the test split.

    Examples of a small split may be drawn more than once. Perturbations are the same at every call.

    Args:
      config: a config whose fields are filled in.
      dataset: the config's data set.
      devices: devices that share the work.
      loss: second result of `create_step`; None to create it.
    """
    loss = loss or create_step(config, devices)[1]
    charges = build.create_charges(config, devices).of_dataset(dataset.test)
    keys = jax.random.split(Keys.from_seed(config.seed, devices.whole).held_out, HELD_OUT_BATCHES)

    def mean(params):
        drawn = batches(config, dataset.test, devices, 0, HELD_OUT_BATCHES)
        return float(np.mean([loss(params, key, batch, charges) for key, batch in zip(keys, drawn, strict=True)]))

    return mean
