"""The loss and the training step, as pure functions."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from pfgm_jax import sharding
from pfgm_jax.charges import Charges
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.datasets.pipeline import Batch
from pfgm_jax.methods.base import Method, TrainingPair
from pfgm_jax.sharding import ROWS, WHOLE, SharedRows
from pfgm_jax.training.state import TrainState, apply_gradients


@dataclasses.dataclass(frozen=True)
class Objective:
    """The training objective.

    Attributes:
      method: defines the network's inputs and targets.
      model: the network.
      charges: charges whose field is the target; holds the devices.
      accumulate: number of microbatches that each device processes in turn: less memory, the same gradient. Each device
        needs the network's memory for b/(D·accumulate) examples, and for each parameter 4 bytes, 4 for its gradient,
        and 12 for its average and moments, or its part of these.
      spread: whether each device gets only its part of the gradient's sum, which is all that it needs where averages
        and moments are spread.
    """

    method: Method
    model: nn.Module
    charges: Charges
    accumulate: int = 1
    spread: bool = False

    def training_pair(self, key: jax.Array, batch: Batch, dataset: SharedRows | None) -> TrainingPair:
        """Computes the network's inputs and targets in a step, sharded by rows.

        Args:
          key: random key for augmentation and perturbation.
          batch: stored examples.
          dataset: stored examples whose field is the target, if it is that of the whole data set; else None.
        """
        key_augment, key_pair = jax.random.split(key)
        data, context, field = self.charges.examples_and_field(key_augment, batch, dataset)
        return self.method.training_pair(key_pair, data, context, field)

    def sum_of_losses(self, params: PyTree, pair: TrainingPair, keys: jax.Array | None) -> Float[Array, ""]:
        """Sums the losses of examples.

        Args:
          params: parameters of the model.
          pair: inputs and targets.
          keys: key of each example for dropout; None for no dropout.
        """
        variables = {"params": params}
        train = keys is not None
        if keys is None or not getattr(self.model, "dropout", 0.0):
            apply = lambda x, level, context=NO_CONTEXT: jnp.asarray(
                self.model.apply(variables, x, level, context, train=train)
            )
        else:
            # Each example separately, so that its dropout mask does not depend on the rest of the batch.
            def apply_one(x, level, context, key):
                one = jax.tree.map(lambda a: a[None], (x, level, context))
                return jnp.asarray(self.model.apply(variables, *one, train=True, rngs={"dropout": key}))[0]

            apply = lambda x, level, context=NO_CONTEXT: jax.vmap(apply_one)(x, level, context, keys)
        return jnp.sum(self.method.losses(apply, pair))


def held_out_loss(
    objective: Objective, params: PyTree, key: jax.Array, batch: Batch, dataset: SharedRows | None
) -> Float[Array, ""]:
    """Computes the mean loss of a batch, without dropout.

    Args:
      objective: the training objective.
      params: parameters of the model.
      key, batch, dataset: see `Objective.training_pair`.
    """
    pair = objective.training_pair(key, batch, dataset)

    def local_loss(params, pair):
        return sharding.sum_over_devices(objective.sum_of_losses(params, pair, None))

    devices = objective.charges.devices
    return devices.on_each(local_loss, (WHOLE, ROWS), WHOLE)(params, pair) / len(pair.x)


def gradients(
    objective: Objective,
    params: PyTree,
    key: jax.Array,
    batch: Batch,
    dataset: SharedRows | None,
    flag: Float[Array, " D"],
) -> tuple[Float[Array, ""], PyTree, Float[Array, ""]]:
    """Computes the mean loss of a batch, its gradient, and the sum of the devices' flags, together.

    Args:
      objective: the training objective.
      params: parameters of the model.
      key: random key for augmentation, perturbation and dropout.
      batch, dataset: see `Objective.training_pair`.
      flag: one number per device.
    """
    key_pair, key_dropout = jax.random.split(key)
    pair = objective.training_pair(key_pair, batch, dataset)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key_dropout, jnp.arange(len(pair.x)))
    share_of_mean = lambda *part: objective.sum_of_losses(*part) / len(pair.x)

    def loss_and_gradient(*part):
        loss, grads = jax.value_and_grad(share_of_mean)(*part)
        # In rows: a GPU's convolutions write the gradients of kernels in another order of axes, which XLA would keep in
        # Adam. It would transpose moments and parameters there and back, and could not update them in place.
        rows = jax.lax.optimization_barrier(jax.tree.map(jnp.ravel, grads))
        return loss, jax.tree.map(lambda row, grad: row.reshape(grad.shape), rows, grads)

    accumulate, devices = objective.accumulate, objective.charges.devices
    specs = (WHOLE, devices.specs(params, objective.spread), WHOLE)

    def local_gradients(params, pair, keys, flag):
        if accumulate == 1:
            total = loss_and_gradient(params, pair, keys)
        else:
            parts = jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), (pair, keys))
            zero = jax.tree.map(jnp.zeros_like, (jnp.float32(0), params))
            add = lambda total, part: (jax.tree.map(jnp.add, total, loss_and_gradient(params, *part)), None)
            # On CPU, XLA is very slow for gradients of convolutions inside loops.
            total, _ = jax.lax.scan(add, zero, parts, unroll=jax.default_backend() == "cpu")
        return sharding.sum_in_parts((*total, jnp.sum(flag)), specs)

    return devices.on_each(local_gradients, (WHOLE, ROWS, ROWS, ROWS), specs)(params, pair, keys, flag)


def train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    ema_rate: float,
    state: TrainState,
    key: jax.Array,
    batch: Batch,
    dataset: SharedRows | None,
    flag: Float[Array, " D"],
) -> tuple[TrainState, dict[str, Float[Array, ""]], Float[Array, ""]]:
    """Takes one training step.

    Args:
      objective: the training objective.
      optimizer, ema_rate: see `state.apply_gradients`.
      state: state before the step.
      key: key of the run; that of the step is derived from it and `state.step`.
      batch, dataset, flag: see `gradients`.

    Returns:
      The state after the step; the loss and the gradient's global norm before it; the sum of the flags.
    """
    key = jax.random.fold_in(key, state.step)
    loss, grads, flags = gradients(objective, state.params, key, batch, dataset, flag)
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
    return apply_gradients(state, grads, optimizer, ema_rate), metrics, flags
