"""Guidance, and sampling by label with networks that know the data: every method, every sampler."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax import registry, sampling
from pfgm_jax.context import Context
from pfgm_jax.field import normalize_field, poisson_field
from pfgm_jax.keys import sample_keys
from pfgm_jax.likelihood import log_prob
from pfgm_jax.methods import Poisson, ScoreSDE
from pfgm_jax.methods.guidance import guided
from pfgm_jax.samplers import create_sampler
from tests import exact

RNG = np.random.default_rng(3)
CHARGES = RNG.uniform(-1, 1, (24, 6)).astype(np.float32)
OF_CHARGES = np.repeat(np.arange(3), 8).astype(np.int32)
LABELS = np.tile(np.array([0, 1, 2, -1], np.int32), 8)
SHAPE = (1, 1, 6)


def method_of(name):
    if name == "poisson":
        return Poisson(shape=SHAPE, M=200, z_min=1e-5, z_max=30.0, upper_norm=1e6, z_exp=0.0, data_radius=10.0)
    return exact.METHODS[name](shape=SHAPE)


def network_of(method):
    """The network that knows the charges of each label, and where none is given all of them."""

    def of_label(label):
        own = CHARGES if label < 0 else CHARGES[label == OF_CHARGES]
        if not isinstance(method, Poisson):
            return exact.network_of_charges(method, own)

        def net(x, z, context):
            E = poisson_field(x.reshape(len(x), -1), z, jnp.asarray(own))
            return normalize_field(E, method.gamma)[:, None, None]

        return net

    nets = {label: of_label(label) for label in (-1, 0, 1, 2)}

    def net(x, level, context):
        labels = jnp.full(len(x), -1) if context.label is None else context.label
        answers = jnp.stack([nets[label](x, level, Context()) for label in (-1, 0, 1, 2)])
        return answers[labels + 1, jnp.arange(len(x))]

    return net


def nearest(x):
    """The label of the charge nearest to each sample, and its distance."""
    away = np.linalg.norm(np.asarray(x).reshape(len(x), 1, -1) - CHARGES[None], axis=2)
    return OF_CHARGES[away.argmin(axis=1)], away.min(axis=1)


@pytest.mark.parametrize("name", ["poisson", *exact.METHODS])
def test_without_a_trained_network_every_sample_comes_to_a_charge_of_its_label(name):
    method = method_of(name)
    draw = jax.jit(
        lambda keys, label: sampling.sample(
            method, network_of(method), create_sampler("dpmpp_2m", steps=100), keys, Context(label=label)
        )
    )
    found = draw(sample_keys(jax.random.key(0), 32), jnp.asarray(LABELS))
    labels, away = nearest(found.x)
    assert np.asarray(found.ok).all() and away.max() < 0.05
    asked = LABELS >= 0
    np.testing.assert_array_equal(labels[asked], LABELS[asked])
    # Not all samples without a label come to the same one.
    assert len(set(labels[~asked].tolist())) > 1


STOCHASTIC = ["ddim", "sde_dpmpp_2m", "edm", "pc"]


@pytest.mark.parametrize("sampler", STOCHASTIC)
def test_samplers_that_add_noise_follow_labels_too(sampler):
    method = method_of("vesde" if sampler == "pc" else "vpsde")
    options = {"steps": 200 if sampler == "pc" else 40}
    made = registry.SAMPLERS[sampler](**options)
    for of in (method, guided(method, 1.5)):
        draw = jax.jit(
            lambda keys, label, of=of: sampling.sample(of, network_of(method), made, keys, Context(label=label))
        )
        found = draw(sample_keys(jax.random.key(0), 32), jnp.asarray(LABELS))
        labels, _ = nearest(found.x)
        np.testing.assert_array_equal(labels[LABELS >= 0], LABELS[LABELS >= 0])


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("name", ["poisson", *exact.METHODS])
def test_guidance_is_the_formula_of_velocities(name, weight):
    method = method_of(name)
    net, of = network_of(method), guided(method, weight)
    x = jnp.asarray(2 * RNG.normal(size=(32, *SHAPE)), jnp.float32)
    label = Context(label=jnp.asarray(LABELS))
    functions = ["velocity", "denoise", *(["score"] if hasattr(method, "score") else [])]
    for function in functions:
        of_method, of_guided = (jax.jit(functools.partial(getattr(m, function), net)) for m in (method, of))
        for t in (-1.0, 0.3) if method.t_prior > 0.3 else (-1.0, -0.2):
            given, without = (np.asarray(of_method(x, t, c), np.float64) for c in (label, Context()))
            found = np.asarray(of_guided(x, t, label))
            expected = without + weight * (given - without)
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())
            # Where no label is given, there is nothing to go towards.
            np.testing.assert_allclose(found[LABELS < 0], given[LABELS < 0], rtol=1e-5, atol=1e-5)
    assert isinstance(of, type(method)) and of.evaluations_each == 2 * method.evaluations_each
    assert guided(method, 1.0) is method


def test_guidance_is_confined_to_its_interval():
    for name in ("poisson", "vpsde", "flow"):
        method = method_of(name)
        net = network_of(method)
        plain, of = (jax.jit(functools.partial(m.velocity, net)) for m in (method, guided(method, 3.0, (0.2, 0.6))))
        x, label = jnp.asarray(RNG.normal(size=(32, *SHAPE)), jnp.float32), Context(label=jnp.asarray(LABELS))
        for level, weight in ((0.1, 1), (0.19, 1), (0.21, 3), (0.59, 3), (0.61, 1), (0.9, 1)):
            t = math.log(level)
            given, without = (np.asarray(plain(x, t, c)) for c in (label, Context()))
            expected = without + weight * (given - without)
            np.testing.assert_allclose(of(x, t, label), expected, rtol=1e-4, atol=1e-3)
        # Each row at a time of its own.
        t = jnp.log(jnp.linspace(0.05, 0.9, 32))
        given, without = (np.asarray(plain(x, t, c)) for c in (label, Context()))
        inside = (np.exp(t) >= 0.2) & (np.exp(t) <= 0.6)
        expected = without + np.where(inside, 3.0, 1.0)[:, None, None, None] * (given - without)
        np.testing.assert_allclose(of(x, t, label), expected, rtol=1e-4, atol=1e-3)


def test_predictor_corrector_is_guided_at_its_own_times():
    method = method_of("vesde")
    assert isinstance(method, ScoreSDE)
    net, x = network_of(method), jnp.asarray(RNG.normal(size=(32, *SHAPE)), jnp.float32)
    label = Context(label=jnp.asarray(LABELS))
    middle = float(method.rho_at(jnp.asarray([0.5]))[0])
    of = guided(method, 2.0, (middle, 1e6))
    assert isinstance(of, ScoreSDE)
    for time, weight in ((0.3, 1), (0.49, 1), (0.51, 2), (0.9, 2)):
        time = jnp.float32(time)
        given, without = (np.asarray(method.score_of_noisy(net, x, time, c)) for c in (label, Context()))
        found = of.score_of_noisy(net, x, time, label)
        np.testing.assert_allclose(found, without + weight * (given - without), rtol=1e-4, atol=1e-3)


def test_a_guided_method_for_densities_is_guided_without_the_epsilon():
    method = dataclasses.replace(method_of("poisson"), drift_epsilon=1e-2)
    of = guided(method, 2.0).for_densities()
    plain, net = method.for_densities(), network_of(method)
    x, label = jnp.asarray(RNG.normal(size=(32, *SHAPE)), jnp.float32), Context(label=jnp.asarray(LABELS))
    given, without = (np.asarray(plain.velocity(net, x, -1.0, c)) for c in (label, Context()))
    np.testing.assert_allclose(of.velocity(net, x, -1.0, label), 2 * given - without, rtol=1e-4, atol=1e-4)


def test_likelihoods_given_labels_are_those_of_the_data_of_the_label():
    """Each label has normal data of its own, whose density is known; without a label the network knows a third kind."""
    method = exact.METHODS["pfgmpp"](shape=(1, 1, 2))
    kinds = {-1: (0.0, 1.0), 0: (-0.5, 0.2), 1: (0.6, 0.4)}
    nets = [exact.network_of_gaussian(method, *kinds[label]) for label in (-1, 0, 1)]

    def net(x, level, context):
        labels = jnp.full(len(x), -1) if context.label is None else context.label
        return jnp.stack([of(x, level, Context()) for of in nets])[labels + 1, jnp.arange(len(x))]

    labels = np.array([0, 1, -1, 0, 1, 0], np.int32)
    x = RNG.normal(size=(6, 1, 1, 2)).astype(np.float32) * 0.3
    solver = create_sampler("rk45", rtol=1e-5, atol=1e-5)
    found = jax.jit(lambda x, label: log_prob(method.for_densities(), net, x, solver, None, Context(label=label)))(
        jnp.asarray(x), jnp.asarray(labels)
    )
    mean, std = (np.array([kinds[label][i] for label in labels.tolist()])[:, None] for i in (0, 1))
    flat = x.reshape(6, 2).astype(np.float64)
    # The ODE stretches each about its mean, from the smallest noise level to the largest, where the prior has no mean.
    least, most = math.exp(method.for_densities().t_data), math.exp(method.t_prior)
    stretch = np.sqrt((most**2 + std**2) / (least**2 + std**2))
    latent = mean + (flat - mean) * stretch
    exactly = (-0.5 * (latent / most) ** 2 - np.log(most * np.sqrt(2 * np.pi)) + np.log(stretch)).sum(axis=1)
    np.testing.assert_allclose(found.log_prob, exactly, atol=1e-3)
