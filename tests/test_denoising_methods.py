"""Methods that add noise, and their samplers, with Gaussian noise: beside closed forms and float64."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.field import mean_of_charges
from pfgm_jax.keys import sample_keys
from pfgm_jax.likelihood import log_prob
from pfgm_jax.methods import ScoreSDE, predictions
from pfgm_jax.methods.base import flatten, per_row
from pfgm_jax.methods.predictions import PREDICTIONS, WEIGHTINGS, Marginal
from pfgm_jax.methods.translation import translated
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.samplers import create_sampler
from pfgm_jax.samplers.base import OdeSolver, solve_ode
from pfgm_jax.samplers.stochastic import steps_between
from pfgm_jax.sampling import sample
from tests.compiling import thorough_jit
from tests.exact import METHODS, network_of_charges, network_of_gaussian, relative_error

CHARGES = np.random.default_rng(0).uniform(-1, 1, (16, 16)).astype(np.float32)
OPTIONS = {
    "annealed_langevin": {"steps": 50, "steps_each": 5},
    "pc": {"steps": 1000},
    "ddim": {"eta": 1.0},
}
ABLE = [
    (method, sampler)
    for method, kind in METHODS.items()
    for sampler in SAMPLERS
    if SAMPLERS[sampler].supports(kind((1, 1, 2)))
    # Of the ODE solvers one for each way of choosing steps; tests/test_samplers.py has the rest.
    and (not issubclass(SAMPLERS[sampler], OdeSolver) or sampler in ("rk45", "dpmpp_2m"))
    and (method not in ("subvpsde", "cosine", "pfgmpp") or sampler in ("rk45", "ddpm", "pc"))
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sampler"), ABLE)
def test_every_charge_gets_its_share_of_samples(name, sampler):
    """16 charges in 16 dimensions; `python -m benchmarks.shares` has 2 and 192 too, and every solver."""
    method = METHODS[name]((1, 1, 16))
    options = dict(OPTIONS.get(sampler, {}))
    if sampler == "annealed_langevin":
        options["step_size"] = 0.2 * np.exp(2 * method.t_data)
    net, drawn_by = network_of_charges(method, CHARGES), create_sampler(sampler, **options)
    compiled = thorough_jit if options else jax.jit  # which are many steps
    found = compiled(lambda keys: sample(method, net, drawn_by, keys))(sample_keys(jax.random.key(3), 800)).check()
    distances = np.linalg.norm(np.asarray(found.x).reshape(800, 1, 16) - CHARGES, axis=2)
    # The last step of the release's predictor takes off β_0 / σ² of the noise, which is not all of it.
    assert distances.min(axis=1).max() < (0.1 if sampler == "pc" else 0.02)
    assert stats.chisquare(np.bincount(distances.argmin(axis=1), minlength=16)).pvalue > 1e-3


@pytest.mark.parametrize("name", ["vesde", "vpsde"])
def test_langevin_steps_of_single_samples_favour_no_place_in_two_dimensions(name):
    method, charges = METHODS[name]((1, 1, 2)), CHARGES[:, :2]
    net, drawn_by = network_of_charges(method, charges), create_sampler("pc", steps=1000)
    found = thorough_jit(lambda keys: sample(method, net, drawn_by, keys))(sample_keys(jax.random.key(3), 800)).check()
    distances = np.linalg.norm(np.asarray(found.x).reshape(800, 1, 2) - charges, axis=2)
    assert stats.chisquare(np.bincount(distances.argmin(axis=1), minlength=16)).pvalue > 1e-3


def test_the_odes_of_all_methods_lead_to_the_same_samples():
    """From the same point at the same ratio of noise to data, in each method's own coordinates."""
    u = 50 * jax.random.normal(jax.random.key(0), (16, 1, 1, 16))
    solver = create_sampler("rk45", rtol=1e-6, atol=1e-6, max_steps=5000)
    ends = {}
    for name, kind in METHODS.items():
        method = kind((1, 1, 16))
        net = network_of_charges(method, CHARGES)
        rho = [ratio / (1 + method.contraction * ratio) for ratio in (49.0, 0.02)]
        scale = [1 - method.contraction * r for r in rho]
        times = [float(np.log(r)) for r in rho]
        solved = jax.jit(lambda x, m=method, n=net, t=times: solve_ode(solver, m, n, x, t[0], t[1]))(scale[0] * u)
        ends[name] = np.asarray(solved.check().x) / scale[1]
    for name, end in ends.items():
        assert np.abs(end - ends["vesde"]).max() < 1e-3, name


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if SAMPLERS[s].supports(METHODS["vesde"]((1, 1, 2)))])
def test_a_sample_depends_on_its_own_key_and_context_alone(sampler):
    """The network takes the label of each sample for its data."""
    method = METHODS["vesde"]((1, 1, 4))
    drawn_by = create_sampler(sampler, **({} if sampler in ("rk45", "tsit5") else {"steps": 12}))

    def net(x, level, context=NO_CONTEXT):
        label = jnp.asarray(context.label, jnp.float32)[:, None, None, None]
        return -(x - label) / level[:, None, None, None] ** 2

    draw = jax.jit(lambda keys, context: sample(method, net, drawn_by, keys, context).x)
    keys, labels = sample_keys(jax.random.key(0), 6), jnp.array([3, -1, 4, 1, -5, 9])
    together = np.asarray(draw(keys, Context(label=labels)))
    # 'pc' ends with the mean of a step of the reverse SDE, the others with what the network denoises to.
    assert np.abs(together - np.asarray(labels)[:, None, None, None]).max() < (0.2 if sampler == "pc" else 1e-4)
    method = dataclasses.replace(method, noise_removal=False)  # after which labels alone would be left
    draw = jax.jit(lambda keys, context: sample(method, net, drawn_by, keys, context).x)
    together = np.asarray(draw(keys, Context(label=labels)))
    apart = [draw(keys[i : i + 2], Context(label=labels[i : i + 2])) for i in (0, 2, 4)]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-5, atol=1e-5)


