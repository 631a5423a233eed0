"""What somebody could add to the package: a method, a network, a sampler, a data source and a metric."""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax import ranges, registry
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.datasets import Dataset, Request, Split
from pfgm_jax.methods import Method, TrainingPair
from pfgm_jax.methods.base import flatten, levels, per_row
from pfgm_jax.models.base import Network
from pfgm_jax.samplers import Sampler
from pfgm_jax.samplers.base import solution


@dataclasses.dataclass(frozen=True)
class StraightLines(Method):
    """Data in Gaussian noise; the network predicts the data, and lines to them are straight where it is certain."""

    fields: ClassVar[Mapping[str, str]] = {"sigma_max": "straight.sigma_max", "sigma_min": "straight.sigma_min"}
    identity: ClassVar[tuple[str, ...]] = ("sigma_max",)

    sigma_max: float = 20.0
    sigma_min: float = 0.02

    def __post_init__(self):
        ranges.check(self, sigma_max=ranges.above(0), sigma_min=ranges.above(0))

    @property
    def t_prior(self):
        return math.log(self.sigma_max)

    @property
    def t_data(self):
        return math.log(self.sigma_min)

    def training_pair(self, key, data, context=NO_CONTEXT, field=None):
        assert field is None
        key_level, key_noise = jax.random.split(key)
        level = jnp.exp(jax.random.uniform(key_level, (len(data),), minval=self.t_data, maxval=self.t_prior))
        x = data + per_row(level, data) * jax.random.normal(key_noise, data.shape)
        return TrainingPair(x, level, context, flatten(data), jnp.ones_like(level), level)

    def loss(self, output, pair):
        return pair.weight * jnp.mean((flatten(output) - pair.target) ** 2, axis=1)

    def prior_sample(self, keys):
        return self.sigma_max * jax.vmap(lambda key: jax.random.normal(key, self.shape))(keys)

    def prior_log_prob(self, x):
        squares = jnp.sum(flatten(x) ** 2, axis=1) / self.sigma_max**2
        return -0.5 * (squares + self.dim * math.log(2 * math.pi * self.sigma_max**2))

    def velocity(self, net, x, t, context=NO_CONTEXT):
        return x - net(x, levels(t, x), context).astype(x.dtype)


class LabelNetwork(Network):
    """Answers with the label of each image, whatever it is shown."""

    out_channels: int

    @jax.named_scope("label")
    def __call__(self, x, level, context=NO_CONTEXT, train=False):
        del level, train
        label = jnp.zeros(len(x)) if context.label is None else jnp.asarray(context.label, x.dtype)
        return jnp.broadcast_to(per_row(label, x), (*x.shape[:-1], self.out_channels))


@dataclasses.dataclass(frozen=True)
class Jump(Sampler):
    """One evaluation at the prior, and noise of the smallest level around what it denoises to."""

    fields: ClassVar[Mapping[str, str]] = {"warmth": "jump.warmth"}

    warmth: float = 1.0

    def __call__(self, method, net, x, keys, context=NO_CONTEXT):
        noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
        denoised = method.denoise(net, x, method.t_prior, context)
        return solution(denoised + self.warmth * math.exp(method.t_data) * noise, 1)


def cloud(request: Request) -> Dataset:
    """Vectors about (2, -1), with labels; the argument says how many."""
    rng = np.random.default_rng(0)
    points = rng.normal([2.0, -1.0], [0.5, 1.0], (int(request.argument), 1, 1, 2)).astype(np.float32)
    labels = np.arange(len(points)) % 3
    return Dataset(Split(points[50:], labels[50:]), Split(points[:50], labels[:50]), levels=0)


def brightness(samples, reference, options) -> dict[str, float]:
    """The difference of mean features; a metric."""
    del options
    return {"brightness": float(np.mean(samples.features) - np.mean(reference.mean))}


ENTRIES = (
    (registry.METHODS, "straight", StraightLines),
    (registry.SAMPLERS, "jump", "tests.straight_lines:Jump"),
    (registry.MODELS, "label", LabelNetwork),
    (registry.SOURCES, "cloud:COUNT", cloud),
    (registry.METRICS, "brightness", brightness),
)


def register() -> None:
    """Adds all of them, a line each."""
    for kind, name, entry in ENTRIES:
        kind.register(name, entry)


def unregister() -> None:
    for kind, name, _ in ENTRIES:
        kind.unregister(name)


def gaussian_nats(x: Float[np.ndarray, "b N"], mean: Float[np.ndarray, "b N"], sigma: float) -> Float[Array, " b"]:
    """Log density of N(mean, sigma²)."""
    return -0.5 * (((x - mean) / sigma) ** 2).sum(1) - x.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))
