"""PFGM++ and noise with D additional dimensions: beside the beta law, quadrature, PFGM and Gaussian noise."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.field import mean_of_charges, normalize_field, poisson_field, posterior_mean
from pfgm_jax.keys import sample_keys
from pfgm_jax.likelihood import log_prob
from pfgm_jax.methods import Poisson, kernel, predictions
from pfgm_jax.methods.base import flatten, per_row
from pfgm_jax.methods.pfgmpp import PFGMPlusPlus
from pfgm_jax.methods.translation import translated
from pfgm_jax.samplers import create_sampler
from pfgm_jax.samplers.base import solve_ode
from pfgm_jax.sampling import sample
from tests.exact import METHODS, network_of_charges, relative_error

INF = math.inf
CHARGES = np.random.default_rng(0).uniform(-1, 1, (16, 16)).astype(np.float32)


def beta_of(x, scale, D):
    """|x|² / (|x|² + r²) of rows, which has the beta law with N/2 and D/2; as D → ∞, |x|²/σ², with the law of χ²."""
    squares = (np.asarray(x, np.float64).reshape(len(x), -1) ** 2).sum(1) / scale**2
    return squares if math.isinf(D) else squares / (squares + D)


def law_of(dim, D):
    return stats.chi2(dim) if math.isinf(D) else stats.beta(dim / 2, D / 2)


@pytest.mark.parametrize(
    ("dim", "D"),
    [(2, 1), (2, 2), (2, 128), (2, INF), (192, 1), (192, 16), (192, 2048), (3072, 1), (3072, 128), (3072, 2**20)],
)
def test_radii_of_prior_and_perturbation_follow_the_beta_law(dim, D):
    method, n = PFGMPlusPlus((1, 1, dim), D=D), 2000 if dim < 1000 else 500
    prior = jax.jit(method.prior_sample)(sample_keys(jax.random.key(0), n))
    assert stats.kstest(beta_of(prior, method.sigma_max, D), law_of(dim, D).cdf).pvalue > 1e-3
    pair = jax.jit(method.training_pair)(jax.random.key(1), jnp.ones((n, 1, 1, dim)))
    away = np.asarray(pair.x) - 1
    scaled = away / np.asarray(pair.noise_level)[:, None, None, None]
    assert stats.kstest(beta_of(scaled, 1, D), law_of(dim, D).cdf).pvalue > 1e-3
    # Every direction is as likely: a component's share of the square of the norm has the beta law with 1/2, (N-1)/2.
    share = scaled[:, 0, 0, 0] ** 2 / (scaled**2).sum((1, 2, 3))
    assert stats.kstest(share, stats.beta(0.5, (dim - 1) / 2).cdf).pvalue > 1e-3
    # Levels are log-normal (Karras et al. 2022, table 1).
    level = np.log(np.asarray(pair.noise_level))
    assert stats.kstest(level, stats.norm(-1.2, 1.2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("D", [1e6, 1e9])
def test_the_density_of_many_dimensions_is_nearly_gaussian(D):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3072)), jnp.float32)
    found, gaussian = kernel.log_density(x, 1.0, D), kernel.log_density(x, 1.0, INF)
    np.testing.assert_allclose(found, gaussian, rtol=0, atol=3072 / D * 100 + 2e-3)


@pytest.mark.parametrize("D", [1, 2.5, 128, 2**20, INF])
def test_the_density_of_the_prior_integrates_to_one(D):
    for dim, area in ((1, 2.0), (2, 2 * math.pi)):
        method = PFGMPlusPlus((1, 1, dim), D=D, sigma_max=3.0)
        prior = jax.jit(method.prior_log_prob)

        def shell(u, dim=dim, area=area, prior=prior):  # all of r in [0, ∞) by r = 3 tan u
            r = 3 * math.tan(u)
            x = jnp.zeros((1, 1, 1, dim)).at[..., 0].set(r)
            return area * r ** (dim - 1) * math.exp(float(prior(x)[0])) * (3 + r * r / 3)

        total = integrate.quad(shell, 0, math.pi / 2 - 1e-6, epsabs=1e-6, points=[0.3, 0.8, 1.3])[0]
        assert abs(total - 1) < 1e-4


@pytest.mark.parametrize("dim", [2, 192])
def test_with_one_dimension_prior_and_perturbation_are_those_of_pfgm(dim):
    method, pfgm = PFGMPlusPlus((1, 1, dim), D=1, sigma_max=40.0), Poisson((1, 1, dim), z_max=40.0, upper_norm=1e30)
    norms = lambda x: np.linalg.norm(np.asarray(x, np.float64).reshape(len(x), -1), axis=1)
    ours, theirs = (jax.jit(m.prior_sample)(sample_keys(jax.random.key(i), 4000)) for i, m in enumerate((method, pfgm)))
    alike = lambda a, b: float(np.asarray(stats.ks_2samp(a, b))[1]) > 1e-3
    assert alike(norms(ours), norms(theirs))
    # PFGM's draws scaled to the height of a point are what PFGM++ perturbs it by.
    pair = jax.jit(method.training_pair)(jax.random.key(2), jnp.zeros((4000, 1, 1, dim)))
    assert alike(norms(pair.x) / np.asarray(pair.noise_level), norms(theirs) / 40)
    np.testing.assert_allclose(method.prior_log_prob(ours), pfgm.prior_log_prob(ours), rtol=1e-6)
    # Xu et al. 2022, appendix A.4: Γ((N+1)/2) z / (π^((N+1)/2) (|x|² + z²)^((N+1)/2))
    half = (dim + 1) / 2
    closed = special.gammaln(half) + np.log(40) - half * np.log(np.pi * (norms(ours) ** 2 + 40**2))
    np.testing.assert_allclose(method.prior_log_prob(ours), closed, rtol=1e-6)


@pytest.mark.parametrize("level", [0.01, 0.3, 5.0, 30.0])
def test_with_one_dimension_the_velocity_of_the_exact_field_is_that_of_pfgm(level):
    method, pfgm = PFGMPlusPlus((1, 1, 16), D=1), Poisson((1, 1, 16), exact_substitution=True)
    field = lambda x, z, _: normalize_field(poisson_field(flatten(x), z, jnp.asarray(CHARGES)), 5.0)[:, None, None]
    x = level * np.random.default_rng(1).normal(size=(16, 1, 1, 16)).astype(np.float32) + CHARGES[:, None, None]
    ours = jax.jit(lambda x: method.velocity(network_of_charges(method, CHARGES), x, math.log(level)))(x)
    theirs = jax.jit(lambda x: pfgm.velocity(field, x, math.log(level)))(x)
    assert relative_error(ours, theirs) < 2e-4


@pytest.mark.parametrize("dim", [2, 192])
def test_with_a_million_dimensions_everything_is_gaussian(dim):
    charges = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (300, dim)), jnp.float32)
    many, gaussian = (PFGMPlusPlus((1, 1, dim), D=D) for D in (2.0**20, INF))
    rng = np.random.default_rng(1)
    sigma = np.exp(rng.uniform(math.log(0.02), math.log(80), 300)).astype(np.float32)
    x = (np.asarray(charges) + sigma[:, None] * rng.normal(size=(300, dim))).astype(np.float32)
    means = [jax.jit(lambda x, s, D=D: posterior_mean(x, s, charges, D=D))(x, sigma) for D in (2.0**20, INF)]
    assert np.abs(means[0] - means[1]).max() < 1e-4
    x = jnp.asarray(80 * rng.normal(size=(50, 1, 1, dim)), jnp.float32)
    np.testing.assert_allclose(many.prior_log_prob(x), gaussian.prior_log_prob(x), rtol=1e-4, atol=1e-4)
    draws = [np.asarray(m.prior_sample(sample_keys(jax.random.key(0), 50))) for m in (many, gaussian)]
    stretched = np.linalg.norm(draws[0], axis=3) / np.linalg.norm(draws[1], axis=3)  # the same keys
    np.testing.assert_allclose(stretched, 1, atol=5 / math.sqrt(2 * 2**20))
    solver, known = create_sampler("rk45", rtol=1e-5, atol=1e-5), np.asarray(charges[:16])
    solve = lambda m: jax.jit(lambda x: sample_from(m, network_of_charges(m, known), x, solver))(x)
    assert np.abs(solve(many) - solve(gaussian)).max() < 1e-3


def sample_from(method, net, x, solver):
    return solve_ode(solver, method, net, x, method.t_prior, method.t_data).x


@pytest.mark.parametrize("D", [1, 8, 128, INF])
def test_of_one_charge_lines_are_straight(D):
    method, charge = PFGMPlusPlus((1, 1, 16), D=D), CHARGES[:1]
    net, x = network_of_charges(method, charge), method.prior_sample(sample_keys(jax.random.key(0), 8))
    for name in ("euler", "heun", "rk45"):
        found = jax.jit(lambda x, n=name: solve_ode(create_sampler(n), method, net, x, math.log(80), math.log(0.5)))(x)
        expected = charge + (np.asarray(x) - charge) * 0.5 / 80
        np.testing.assert_allclose(found.check().x, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(("name", "D"), [*(("pfgmpp", D) for D in (1, 8, 128, INF)), ("vpsde", 8), ("flow", 8)])
def test_every_charge_gets_its_share_at_the_distances_of_the_kernel(name, D):
    """Of all paths. Samples end at σ, where charge and sample are as far apart as the noise of σ has it."""
    if name == "pfgmpp":
        method = PFGMPlusPlus((1, 1, 16), D=D, sigma_min=0.05, noise_removal=False)
    else:
        method = METHODS[name]((1, 1, 16), D=D, eps=0.02, noise_removal=False)
    net, solver = network_of_charges(method, CHARGES), create_sampler("rk45")
    found = jax.jit(lambda keys: sample(method, net, solver, keys))(sample_keys(jax.random.key(4), 800)).check()
    away = np.asarray(found.x).reshape(800, 1, 16) - CHARGES
    nearest = (away**2).sum(2).argmin(1)
    assert stats.chisquare(np.bincount(nearest, minlength=16)).pvalue > 1e-3
    scale = math.exp(method.t_data) / method.data_scale
    found = beta_of(away[np.arange(800), nearest], scale, D)
    # The noise that is so large that it leads to another charge's neighbourhood, if any, is not told apart.
    cut = (0.5 / scale) ** 2
    cut = cut if math.isinf(D) else cut / (cut + D)
    law = law_of(16, D)
    near = found[found < cut]
    assert stats.kstest(near, lambda b: law.cdf(b) / law.cdf(cut)).pvalue > 1e-3
    beyond = law.sf(cut)
    assert abs(np.mean(found >= cut) - beyond) < 4 * math.sqrt(beyond * (1 - beyond) / 800) + 1e-9


def gaussian_data(dim, D, std):
    """What is exact of data N(0, std²), by quadrature: noise of D is Gaussian noise whose variance has a law.

    Returns functions of |x|² and σ: the share of x that the mean of the data is, and the log density of x.
    """
    # χ²_D / D = e^u; at so many points the integrand of this smooth law is known to all digits.
    width = 12 / math.sqrt(D)
    u = np.linspace(-4 * width, width, 4001) if D < 8 else np.linspace(-width, width, 801)
    log_law = 0.5 * D * (u - np.exp(u)) + 0.5 * D * np.log(0.5 * D) - special.gammaln(0.5 * D) + np.log(u[1] - u[0])

    def terms(squares, sigma):
        variance = std**2 + sigma[:, None] ** 2 * jnp.exp(-u)[None]
        return log_law[None] - 0.5 * squares[:, None] / variance - 0.5 * dim * jnp.log(2 * jnp.pi * variance), variance

    def share(squares, sigma):
        logs, variance = terms(squares, sigma)
        return jnp.sum(jax.nn.softmax(logs, axis=-1) * std**2 / variance, axis=-1)

    return share, lambda squares, sigma: special.logsumexp(np.asarray(terms(squares, sigma)[0], np.float64), axis=1)


@pytest.mark.parametrize(("D", "dim"), [(1, 2), (16, 4), (512, 16)])
def test_bits_of_gaussian_data_are_those_of_quadrature(D, dim):
    std = 0.4
    method = PFGMPlusPlus((1, 1, dim), D=D, prediction="x0")
    share, log_density = gaussian_data(dim, D, std)

    def net(x, level, context):
        return per_row(share(jnp.sum(flatten(x) ** 2, axis=1), level), x) * x

    x = std * np.random.default_rng(2).normal(size=(6, 1, 1, dim)).astype(np.float32)
    solver = create_sampler("rk45", rtol=1e-5, atol=1e-5, max_steps=5000)
    found = jax.jit(lambda x: log_prob(method.for_densities(), net, x, solver))(x).check()
    exact = log_density((x**2).sum((1, 2, 3)), np.full(6, method.sigma_min, np.float32))
    assert np.abs(np.asarray(found.log_prob) - exact).max() / (dim * math.log(2)) < 1e-4
    assert np.abs(exact - stats.norm.logpdf(x, scale=std).sum((1, 2, 3))).max() < 0.05  # σ_min is near the data


@pytest.mark.parametrize("D", [1, 64])  # of Gaussian noise in tests/test_denoising_methods.py
@pytest.mark.parametrize("name", METHODS)
def test_targets_of_a_data_set_are_the_mean_of_the_kernel(name, D):
    method = METHODS[name]((1, 1, 16), D=D)
    field = lambda x, sigma: jax.jit(lambda x, s: _mean_of_charges(x, s, D))(x, sigma)
    pair = method.training_pair(jax.random.key(0), jnp.asarray(CHARGES)[:, None, None], field=field)
    scale = per_row(predictions.input_scale(method.predicts, method.marginal(pair.noise_level)), pair.x)
    expected = network_of_charges(method, CHARGES)(scale * pair.x, pair.level, NO_CONTEXT)
    assert relative_error(pair.target, flatten(expected)) < 2e-4


def _mean_of_charges(x, sigma, D):
    return mean_of_charges(x, sigma, jnp.asarray(CHARGES), D=D, chunk_size=7)


@pytest.mark.parametrize("name", METHODS)
def test_own_examples_as_targets_have_the_mean_of_the_kernel_as_mean(name):
    """The network of least loss on own examples is E[x0 | x]: its loss beats that of any multiple of it."""
    method = METHODS[name]((1, 1, 2), D=4, prediction="x0", weighting="x0")
    charges = CHARGES[:3, :2]
    data = jnp.asarray(np.repeat(charges, 4000, axis=0))[:, None, None]
    pair = method.training_pair(jax.random.key(1), data)
    at = method.marginal(pair.noise_level)
    shown = per_row(predictions.input_scale(method.predicts, at), pair.x) * pair.x
    answer = flatten(network_of_charges(method, charges)(shown, pair.level, NO_CONTEXT))
    residual = np.asarray(pair.target - answer, np.float64)
    # It is uncorrelated with every function of x, such as the answer's components and which side x is on.
    for function in (np.asarray(answer), np.sign(flatten(pair.x)), np.ones_like(residual)):
        products = residual * np.asarray(function)
        assert np.abs(products.mean(0) / (products.std(0) / math.sqrt(len(products)))).max() < 4.5


@pytest.mark.parametrize("name", ["vesde", "vpsde"])
def test_a_network_of_one_path_samples_on_another_with_its_dimensions(name):
    """Hyper-parameter transfer (appendix C.2): at the same σ/α a network means the same, whatever the path is."""
    of, to = METHODS[name]((1, 1, 16), D=32), PFGMPlusPlus((1, 1, 16), D=32, sigma_max=40.0, sigma_min=0.02)
    exact = network_of_charges(of, CHARGES)
    solver, keys = create_sampler("heun", steps=30), sample_keys(jax.random.key(0), 320)
    draw = lambda method, net: jax.jit(lambda keys: sample(method, net, solver, keys))(keys).check().x
    found = draw(to, translated(exact, of, to))
    np.testing.assert_allclose(found, draw(to, network_of_charges(to, CHARGES)), atol=2e-3)
    nearest = ((np.asarray(found).reshape(-1, 1, 16) - CHARGES) ** 2).sum(2)
    assert stats.chisquare(np.bincount(nearest.argmin(1), minlength=16)).pvalue > 1e-3
    assert nearest.min(1).max() < 0.05**2


def test_edms_18_steps_are_17_and_the_mean():
    """Algorithm 1 of Karras et al. 2022, written anew in float64, of the exact mean."""
    method = PFGMPlusPlus((1, 1, 16), D=INF)
    net = network_of_charges(method, CHARGES)
    x = np.asarray(method.prior_sample(sample_keys(jax.random.key(0), 4)), np.float64)
    found = jax.jit(lambda k: sample(method, net, create_sampler("heun", steps=17), k))(
        sample_keys(jax.random.key(0), 4)
    ).check()
    assert found.evaluations.tolist() == [35] * 4
    N, rho, low, high = 18, 7, 0.002, 80.0
    t = [(high ** (1 / rho) + i / (N - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(N)] + [0.0]

    def mean(x, s):
        logs = -0.5 * ((x.reshape(4, 1, 16) - CHARGES) ** 2).sum(2) / s**2
        weights = np.exp(logs - logs.max(1, keepdims=True))
        return ((weights / weights.sum(1, keepdims=True)) @ CHARGES.astype(np.float64)).reshape(x.shape)

    for now, after in itertools.pairwise(t):
        slope = (x - mean(x, now)) / now
        step = x + (after - now) * slope
        x = step if after == 0 else x + (after - now) * 0.5 * (slope + (step - mean(step, after)) / after)
    np.testing.assert_allclose(found.x, x, atol=2e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"D": 0.5}, "D is 0.5; give a number from 1 to"),
        ({"D": -3.0}, "D is -3.0"),
        ({"D": math.nan}, "D is nan"),
        ({"sigma_max": 0.001}, "sigma_max is 0.001; `sigma_min` is 0.002: give a larger number"),
        ({"D": 8.0, "objective": "sliced"}, "objective is 'sliced'; of noise with D = 8 no score is learned"),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PFGMPlusPlus((1, 1, 2), **options)


def test_noise_that_is_not_gaussian_has_no_score():
    method = dataclasses.replace(PFGMPlusPlus((1, 1, 2)), D=8.0)
    with pytest.raises(ValueError, match="only Gaussian noise gives a score"):
        method.score(network_of_charges(method, CHARGES[:, :2]), jnp.zeros((1, 1, 1, 2)), 0.0)