MEAN, STD = 0.2, 0.3


@pytest.mark.parametrize("name", METHODS)
def test_ddim_with_all_of_the_noise_is_ddpm(name):
    method = METHODS[name]((1, 1, 4))
    ddim, ddpm = create_sampler("ddim", eta=1.0, steps=30), create_sampler("ddpm", steps=30)
    steps = steps_between(method, ddim.times(method))
    for a, b in zip(ddim.shares(method, steps), ddpm.shares(method, steps), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)  # of differences near 0 few digits are left
    keys = sample_keys(jax.random.key(0), 16)
    net = network_of_charges(method, CHARGES[:, :4])
    a, b = (jax.jit(lambda k, s=s: sample(method, net, s, k))(keys).x for s in (ddim, ddpm))
    assert relative_error(a, b) < 1e-4


@pytest.mark.parametrize("name", METHODS)
def test_densities_of_gaussian_data_are_those_of_the_closed_form(name):
    method = METHODS[name]((1, 1, 16)).for_densities()
    net = network_of_gaussian(method, MEAN, STD)
    x = MEAN + STD * np.random.default_rng(1).normal(size=(8, 1, 1, 16))
    solver = create_sampler("rk45", rtol=1e-6, atol=1e-6, max_steps=5000)
    found = jax.jit(lambda x: log_prob(method, net, x, solver))(jnp.asarray(x, jnp.float32)).check()
    # The ODE keeps what a component is away from its mean in units of the standard deviation.
    (a0, s0), (a1, s1) = ((1 - method.contraction * r, r) for r in np.exp([method.t_data, method.t_prior]))
    v0, v1 = (a * a * STD**2 + s * s for a, s in ((a0, s0), (a1, s1)))
    z = a1 * MEAN + (a0 * x - a0 * MEAN) * np.sqrt(v1 / v0)
    exact = stats.norm.logpdf(z, scale=method.prior_std).sum((1, 2, 3)) + 8 * np.log(v1 / v0) + 16 * np.log(a0)
    np.testing.assert_allclose(found.latent, z, rtol=1e-4, atol=1e-4 * s1)
    np.testing.assert_allclose(found.log_prob, exact, rtol=0, atol=2e-3)
    # And that is nearly the density of the data.
    np.testing.assert_allclose(exact, stats.norm.logpdf(x, MEAN, STD).sum((1, 2, 3)), rtol=0, atol=0.02)


