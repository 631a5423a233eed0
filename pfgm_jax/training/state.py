"""The training state: parameters, their moving average, the optimiser's moments, the step."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jaxtyping import PyTree

from pfgm_jax.training import profiles


@flax.struct.dataclass
class TrainState:
    """The state of a run, a pytree of arrays, or of their shapes or shardings.

    Attributes:
      step: number of optimiser steps taken, an int32 scalar.
      params: parameters of the network, float32.
      ema_params: moving average of the parameters.
      opt_state: state of the optimiser.
    """

    step: PyTree
    params: PyTree
    ema_params: PyTree
    opt_state: PyTree


def _is_trained(params: PyTree) -> PyTree:
    """Returns which leaves are trained: all but Fourier frequencies, which have no gradient."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "frequencies" not in jax.tree_util.keystr(path), params)


def create_optimizer(
    optim: ml_collections.ConfigDict | ml_collections.FrozenConfigDict,
    ema_profiles: Sequence[float] = (),
    steps: int | None = None,
) -> optax.GradientTransformation:
    """Creates Adam with clipping of the gradient's global norm and linear warm-up from 0, as in the authors' release.

    The first step therefore has a learning rate of 0 and updates only Adam's moments.

    Args:
      optim: the fields of `config.optim`.
      ema_profiles: lengths of averages of the parameters that its state keeps beside the plain one.
      steps: after which the cosine schedule (Loshchilov & Hutter 2017, equation 5, without restarts) has come to 0; a
        constant learning rate does not need it.

    Raises:
      ValueError: the schedule is cosine and steps are not given.
    """
    if optim.schedule == "cosine" and steps is None:
        raise ValueError("optim.schedule is 'cosine', which ends at 0; give steps, after how many it does")

    def learning_rate(step):
        rate = optim.lr * jnp.minimum(step / optim.warmup, 1.0) if optim.warmup else optim.lr
        if steps is None or optim.schedule == "constant":
            return rate
        return rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1.0)))

    parts = [
        optax.clip_by_global_norm(optim.grad_clip) if optim.grad_clip >= 0 else optax.identity(),
        # Also without decay, because its state is part of checkpoints.
        optax.add_decayed_weights(optim.weight_decay, _is_trained),
        optax.adam(learning_rate, b1=optim.beta1, b2=0.999, eps=optim.eps),
    ]
    return optax.chain(*parts, *([profiles.averaging(ema_profiles)] if ema_profiles else []))


def create_state(params: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """Creates the initial state; the moving average starts at the parameters."""
    # A copy: donated buffers must not be shared between leaves.
    ema_params = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema_params, optimizer.init(params))


def apply_gradients(
    state: TrainState, grads: PyTree, optimizer: optax.GradientTransformation, ema_rate: float
) -> TrainState:
    """Updates parameters and their moving average, whose decay after n steps is at most (1+n)/(10+n)."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    n = state.step + 1
    taken = n.astype(jnp.float32)
    decay = jnp.minimum(ema_rate, (1.0 + taken) / (10.0 + taken))
    ema_params = jax.tree.map(lambda e, p: e - (1.0 - decay) * (e - p), state.ema_params, params)
    return TrainState(n, params, ema_params, opt_state)
