"""What a run is made of, built from its config."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import PyTree

from pfgm_jax import datasets, methods
from pfgm_jax.errors import InputError
from pfgm_jax.methods.poisson import Poisson
from pfgm_jax.ode import Solver


def image_shape(config: ml_collections.ConfigDict) -> tuple[int, int, int]:
    """H, W, C of a config whose fields are filled in."""
    size = config.data.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width), int(config.data.num_channels)


def load_dataset(config: ml_collections.ConfigDict) -> datasets.Dataset:
    """The data set of a config.

    Raises:
      InputError: see `datasets.load_dataset`.
    """
    data = config.data
    size = data.image_size if isinstance(data.image_size, int) else tuple(data.image_size)
    return datasets.load_dataset(data.dataset, size, data.num_channels, datasets.data_dir(data.dir))


def create_scaling(config: ml_collections.ConfigDict) -> datasets.Scaling:
    """The scaling of a config whose fields are filled in."""
    data = config.data
    return datasets.Scaling(
        levels=data.levels,
        low=-1.0 if data.centered else 0.0,
        dequantize=data.uniform_dequantization,
        flip=data.random_flip,
        shift=tuple(data.shift),
        scale=data.scale or 1.0,
    )


def create_method(config: ml_collections.ConfigDict) -> methods.Method:
    """The generative method of a config whose fields are filled in.

    Raises:
      InputError: only networks of that method are known here.
    """
    training, sampling = config.training, config.sampling
    if training.sde not in methods.METHODS:
        raise InputError(
            f"training.sde is {training.sde!r}, of which only networks can be converted; choose one of "
            f"{', '.join(methods.METHODS)}"
        )
    return Poisson(
        shape=image_shape(config),
        small_batch_size=training.small_batch_size,
        M=training.M,
        tau=training.tau,
        sigma=config.model.sigma_end,
        restrict_M=training.restrict_M,
        gamma=training.gamma,
        z_min=sampling.z_min,
        z_max=sampling.z_max,
        upper_norm=sampling.upper_norm,
        z_exp=sampling.z_exp,
        exact_substitution=sampling.exact_substitution,
        drift_epsilon=sampling.drift_epsilon,
        reduce_mean=training.reduce_mean,
    )


def create_solver(config: ml_collections.ConfigDict) -> Solver:
    """The ODE solver of a config."""
    sampling = config.sampling
    return Solver(
        name=sampling.ode_solver,
        rtol=sampling.rtol,
        atol=sampling.atol,
        steps=sampling.N,
        max_steps=sampling.max_steps,
        shared_step=sampling.shared_step,
        schedule=sampling.schedule,
        rho=sampling.rho,
        levels=tuple(sampling.levels),
    )


def init_params(model: nn.Module, config: ml_collections.ConfigDict, key: jax.Array) -> PyTree:
    """Random parameters of a network, for the images of a config whose fields are filled in."""
    x = jnp.zeros((1, *image_shape(config)))
    return model.init(key, x, jnp.ones(1))["params"]