def test_every_prediction_becomes_every_other():
    rng = np.random.default_rng(0)
    data, noise = (jnp.asarray(rng.normal(size=(6, 5)), jnp.float32) for _ in range(2))
    at = Marginal(*(jnp.asarray(a, jnp.float32) for a in (rng.uniform(0.2, 1, 6), rng.uniform(0.2, 1, 6))))
    x = at.alpha[:, None] * data + at.sigma[:, None] * noise
    known = {kind: predictions.answer(kind, data, noise, at) for kind in PREDICTIONS}
    a, s = (np.asarray(p)[:, None] for p in at)
    skip = 0.25 / (s**2 / a**2 + 0.25)  # of Karras et al. 2022, table 1
    out = s / a * 0.5 / np.sqrt(s**2 / a**2 + 0.25)
    formulas = {
        "noise": noise,
        "score": -noise / s,
        "x0": data,
        "v": a * noise - s * data,
        "flow": noise - data,
        "edm": (data - skip * x / a) / out,
    }
    for source in PREDICTIONS:
        np.testing.assert_allclose(known[source], formulas[source], rtol=2e-5, atol=2e-6)
        for target in PREDICTIONS:
            found = predictions.convert(known[source], x, at, source, target)
            np.testing.assert_allclose(found, known[target], rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_weighting_is_the_same_loss_whatever_is_predicted(weighting):
    """Of an answer that is wrong by as much of the data, and by the matching amount of noise."""
    rng = np.random.default_rng(0)
    at = Marginal(*(jnp.asarray(a, jnp.float32) for a in (rng.uniform(0.2, 1, 6), rng.uniform(0.2, 1, 6))))
    a, s = (np.asarray(part, np.float64) for part in at)
    error = np.asarray(rng.normal(size=6))  # of the data; of the noise -error α / σ
    snr = (a / s) ** 2
    expected = (
        error**2
        * {
            "simple": snr,
            "x0": 1,
            "snr": np.maximum(snr, 1),
            "min_snr": np.minimum(snr, 5),
            "flow": (1 + a / s) ** 2,
            "edm": (s**2 / a**2 + 0.25) / (0.5 * s / a) ** 2,
        }[weighting]
    )
    for kind in PREDICTIONS:
        p, q = predictions.coefficients(kind, at)
        residual = np.asarray(p) * error - np.asarray(q) * error * a / s
        found = np.asarray(predictions.weight(weighting, kind, at)) * residual**2
        np.testing.assert_allclose(found, expected, rtol=1e-4, err_msg=kind)


@pytest.mark.parametrize("name", METHODS)
def test_likelihood_weights_are_those_of_the_sde(name):
    """g²/σ² = (dσ²/dt - 2 (d log α/dt) σ²) / σ², of the SDEs by their own g, of the others by central differences."""
    method = METHODS[name]((1, 1, 2), likelihood_weighting=True)
    time = np.linspace(0.05, 0.95, 19)
    if isinstance(method, ScoreSDE):
        expected = (method.diffusion(jnp.float32(time)) / method.marginal(method.rho_at(jnp.float32(time))).sigma) ** 2
    elif name == "flow":
        expected = 2 / time + 2 / (1 - time)
    elif name == "pfgmpp":
        expected = np.full(19, 2 * np.log(80 / 0.002))
    else:
        angle = lambda t: 0.008 / 1.008 * np.pi / 2 + t * np.pi / 2 / 1.008  # of Nichol & Dhariwal (2021), equation 17
        log_ratio = lambda t: 0.5 * np.log((np.cos(angle(0)) / np.cos(angle(t))) ** 2 - 1)
        expected = (log_ratio(time + 1e-5) - log_ratio(time - 1e-5)) / 1e-5
    found = method.likelihood_weight(jnp.float32(time))
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    ones = jnp.ones((19, 1, 1, 2))
    plain = dataclasses.replace(method, likelihood_weighting=False, weighting="simple")
    ratio = method.pair_at(ones, jnp.float32(time), ones).weight / plain.pair_at(ones, jnp.float32(time), ones).weight
    np.testing.assert_allclose(ratio, expected, rtol=3e-5)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *itertools.permutations(("vesde", "vpsde", "flow"), 2),
        *(("subvpsde", "cosine"), ("cosine", "subvpsde"), ("pfgmpp", "vpsde"), ("vpsde", "pfgmpp")),
    ],
)
def test_a_network_of_one_method_answers_as_one_of_another(source, target):
    of, to = METHODS[source]((1, 1, 16)), METHODS[target]((1, 1, 16))
    net, exact = translated(network_of_charges(of, CHARGES), of, to), network_of_charges(to, CHARGES)
    time = jnp.linspace(0.05, 0.85, 32)
    pair = to.pair_at(jnp.asarray(CHARGES[np.arange(32) % 16])[:, None, None], time,
                      jax.random.normal(jax.random.key(0), (32, 1, 1, 16)))  # fmt: skip
    assert relative_error(net(pair.x, pair.level, NO_CONTEXT), exact(pair.x, pair.level, NO_CONTEXT)) < 1e-4


@pytest.mark.parametrize("name", METHODS)
def test_targets_of_a_data_set_are_the_posterior_mean(name):
    """By the kernels of field.py, beside the network that was written from Bayes' formula."""
    method = METHODS[name]((1, 1, 16))
    field = lambda x, sigma: mean_of_charges(x, sigma, jnp.asarray(CHARGES), D=float("inf"), chunk_size=7)
    pair = method.training_pair(jax.random.key(0), jnp.asarray(CHARGES)[:, None, None], field=field)
    scale = predictions.input_scale(method.predicts, method.marginal(pair.noise_level))
    expected = network_of_charges(method, CHARGES)(per_row(scale, pair.x) * pair.x, pair.level, NO_CONTEXT)
    assert relative_error(pair.target, flatten(expected)) < 1e-4
