"""The loss and one training step, as pure functions."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from pfgm_jax import field as field_lib
from pfgm_jax import sharding
from pfgm_jax.datasets import Batch, Scaling
from pfgm_jax.field import PartialField
from pfgm_jax.methods import Method, TrainingPair
from pfgm_jax.sharding import ROWS, WHOLE, Devices, SharedRows
from pfgm_jax.state import TrainState, apply_gradients

Field = Callable[[Float[Array, "b N"], Float[Array, " b"]], Float[Array, "b N+1"]]


def batch_field(charges: Float[Array, "R N"], chunk_size: int, devices: Devices) -> Field:
    """The field of the points of a batch; each device computes it at its own points.

    Memory of a device: 4·R·N bytes of charges, and for its b points 8·b·chunk_size of distances and weights.

    Args:
      charges: whole on each device.
      chunk_size: how many are read at a time.
      devices: that share the work.
    """
    at_own_points = functools.partial(field_lib.poisson_field, chunk_size=chunk_size)
    shared = devices.on_each(at_own_points, (ROWS, ROWS, WHOLE), ROWS)
    return lambda x, z: shared(x, z, charges)


def dataset_field(scaling: Scaling, key: jax.Array, charges: SharedRows, chunk_size: int, devices: Devices) -> Field:
    """The exact field of a whole data set, augmented as the batches of a step are.

    Each device computes, at all points, what its own share of the charges makes there; they then exchange these parts.
    Memory of a device: R·N/D bytes of charges as they are stored, 4·chunk_size·N of those read, and for all b points
    8·b·(chunk_size + N).

    Args:
      scaling: of the data.
      key: the step's, from which the batch was augmented too, so that its points are among the charges.
      charges: all stored examples.
      chunk_size: how many are augmented and read at a time.
      devices: that share the work.
    """

    def part(x, z, own_x, own_z, key, charges):
        def decode(stored, row):
            return scaling.augment(key, stored, charges.index[row]).reshape(len(stored), -1)

        of_own_charges = field_lib.partial_field(
            x, z, charges.rows, chunk_size=chunk_size, decode=decode, count=charges.count[0]
        )
        if devices.count == 1:
            return field_lib.total_field(x, z, of_own_charges)
        parts = [_unpack(p) for p in sharding.exchange(_pack(of_own_charges))]
        return field_lib.total_field(own_x, own_z, functools.reduce(field_lib.merge_fields, parts))

    shared = devices.on_each(part, (WHOLE, WHOLE, ROWS, ROWS, WHOLE, ROWS), ROWS)
    return lambda x, z: shared(x, z, x, z, key, charges)


def _pack(partial: PartialField) -> Float[Array, "b 2N+3"]:
    scalars = jnp.stack([partial.order, partial.distance2, partial.weight], axis=1)
    return jnp.concatenate([partial.nearest, partial.moment, scalars], axis=1)


def _unpack(packed: Float[Array, "b 2N+3"]) -> PartialField:
    nearest, moment = jnp.split(packed[:, :-3], 2, axis=1)
    return PartialField(nearest, packed[:, -3], packed[:, -2], packed[:, -1], moment)


def training_pair(
    key: jax.Array,
    batch: Batch,
    charges: SharedRows | None,
    *,
    method: Method,
    scaling: Scaling,
    devices: Devices,
    field_chunk: int = 4096,
) -> TrainingPair:
    """What the network is shown in a step and what it should answer, shared out by rows.

    Args:
      key: decides augmentation and perturbation.
      batch: stored examples.
      charges: the stored examples whose field is the target; None for those of the batch.
      method, scaling: what is trained, on what.
      devices: that share the work.
      field_chunk: charges read at a time.
    """
    key_augment, key_pair = jax.random.split(key)
    if charges is None:
        # As charges, examples are needed by all; they are gathered as they are stored, in a quarter of the bytes.
        data = devices.repeat(scaling.augment(key_augment, devices.gather(batch.stored), batch.index))
        field = batch_field(data.reshape(len(data), -1), field_chunk, devices)
        data = devices.split(devices.repeat(data[: method.small_batch_size]))
    else:
        data = scaling.augment(key_augment, batch.stored, devices.split(batch.index))
        field = dataset_field(scaling, key_augment, charges, field_chunk, devices)
    return method.training_pair(key_pair, data, field)


def sum_of_losses(
    params: PyTree, pair: TrainingPair, keys: jax.Array | None, *, method: Method, model: nn.Module
) -> Float[Array, ""]:
    """The sum of the losses of some examples.

    Args:
      params: of the model.
      pair: what it is shown and should answer.
      keys: of each example, for dropout; None for none.
      method, model: what is trained.
    """
    variables = {"params": params}
    if keys is None or not getattr(model, "dropout", 0.0):
        output = model.apply(variables, pair.x, pair.cond, train=keys is not None)
    else:
        # One by one, so that what is dropped of an example does not depend on the others beside it.
        def apply(x, cond, key):
            return model.apply(variables, x[None], cond[None], train=True, rngs={"dropout": key})[0]

        output = jax.vmap(apply)(pair.x, pair.cond, keys)
    return jnp.sum(method.loss(jnp.asarray(output), pair))


def held_out_loss(
    params: PyTree,
    key: jax.Array,
    batch: Batch,
    charges: SharedRows | None,
    *,
    method: Method,
    model: nn.Module,
    devices: Devices,
    **pair_arguments,
) -> Float[Array, ""]:
    """The mean loss of a batch, without dropout.

    Args:
      params: of the model.
      key, batch, charges, method, devices, **pair_arguments: see `training_pair`.
      model: the network.
    """
    pair = training_pair(key, batch, charges, method=method, devices=devices, **pair_arguments)

    def of_own_examples(params, pair):
        return sharding.sum_over_devices(sum_of_losses(params, pair, None, method=method, model=model))

    return devices.on_each(of_own_examples, (WHOLE, ROWS), WHOLE)(params, pair) / len(pair.x)


def gradients(
    params: PyTree,
    key: jax.Array,
    batch: Batch,
    charges: SharedRows | None,
    flag: Float[Array, " D"],
    *,
    method: Method,
    model: nn.Module,
    devices: Devices,
    accumulate: int = 1,
    **pair_arguments,
) -> tuple[Float[Array, ""], PyTree, Float[Array, ""]]:
    """The mean loss of a batch, its gradient, and the sum of the devices' flags, all summed over devices at once.

    Args:
      params: of the model.
      key: decides augmentation, perturbation and dropout.
      batch, charges, method, devices, **pair_arguments: see `training_pair`.
      flag: one number a device.
      model: the network.
      accumulate: microbatches that each device's examples are split into, one after the other: less memory, the same
        gradient. The memory of a device is that of the network for b/(D·accumulate) examples, and for each parameter
        4 bytes, 4 for its gradient, and 12 for its average and moments.
    """
    key_pair, key_dropout = jax.random.split(key)
    pair = training_pair(key_pair, batch, charges, method=method, devices=devices, **pair_arguments)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key_dropout, jnp.arange(len(pair.x)))
    share_of_mean = lambda *part: sum_of_losses(*part, method=method, model=model) / len(pair.x)
    loss_and_gradient = jax.value_and_grad(share_of_mean)

    def of_own_examples(params, pair, keys, flag):
        if accumulate == 1:
            total = loss_and_gradient(params, pair, keys)
        else:
            parts = jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), (pair, keys))
            zero = jax.tree.map(jnp.zeros_like, (jnp.float32(0), params))
            add = lambda total, part: (jax.tree.map(jnp.add, total, loss_and_gradient(params, *part)), None)
            # XLA computes gradients of convolutions very slowly in loops on CPU.
            total, _ = jax.lax.scan(add, zero, parts, unroll=jax.default_backend() == "cpu")
        return sharding.sum_over_devices((*total, jnp.sum(flag)))

    shared = devices.on_each(of_own_examples, (WHOLE, ROWS, ROWS, ROWS), WHOLE)
    return shared(params, pair, keys, flag)


def train_step(
    state: TrainState,
    key: jax.Array,
    batch: Batch,
    charges: SharedRows | None,
    flag: Float[Array, " D"],
    *,
    optimizer: optax.GradientTransformation,
    ema_rate: float,
    **gradient_arguments,
) -> tuple[TrainState, dict[str, Float[Array, ""]], Float[Array, ""]]:
    """One training step.

    Args:
      state: before the step.
      key: the run's; the step's own follows from it and from `state.step`.
      batch, charges, flag, **gradient_arguments: see `gradients`.
      optimizer, ema_rate: see `state.apply_gradients`.

    Returns:
      The state after the step; the loss and the gradient's global norm before it; the sum of the flags.
    """
    key = jax.random.fold_in(key, state.step)
    loss, grads, flags = gradients(state.params, key, batch, charges, flag, **gradient_arguments)
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
    return apply_gradients(state, grads, optimizer, ema_rate), metrics, flags
