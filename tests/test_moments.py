"""Gaussian data under every sampler that adds noise: mean and variance in float64, by the formulas of the papers."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from pfgm_jax.keys import sample_keys
from pfgm_jax.samplers import create_sampler
from pfgm_jax.sampling import sample
from tests.exact import METHODS, network_of_gaussian

MEAN, STD, STEPS = 0.2, 0.3, 12


def moments_after(name: str, method, sampler: str) -> tuple[float, float]:
    """Mean and variance in float64 after the steps of a sampler, by the formulas of its paper."""
    count = STEPS
    steps = count - (sampler == "annealed_langevin")
    times = create_sampler(sampler.removesuffix("_large"), steps=steps).times(method)
    rho = np.exp(np.asarray(times, np.float64))
    affine = lambda s2: (STD**2 / (STD**2 + s2), s2 / (STD**2 + s2) * MEAN)  # D = p u + q, u = x0 + s ε
    if sampler == "annealed_langevin":
        m, v = 0.0, method.prior_std**2
        for r in np.repeat(rho, 3):
            e, s2 = 1e-3 * (r / rho[-1]) ** 2, STD**2 + r * r
            m, v = m - e * (m - MEAN) / s2, (1 - e / s2) ** 2 * v + 2 * e
        return m, v
    ratio = np.divide(rho, 1 - rho, out=np.full_like(rho, np.inf), where=rho < 1) if name == "flow" else rho
    if sampler == "edm":
        m, v = 0.0, method.prior_std**2
        for i, (r, after) in enumerate(itertools.pairwise(rho)):
            hat = r * (1 + (min(40 / count, np.sqrt(2) - 1) if 0.05 <= r <= 50 else 0))
            v = v + 1.003**2 * (hat**2 - r**2)
            slope = lambda r: (r / (STD**2 + r * r), -r / (STD**2 + r * r) * MEAN)  # (u - D) / r
            a, b = slope(hat)
            step = after - hat
            p, q = 1 + step * a, step * b
            if i < count - 1:
                a2, b2 = slope(after)
                p, q = 1 + step / 2 * (a + a2 * p), step / 2 * (b + a2 * q + b2)
            m, v = p * m + q, p * p * v
        return m, v
    # State (u, the D before), of which the second-order sampler needs both.
    mean, cov = np.zeros(2), np.diag([method.prior_std**2, 0.0])
    for i, (r, after) in enumerate(itertools.pairwise(ratio)):
        last = i in (0, count - 1)
        # In u = x0 + r ε; at r = ∞ the state is the noise itself, and only D counts.
        p, q = affine(r * r) if np.isfinite(r) else (0.0, MEAN)
        shrink = (after / r) ** 2
        if sampler in ("ddim", "ddpm"):
            noise = after**2 * (1 - shrink)
            of_u, of_D, of_change = shrink, 1 - shrink, 0.0
        elif sampler == "ddpm_large":
            alpha2 = lambda r: 1.0 if name == "vesde" else 1 / (1 + r * r)
            noise = alpha2(r) / alpha2(after) * (r * r - after**2)
            of_u, of_D, of_change = shrink, 1 - shrink, 0.0
        else:
            noise = after**2 * (1 - shrink)
            h, before = np.log(r / after), np.log(ratio[i - 1] / r) if i else 1.0
            of_u, of_D, of_change = shrink, 1 - shrink, 0.0 if last else 0.5 * (1 - shrink) * h / before
        if not np.isfinite(r):
            of_u = 0.0
        of_D += of_change
        A = np.array([[of_u + of_D * p, -of_change], [p, 0.0]])
        mean = A @ mean + np.array([of_D * q, q])
        cov = A @ cov @ A.T + np.diag([noise, 0.0])
    scale = 1 - rho[-1] if name == "flow" else 1.0
    return scale * mean[0], scale**2 * cov[0, 0]


@pytest.mark.parametrize(
    ("name", "sampler"),
    [(name, sampler) for name in ("vesde", "vpsde", "flow")
     for sampler in ("ddim", "ddpm", "ddpm_large", "edm", "sde_dpmpp_2m", "annealed_langevin")
     if not (name == "flow" and sampler in ("edm", "annealed_langevin", "ddpm_large"))],
)  # fmt: skip
def test_gaussian_data_have_the_moments_of_that_many_steps(name, sampler):
    method = dataclasses.replace(METHODS[name]((1, 1, 192)), noise_removal=False)
    net = network_of_gaussian(method, MEAN, STD)
    options = {
        "ddim": {"eta": 1.0},
        "ddpm_large": {"variance": "large"},
        "annealed_langevin": {"steps_each": 3, "step_size": 1e-3},
    }.get(sampler, {})
    drawn_by = create_sampler(sampler.removesuffix("_large"), steps=STEPS, **options)
    found = jax.jit(lambda keys: sample(method, net, drawn_by, keys))(sample_keys(jax.random.key(5), 400)).check()
    x = np.asarray(found.x, np.float64).ravel() * method.data_scale
    mean, variance = moments_after(name, method, sampler)
    assert abs(x.mean() - mean) < 4.5 * np.sqrt(variance / x.size)
    assert abs(x.var() / variance - 1) < 4.5 * np.sqrt(2 / x.size)


@pytest.mark.parametrize("predictor", ["euler_maruyama", "reverse_diffusion", "ancestral_sampling", "none"])
@pytest.mark.parametrize("name", ["vesde", "vpsde", "subvpsde"])
def test_predictors_and_annealed_langevin_leave_gaussian_data_the_moments_of_theory(name, predictor):
    """Means and variances step by step in float64, by the formulas of Song et al. (2021), appendices E to G."""
    if (name, predictor) == ("subvpsde", "ancestral_sampling"):
        return
    method = dataclasses.replace(METHODS[name]((1, 1, 192)), noise_removal=False)
    count, corrector = 40, "ald" if name != "subvpsde" else "none"
    if predictor == "none" and corrector == "none":
        return
    drawn_by = create_sampler("pc", steps=count, predictor=predictor, corrector=corrector, snr=0.1)
    net = network_of_gaussian(method, MEAN, STD)
    found = jax.jit(lambda keys: sample(method, net, drawn_by, keys))(sample_keys(jax.random.key(5), 400)).check()
    x = np.asarray(found.x, np.float64).ravel()

    times = np.linspace(1, method.first_time, count)
    b0, b1 = 0.1, 20.0
    log_alpha = -(times**2) * (b1 - b0) / 4 - times * b0 / 2
    if name == "vesde":
        alpha, sigma = np.ones(count), 0.01 * 5000.0**times
        levels = np.concatenate([[0.0], np.geomspace(0.01, 50, count)])
        G2 = np.diff(levels**2)[::-1]
        beta, g2 = np.zeros(count), sigma**2 * 2 * np.log(5000)
        decay = np.ones(count)
    else:
        alpha = np.exp(log_alpha)
        beta = b0 + times * (b1 - b0)
        sigma = np.sqrt(1 - alpha**2) if name == "vpsde" else 1 - alpha**2
        g2 = beta if name == "vpsde" else beta * (1 - alpha**4)
        G2 = np.linspace(b0 / count, b1 / count, count)[::-1] if name == "vpsde" else g2 / count
        decay = np.sqrt(1 - G2) if name == "vpsde" else 1 - beta / 2 / count
    m, v = 0.0, 2500.0 if name == "vesde" else 1.0
    for i in range(count):
        s2 = (alpha[i] * STD) ** 2 + sigma[i] ** 2
        p, q = -1 / s2, alpha[i] * MEAN / s2  # score = p x + q
        if corrector == "ald":
            e = 2 * (1 if name == "vesde" else 1 - G2[i]) * (0.1 * sigma[i]) ** 2
            m, v = m + e * (p * m + q), (1 + e * p) ** 2 * v + 2 * e
        if predictor == "euler_maruyama":
            A, B, noise = 1 + beta[i] / 2 / count + g2[i] / count * p, g2[i] / count * q, g2[i] / count
        elif predictor == "reverse_diffusion":
            A, B, noise = 2 - decay[i] + G2[i] * p, G2[i] * q, G2[i]
        elif predictor == "ancestral_sampling" and name == "vesde":
            below, here = levels[count - 1 - i], levels[count - i]
            A, B, noise = 1 + G2[i] * p, G2[i] * q, below**2 * G2[i] / here**2
        elif predictor == "ancestral_sampling":
            A, B, noise = (1 + G2[i] * p) / decay[i], G2[i] * q / decay[i], G2[i]
        else:
            A, B, noise = 1.0, 0.0, 0.0
        m, v = A * m + B, A * A * v + noise
    assert abs(x.mean() - m) < 4.5 * np.sqrt(v / x.size)
    assert abs(x.var() / v - 1) < 4.5 * np.sqrt(2 / x.size)
