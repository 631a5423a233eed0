"""Networks that know the answer: of methods that add noise, for data that are charges or Gaussian."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax import registry
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.methods import predictions
from pfgm_jax.methods.base import Network, flatten, per_row
from pfgm_jax.methods.denoising import DenoisingMethod

# All that are registered, with Gaussian noise unless told otherwise.
METHODS = {
    name: functools.partial(kind, D=math.inf)
    for name in registry.METHODS
    if issubclass(kind := registry.METHODS[name], DenoisingMethod)
}


def _answering(method: DenoisingMethod, noise_of) -> Network:
    """A network that predicts what the method asks for, from (x, alpha, sigma) -> E[noise | x], all by rows."""

    def net(x, level, context=NO_CONTEXT):
        del context
        at = method.marginal(method.rho_at(method.time_of_label(level)))
        x = x / per_row(predictions.input_scale(method.predicts, at), x)
        data, noise = noise_of(x, per_row(at.alpha, x), per_row(at.sigma, x))
        return predictions.answer(method.predicts, data, noise, at)

    return net


def network_of_charges(method: DenoisingMethod, charges: Float[np.ndarray, "R N"]) -> Network:
    """The network that knows the data, written from Bayes' formula in log weights."""
    y = jnp.asarray(charges)

    def means(x, alpha, sigma):
        flat, a, s = flatten(x), flatten(alpha)[:, :1], flatten(sigma)[:, :1]
        away = flat[:, None] - a[:, :, None] * y[None]
        squares, D = jnp.sum(away**2, axis=-1) / s**2, method.kernel_dimensions
        falls = 0.5 * squares if math.isinf(D) else 0.5 * (D + flat.shape[1]) * jnp.log1p(squares / D)
        weights = jax.nn.softmax(-falls, axis=1)
        data = jnp.matmul(weights, y, precision=jax.lax.Precision.HIGHEST)
        return data.reshape(x.shape), ((flat - a * data) / s).reshape(x.shape)

    return _answering(method, means)


def network_of_gaussian(method: DenoisingMethod, mean: float, std: float) -> Network:
    """The network that knows data N(mean, std²) in every component."""

    def means(x, alpha, sigma):
        variance = alpha**2 * std**2 + sigma**2
        noise = sigma * (x - alpha * mean) / variance
        data = mean + alpha * std**2 * (x - alpha * mean) / variance
        return data, noise

    return _answering(method, means)


def relative_error(ours: Array | np.ndarray, theirs: Array | np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(np.asarray(theirs)).max())
