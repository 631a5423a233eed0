"""The loss and one training step, as pure functions."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Num, PyTree

from pfgm_jax import field as field_lib
from pfgm_jax.datasets import Batch, Scaling
from pfgm_jax.methods import Method
from pfgm_jax.state import TrainState, apply_gradients


def dataset_field(
    scaling: Scaling, key: jax.Array, charges: Num[Array, "R H W C"], chunk_size: int
) -> Callable[[Float[Array, "b N"], Float[Array, " b"]], Float[Array, "b N+1"]]:
    """The exact field of a whole data set, augmented as the batches of a step are.

    Args:
      scaling: of the data.
      key: the step's, from which the batch was augmented too, so that its points are among the charges.
      charges: all stored examples, in the order of their indices.
      chunk_size: how many are augmented and read at a time.
    """

    def decode(stored, index):
        return scaling.augment(key, stored, index).reshape(len(stored), -1)

    return lambda x, z: field_lib.poisson_field(x, z, charges, chunk_size=chunk_size, decode=decode)


def mean_loss(
    params: PyTree,
    key: jax.Array,
    batch: Batch,
    charges: Num[Array, "R H W C"] | None,
    *,
    method: Method,
    model: nn.Module,
    scaling: Scaling,
    field_chunk: int = 4096,
    train: bool = True,
) -> Float[Array, ""]:
    """The mean loss of a batch.

    Args:
      params: of the model.
      key: decides augmentation, perturbation and dropout.
      batch: stored examples.
      charges: the stored examples whose field is the target; None for those of the batch.
      method, model, scaling: what is trained, on what.
      field_chunk: charges read at a time.
      train: whether the network drops out.

    Returns:
      The loss.
    """
    key_augment, key_pair, key_dropout = jax.random.split(key, 3)
    data = scaling.augment(key_augment, batch.stored, batch.index)
    if charges is None:
        own = data.reshape(len(data), -1)
        field = lambda x, z: field_lib.poisson_field(x, z, own, chunk_size=field_chunk)
    else:
        field = dataset_field(scaling, key_augment, charges, field_chunk)
    pair = method.training_pair(key_pair, data, field)
    output = model.apply({"params": params}, pair.x, pair.cond, train=train, rngs={"dropout": key_dropout})
    return jnp.mean(method.loss(jnp.asarray(output), pair))


def train_step(
    state: TrainState,
    key: jax.Array,
    batch: Batch,
    charges: Num[Array, "R H W C"] | None,
    *,
    optimizer: optax.GradientTransformation,
    ema_rate: float,
    **loss_arguments,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One training step.

    Args:
      state: before the step.
      key: the run's; the step's own follows from it and from `state.step`.
      batch, charges: see `mean_loss`.
      optimizer, ema_rate: see `state.apply_gradients`.
      **loss_arguments: see `mean_loss`.

    Returns:
      The state after the step, and the loss and the gradient's global norm before it.
    """
    key = jax.random.fold_in(key, state.step)
    loss, grads = jax.value_and_grad(mean_loss)(state.params, key, batch, charges, **loss_arguments)
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
    return apply_gradients(state, grads, optimizer, ema_rate), metrics
