"""Creates the parts of a training run from its config: compiled steps, batches, held-out loss."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import PyTree

from pfgm_jax import build, datasets, executables, models
from pfgm_jax.keys import Keys
from pfgm_jax.sharding import Devices
from pfgm_jax.training import losses
from pfgm_jax.training.losses import Objective
from pfgm_jax.training.state import TrainState, create_optimizer, create_state

HELD_OUT_BATCHES = 8


def create_objective(config: ml_collections.ConfigDict, devices: Devices) -> Objective:
    """Creates the training objective of a config whose fields are filled in."""
    method, model = build.create_method(config), models.create_model(config)
    charges = build.create_charges(config, devices)
    return Objective(method, model, charges, config.training.accumulate, _is_spread(config, devices))


def _is_spread(config: ml_collections.ConfigDict, devices: Devices) -> bool:
    return 0 < config.training.spread_from <= devices.count


def initializer(config: ml_collections.ConfigDict) -> Callable[[jax.Array], TrainState]:
    """Returns the function from a key to the initial state of a config whose fields are filled in."""
    return _initializer(ml_collections.FrozenConfigDict(config.to_dict()))


# Compiled, and the same for the same config, so that the network is traced once however often shapes are asked for.
@functools.lru_cache(maxsize=16)
def _initializer(config: ml_collections.FrozenConfigDict) -> Callable[[jax.Array], TrainState]:
    model, shape = models.create_model(config), build.image_shape(config)
    optimizer = create_optimizer(config.optim, config.model.ema_profiles, config.training.n_iters)
    return jax.jit(lambda key: create_state(models.init_params(model, shape, key), optimizer))


def shapes_of_state(config: ml_collections.ConfigDict, devices: Devices) -> TrainState:
    """Says what the state of a run is and where: parameters on every device, averages and Adam's moments spread or not.

    They are spread from `training.spread_from` devices on (ZeRO-1, Rajbhandari et al. 2020, arXiv:1910.02054).

    Returns:
      `jax.ShapeDtypeStruct`s with shardings.
    """
    shapes = _shapes(ml_collections.FrozenConfigDict(config.to_dict()), devices)
    placement = jax.tree.map(lambda _: devices.whole, shapes)
    if _is_spread(config, devices):
        spread = devices.spread(shapes)
        placement = placement.replace(ema_params=spread.ema_params, opt_state=spread.opt_state)
    return jax.tree.map(lambda shape, sharding: shape.update(sharding=sharding), shapes, placement)


@functools.lru_cache(maxsize=16)
def _shapes(config: ml_collections.FrozenConfigDict, devices: Devices) -> TrainState:
    # Placed as the key of a run: for another placement JAX would trace the network once more.
    key = jax.ShapeDtypeStruct((), jax.eval_shape(lambda: jax.random.key(0)).dtype, sharding=devices.whole)
    as_traced = lambda: jax.eval_shape(_initializer(config), key)
    return executables.kept_value(as_traced, "shapes of a state", config.to_dict())


def shardings_of_state(config: ml_collections.ConfigDict, devices: Devices) -> TrainState:
    """Says where the state of a run is; see `shapes_of_state`."""
    return jax.tree.map(lambda shape: shape.sharding, shapes_of_state(config, devices))


def create_step(config: ml_collections.ConfigDict, devices: Devices) -> Callable:
    """Creates `losses.train_step` for a config, compiled at the first call.

    It takes a state that is placed as `shardings_of_state` says, and donates its buffers.

    Returns:
      (state, key, batch, dataset, flag) -> (state, metrics, flags).
    """
    optim, profiles = ml_collections.FrozenConfigDict(config.optim), tuple(config.model.ema_profiles)
    # Which a constant learning rate does not depend on; more of them then compile nothing anew.
    steps = None if optim.schedule == "constant" else config.training.n_iters
    leaves, structure = jax.tree.flatten(shardings_of_state(config, devices))
    objective, placement = create_objective(config, devices), (tuple(leaves), structure)
    return _compiled_step(objective, optim, profiles, steps, config.model.ema_rate, devices, placement)


# What is compiled is shared by runs of equal parts.
@functools.lru_cache(maxsize=16)
def _compiled_step(
    objective: Objective,
    optim: ml_collections.FrozenConfigDict,
    ema_profiles: tuple[float, ...],
    steps: int | None,
    ema_rate: float,
    devices: Devices,
    placement: tuple[tuple[jax.sharding.Sharding, ...], Any],
) -> Callable:
    leaves, structure = placement
    of_state = jax.tree.unflatten(structure, leaves)
    step = functools.partial(losses.train_step, objective, create_optimizer(optim, ema_profiles, steps), ema_rate)
    return jax.jit(step, donate_argnums=0, out_shardings=(of_state, devices.whole, devices.whole))


@functools.lru_cache(maxsize=16)
def _compiled_loss(objective: Objective, devices: Devices) -> Callable:
    return jax.jit(functools.partial(losses.held_out_loss, objective), out_shardings=devices.whole)


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
    config: ml_collections.ConfigDict, dataset: datasets.Dataset, devices: Devices
) -> Callable[[PyTree], float]:
    """Creates a function from parameters to the mean loss of `HELD_OUT_BATCHES` batches of the test split.

    Examples of a small split may be drawn more than once. Perturbations are the same at every call.

    Args:
      config: a config whose fields are filled in.
      dataset: the config's data set.
      devices: devices that share the work.
    """
    loss = _compiled_loss(create_objective(config, devices), devices)
    charges = build.create_charges(config, devices).of_dataset(dataset.test)
    keys = jax.random.split(Keys.from_seed(config.seed, devices.whole).held_out, HELD_OUT_BATCHES)

    def mean(params):
        drawn = batches(config, dataset.test, devices, 0, HELD_OUT_BATCHES)
        return float(np.mean([loss(params, key, batch, charges) for key, batch in zip(keys, drawn, strict=True)]))

    return mean
