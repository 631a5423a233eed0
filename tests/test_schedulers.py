"""DDPM, DDIM and flow matching, step by step beside diffusers' schedulers, and data that a closed form denoises."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax.methods import predictions
from pfgm_jax.methods.cosine import Cosine
from pfgm_jax.methods.flow import Flow
from pfgm_jax.methods.predictions import Marginal
from pfgm_jax.methods.vesde import VESDE
from pfgm_jax.methods.vpsde import VPSDE
from pfgm_jax.samplers import create_sampler
from pfgm_jax.samplers.stochastic import Shares, steps_between
from tests.exact import relative_error

RECORD = np.load("tests/fixtures/schedulers.npz")
PATHS = {"linear": VPSDE((1, 1, 8), continuous=False), "cosine": Cosine((1, 1, 8), continuous=False)}


@pytest.mark.parametrize("schedule", PATHS)
def test_discrete_levels_noise_and_velocities_are_theirs(schedule):
    at = lambda name: RECORD[f"forward_{schedule}/{name}"]
    method, cumulative = PATHS[schedule], at("alphas_cumprod").astype(np.float64)
    marginal = method.marginal(method.rho_at(jnp.arange(1000) / 999))
    products = np.cumprod(1 - at("betas").astype(np.float64))
    np.testing.assert_allclose(marginal.alpha**2, products, rtol=2e-5)
    np.testing.assert_allclose(marginal.sigma**2, 1 - products, rtol=1e-6)
    np.testing.assert_allclose(cumulative, products, rtol=2e-6)  # theirs, in float32: 1 - product has few digits at 0
    alpha, sigma = (np.sqrt(a[at("t")])[:, None] for a in (at("alphas_cumprod"), 1 - at("alphas_cumprod")))
    noisy = alpha * at("x0") + sigma * at("noise")
    assert relative_error(noisy, at("noisy")) < 1e-5
    rows = Marginal(jnp.asarray(alpha[:, 0]), jnp.asarray(sigma[:, 0]))
    assert (
        relative_error(predictions.answer("v", jnp.asarray(at("x0")), jnp.asarray(at("noise")), rows), at("velocity"))
        < 1e-5
    )
    # From the noise alone all but the last: there α is 5e-5, and x has no digits left of x0.
    first = Marginal(rows.alpha[:5], rows.sigma[:5])
    v = predictions.convert(jnp.asarray(at("noise")[:5]), jnp.asarray(noisy[:5]), first, "noise", "v")
    assert relative_error(v, at("velocity")[:5]) < 1e-5


@pytest.mark.parametrize(
    ("run", "sampler"),
    [(f"{kind}_{path}_epsilon{eta}", sampler) for path in PATHS for kind, eta, sampler in (
        ("ddpm", "", create_sampler("ddpm")),
        *([("ddpm", "_clip", create_sampler("ddpm", clip=1.0))] if path == "linear" else []),
        ("ddim", "_eta0", create_sampler("ddim")),
        ("ddim", "_eta0", create_sampler("euler")),
        ("ddim", "_eta1", create_sampler("ddim", eta=1.0)),
        ("ddim", "_eta1", create_sampler("ddpm")),
    )],
)  # fmt: skip
def test_steps_are_those_of_diffusers(run, sampler):
    """Each from the recorded state, with the recorded answer and noise."""
    at = lambda name: RECORD[f"{run}/{name}"]
    assert json.loads(str(at("config")))["prediction_type"] == "epsilon"
    method = PATHS[run.split("_")[1]]
    alphas = np.sqrt(at("a_b")[:, 0] ** 2).astype(np.float64)
    rho = (at("a_b")[:, 1] / at("a_b")[:, 0]).astype(np.float32)
    np.testing.assert_allclose(method.rho_at(jnp.asarray(at("timesteps") / 999)), rho, rtol=3e-4)
    times = jnp.log(rho)
    states = at("x") / np.append(alphas, 1.0)[:, None, None]  # in the coordinates of the ODE
    noises = at("noise") if f"{run}/noise" in RECORD.files else np.zeros((20, 4, 8))
    for k in range(20):
        rows = Marginal(*(jnp.full(4, a, jnp.float32) for a in at("a_b")[k]))
        data = predictions.to_data("noise", jnp.asarray(at("model_output")[k]), jnp.asarray(at("x")[k]), rows)
        if hasattr(sampler, "limited"):
            data = sampler.limited(data[:, None, None])[:, 0, 0]
        # Where α is small, float32 has few digits of x0 = (x - σ ε) / α.
        digits = max(1.0, np.abs(at("x")[k]).max() / alphas[k] / np.abs(at("pred_original_sample")[k]).max())
        assert relative_error(data, at("pred_original_sample")[k]) < 1e-6 * max(10, digits)
        if k == 19:  # the last step leads to the data alone
            assert relative_error(data, states[20]) < 1e-5
            continue
        if hasattr(sampler, "shares"):
            numbers = Shares(*(a[0] for a in sampler.shares(method, steps_between(method, times[k : k + 2]))))
            image = lambda a: jnp.asarray(a, jnp.float32)[:, None, None]
            after = numbers.combine(image(states[k]), image(data), image(noises[k]), image(data))[:, 0, 0]
        else:
            x = jnp.asarray(states[k], jnp.float32)
            after = type(sampler)(steps=1).solve(lambda x, t, _, data=data: x - data, x, times[k], times[k + 1]).x
        assert relative_error(after, states[k + 1]) < 1e-5, k


@pytest.mark.parametrize("schedule", ["linear", "cosine", "smld"])
def test_labels_of_discrete_levels_are_whole_numbers_and_noise_that_of_their_level(schedule):
    """Of every level, by the losses of DDPM and SMLD (Song et al. 2021): with them networks look levels up."""
    count = 1000
    method = VESDE((1, 1, 8), continuous=False) if schedule == "smld" else PATHS[schedule]
    time = method.uniform_times((jnp.arange(float(count)) + 0.5) / count)
    data, noise = jnp.asarray(np.random.default_rng(0).normal(size=(2, count, 1, 1, 8)), jnp.float32)
    pair = method.pair_at(data, time, noise)
    if schedule == "smld":
        levels = np.geomspace(0.01, 50, count)
        np.testing.assert_array_equal(pair.level, np.arange(count)[::-1])
        alpha, sigma, weight = np.ones(count), levels, levels**2
        target = -noise / levels[:, None, None, None]
    else:
        products = np.cumprod(1 - RECORD[f"forward_{schedule}/betas"].astype(np.float64))
        np.testing.assert_array_equal(pair.level, np.arange(count))
        alpha, sigma, weight, target = np.sqrt(products), np.sqrt(1 - products), np.ones(count), noise
    wide = lambda a: a[:, None, None, None]
    np.testing.assert_allclose(pair.x, wide(alpha) * data + wide(sigma) * noise, rtol=1e-5, atol=1e-5 * sigma.max())
    np.testing.assert_allclose(pair.weight, weight, rtol=2e-5)
    np.testing.assert_allclose(pair.target, np.asarray(target).reshape(count, 8), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("shift", [1, 3])
def test_euler_steps_of_flow_matching_are_those_of_diffusers(shift):
    at = lambda name: RECORD[f"flow_euler_shift{shift}/{name}"]
    method, sigmas = Flow((1, 1, 8)), at("sigmas")
    for k in range(19):
        sigma, after = sigmas[k], sigmas[k + 1]
        x = jnp.asarray(at("x")[k])[:, None, None]
        answer = jnp.asarray(at("model_output")[k])[:, None, None]
        velocity = lambda x, t, _, answer=answer: method.velocity(lambda *_: answer, x, t)
        solved = create_sampler("euler", steps=1).solve(velocity, x, float(np.log(sigma)), float(np.log(after)))
        assert relative_error(solved.x[:, 0, 0], at("x")[k + 1]) < 1e-5, k
    last = method.denoise(lambda *_: jnp.asarray(at("model_output")[19])[:, None, None],
                          jnp.asarray(at("x")[19])[:, None, None], float(np.log(sigmas[19])))  # fmt: skip
    assert relative_error(last[:, 0, 0], at("x")[20]) < 1e-5
    jax.block_until_ready(last)
