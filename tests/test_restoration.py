"""Restoration without a trained network: of charges and of Gaussian data, whose posterior is known."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pfgm_jax.context import Context
from pfgm_jax.errors import FieldError
from pfgm_jax.keys import sample_keys
from pfgm_jax.methods import Poisson
from pfgm_jax.registry import OPERATORS, RULES, SAMPLERS
from pfgm_jax.restoration import restored
from pfgm_jax.restoration.operators import Function
from pfgm_jax.restoration.operators.downscale import Downscale
from pfgm_jax.restoration.operators.inpaint import Inpaint
from pfgm_jax.restoration.rules.base import LARGEST
from tests import exact
from tests.posterior import CHARGES, SHAPE, N, context_of, drawn, method_of, posterior, shares

RNG = np.random.default_rng(1)
OF = 5  # the image of which a half is known


def misfit(x):
    return np.sqrt(((x[:, :8] - CHARGES[OF, :8]) ** 2).mean(axis=1))


REPAINT = SAMPLERS["repaint"](steps=40, resamplings=10)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["null_space", "pigdm", "dps"])
@pytest.mark.parametrize("name", ["poisson", "vpsde", "flow"])
def test_what_is_missing_is_filled_in_as_often_as_in_the_data(name, rule):
    """Without noise, the posterior is even over the four charges with the half that is known."""
    method = restored(method_of(name), Inpaint(SHAPE), RULES[rule]())
    x = drawn(method, REPAINT, context_of(CHARGES[OF]))
    found, away = shares(x)
    truth = posterior(CHARGES[OF], 0.0)
    assert (truth > 0).sum() == 4
    assert 0.5 * np.abs(found - truth).sum() <= 0.1, (found, truth)
    assert np.quantile(away, 0.98) <= 0.05
    # The null space rule keeps what is known; the others where they come to a charge that has it.
    assert (misfit(x) <= 1e-3).mean() >= (1 if rule == "null_space" else 0.95)


SOLVERS = {
    "dpmpp_2m": SAMPLERS["dpmpp_2m"](steps=60),
    "heun": SAMPLERS["heun"](steps=40),
    "rk45": SAMPLERS["rk45"](rtol=1e-3, atol=1e-3),
    "ddim": SAMPLERS["ddim"](steps=60, eta=1.0),
    "sde_dpmpp_2m": SAMPLERS["sde_dpmpp_2m"](steps=60),
    "edm": SAMPLERS["edm"](steps=40),
    "pc": SAMPLERS["pc"](steps=200),
}
PAIRS = [
    *((name, "dpmpp_2m") for name in ("poisson", "pfgmpp", "vesde", "vpsde", "subvpsde", "cosine", "flow")),
    *(("vesde", sampler) for sampler in ("rk45", "ddim", "edm", "pc")),
    *(("flow", sampler) for sampler in ("heun", "sde_dpmpp_2m")),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, sampler", PAIRS)
def test_every_method_and_sampler_keeps_what_is_known(name, sampler):
    method = restored(method_of(name), Inpaint(SHAPE), RULES["null_space"]())
    x = drawn(method, SOLVERS[sampler], context_of(CHARGES[OF], 256), n=256)
    # Predictor and corrector end without the denoising that other samplers end with.
    assert misfit(x).max() <= (0.05 if sampler == "pc" else 1e-3)
    assert 0.5 * np.abs(shares(x)[0] - posterior(CHARGES[OF], 0.0)).sum() <= 0.25


def test_noise_makes_other_charges_likely():
    """With noise of y, the posterior weighs charges by the likelihood of y, and so does ΠGDM, about."""
    std, y = 0.8, 0.5 * CHARGES[4] + 0.5 * CHARGES[8]
    truth = posterior(y, std)
    method = restored(method_of("vpsde"), Inpaint(SHAPE), RULES["pigdm"](), (std,))
    found, _ = shares(drawn(method, REPAINT, context_of(y)))
    assert 0.5 * np.abs(found - truth).sum() <= 0.15, (found, truth)


# Gaussian data.

MEAN, STD = 0.2, 0.5


def measured(x):
    """Means of pairs, and single values with a weight: a matrix that is no multiple of a projection."""
    flat = x.ravel()
    return jnp.concatenate([0.5 * (flat[0:6:2] + flat[1:6:2]), 1.5 * flat[6:9]])


GAUSSIAN = {
    "function": (lambda: Function(SHAPE, measured), 0.3),
    "downscale": (lambda: Downscale(SHAPE, factor=2, filter="bicubic"), 0.2),
    "blur": (lambda: OPERATORS["blur"](SHAPE, extent=0.7), 0.4),
    "denoise": (lambda: OPERATORS["denoise"](SHAPE), 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vpsde", "flow", "vesde"])
@pytest.mark.parametrize("operator", GAUSSIAN)
def test_pigdm_draws_from_the_posterior_of_gaussian_data(name, operator):
    method = exact.METHODS[name](shape=SHAPE)
    make, noise = GAUSSIAN[operator]
    made = make()
    basis = jnp.eye(16, dtype=jnp.float32).reshape(16, *SHAPE)
    A = np.asarray(jax.jit(made.apply)(basis), np.float64).reshape(16, -1).T
    truth = MEAN + STD * RNG.normal(size=(1, *SHAPE)).astype(np.float32)
    y = np.asarray(made.apply(jnp.asarray(truth)))
    y = y + noise * RNG.normal(size=y.shape).astype(np.float32)
    gain = STD**2 * A.T @ np.linalg.inv(STD**2 * A @ A.T + noise**2 * np.eye(len(A)))
    mean = MEAN + gain @ (y.ravel() - A @ np.full(16, MEAN))
    covariance = STD**2 * (np.eye(16) - gain @ A)

    around = restored(method, made, RULES["pigdm"](), (noise,))
    context = Context(known=jnp.asarray(np.repeat(y, N, axis=0)))
    net = exact.network_of_gaussian(method, MEAN, STD)
    x = drawn(around, SAMPLERS["dpmpp_3m"](steps=60), context, net).astype(np.float64)
    # As a share of the data's own: 2 %, and four standard errors of that many draws.
    error = 4 / math.sqrt(N)
    assert np.abs(x.mean(axis=0) - mean).max() <= (0.02 + error) * STD
    assert np.abs(np.cov(x.T) - covariance).max() <= (0.02 + error * math.sqrt(2)) * STD**2
    # All together, which averages errors out that single ones hide.
    assert abs(np.trace(np.cov(x.T)) / np.trace(covariance) - 1) <= 0.02
    assert np.linalg.norm(x.mean(axis=0) - mean) / np.linalg.norm(mean) <= 0.02 + 1 / math.sqrt(N) * 4


# Starting part-way.


@pytest.mark.parametrize("name", ["poisson", "pfgmpp", "vpsde", "flow"])
def test_states_part_way_have_the_noise_of_the_method(name):
    """The norm of the noise at a start has the law of its kernel, and its directions are even."""
    method = method_of(name)
    level = 0.4
    around = restored(method, OPERATORS["denoise"](SHAPE), RULES["sdedit"](), start=level)
    assert math.exp(around.t_prior) == pytest.approx(level, rel=1e-5) and around.t_data == method.t_data
    y = jnp.asarray(np.repeat(CHARGES[3].reshape(1, *SHAPE), N, axis=0))
    x = np.asarray(around.start(sample_keys(jax.random.key(2), N), Context(known=y)), np.float64)
    share = 1 - level if name == "flow" else 1.0
    noise = ((x - share * np.asarray(y)) / level).reshape(N, -1)
    squares, D = (noise**2).sum(axis=1), method.kernel_dimensions
    law = stats.chi2(16).cdf if math.isinf(D) else stats.f(16, D).cdf
    assert float(np.asarray(stats.kstest(squares if math.isinf(D) else squares / 16, law))[1]) > 1e-3
    directions = noise / np.sqrt(squares)[:, None]
    assert np.abs(directions.mean(axis=0)).max() <= 4 / math.sqrt(16 * N)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson", "vpsde", "flow", "pfgmpp"])
def test_a_little_noise_leads_back_and_much_leads_anywhere(name):
    method, denoise = method_of(name), OPERATORS["denoise"](SHAPE)
    y = CHARGES[3] + 0.05 * RNG.normal(size=16).astype(np.float32)
    context = Context(known=jnp.asarray(np.repeat(y.reshape(1, *SHAPE), 512, axis=0)))
    own = []
    for level in (0.1, 0.9):
        around = restored(method, denoise, RULES["sdedit"](), start=level)
        found, away = shares(drawn(around, SAMPLERS["dpmpp_2m"](steps=60), context, n=512))
        assert np.quantile(away, 0.98) < 0.05
        own.append(found[3])
    assert own[0] > 0.9 and own[1] < 0.9


def test_noise_that_adds_up_leads_to_the_law_of_the_higher_level():
    for name in ("poisson", "vpsde", "flow"):
        method = method_of(name)
        y = jnp.asarray(np.repeat(CHARGES[:1].reshape(1, *SHAPE), N, axis=0))
        low, high = math.log(0.2), math.log(0.7)
        keys = sample_keys(jax.random.key(0), 2 * N)
        raised = method.raised(keys[:N], method.noisy(keys[N:], y, low), low, high)
        once = method.noisy(keys[:N], y, high)
        centre = np.asarray((1 - 0.7 if name == "flow" else 1.0) * y)
        norms = [np.linalg.norm((np.asarray(x) - centre).reshape(N, -1), axis=1) for x in (raised, once)]
        assert float(np.asarray(stats.ks_2samp(*norms))[1]) > 1e-3
    with pytest.raises(ValueError, match="D = 128"):
        method_of("pfgmpp").raised(keys[:N], y, low, high)
    assert not SAMPLERS["repaint"].supports(method_of("pfgmpp"))


def test_noise_of_pfgm_is_clipped_as_its_prior_is():
    """Beyond it no network has learned; unclipped, a good part of the draws would lie there."""
    method = Poisson(shape=SHAPE, M=200, z_max=40.0, upper_norm=80.0)
    most, keys = method.upper_norm / method.z_max, sample_keys(jax.random.key(0), N)
    y, t = jnp.asarray(np.repeat(CHARGES[:1].reshape(1, *SHAPE), N, axis=0)), math.log(3.0)
    norms = np.linalg.norm(np.asarray(method.noisy(keys, y, t) - y).reshape(N, -1), axis=1)
    assert norms.max() <= 3 * most * (1 + 1e-4) and (norms >= 3 * most * (1 - 1e-4)).mean() > 0.2
    raised = np.asarray(method.raised(keys, y, math.log(1.0), t) - y).reshape(N, -1)
    assert np.linalg.norm(raised, axis=1).max() <= 2 * most * (1 + 1e-4)


@pytest.mark.parametrize("rule", ["pigdm", "dps"])
def test_derivatives_of_a_rough_network_do_not_drive_images_away(rule):
    """What a rule adds to D has at most the size that data differ by, however steep the network is."""
    method, operator = method_of("vpsde"), Inpaint(SHAPE)
    around = restored(method, operator, RULES[rule]())
    steep = lambda x, level, context: 1e4 * jnp.sin(1e4 * x)
    x, context = jnp.asarray(RNG.normal(size=(64, *SHAPE)), jnp.float32), context_of(CHARGES[OF], 64)
    for t in (-2.0, 0.0, 3.0):
        change = around.denoise(steep, x, t, context) - method.denoise(steep, x, t)
        size = np.sqrt(np.mean(np.asarray(change, np.float64) ** 2, axis=(1, 2, 3)))
        # D itself is so large here that differences of it have few digits.
        digits = 1e-6 * float(jnp.abs(method.denoise(steep, x, t)).max())
        assert size.max() <= LARGEST + digits and size.max() > 0.1


def test_a_start_that_is_none_is_refused():
    make = functools.partial(restored, method_of("vpsde"), Inpaint(SHAPE), RULES["null_space"]())
    for start in (1e-5, 1e6):
        with pytest.raises(FieldError, match=r"start is .*; give a sigma / alpha above 0.0\d+ and at most \d+.*, or 0"):
            make(start=start)
