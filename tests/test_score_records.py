"""Score-based SDEs beside what the authors' releases compute: paths, scores, losses, single steps and whole runs."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from pfgm_jax import build, convert, models
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.likelihood import estimated_divergence, log_prob
from pfgm_jax.methods.score_sde import ScoreSDE, table_index
from pfgm_jax.methods.vesde import VESDE
from pfgm_jax.methods.vpsde import VPSDE
from pfgm_jax.samplers import create_sampler
from pfgm_jax.samplers.predictor_corrector import At, PredictorCorrector
from tests.compiling import thorough_jit
from tests.exact import network_of_gaussian, relative_error

FOLDER = Path("tests/fixtures/scores")
CASES = ("vp_c", "ve_c", "gauss_vp", "gauss_ve")


@functools.cache
def record(case: str, which: str):
    return np.load(FOLDER / f"{case}_{which}.npz")


def images(array) -> jax.Array:
    """NCHW to NHWC, of any number of axes in front."""
    return jnp.asarray(np.moveaxis(array, -3, -1))


@functools.cache
def case(name: str) -> tuple[ScoreSDE, Any]:
    """The method and the network of a case."""
    if name.startswith("gauss"):
        method: ScoreSDE = VPSDE((8, 8, 3)) if name.endswith("vp") else VESDE((8, 8, 3))
        of = record(name, "release")
        return method, network_of_gaussian(method, float(of["mu"]), float(of["sd"]))
    config = default.get_config()
    config.update(json.loads((FOLDER / f"{name}.config.json").read_text()))
    _, average, _ = convert.convert_checkpoint(FOLDER / f"{name}.pth", config)
    model: Any = models.create_model(config)
    of_config = build.create_method(config)
    assert isinstance(of_config, ScoreSDE)
    # Compiled functions that call it need not trace it again.
    apply = jax.jit(model.apply)
    return of_config, lambda x, level, context=NO_CONTEXT: apply({"params": average}, x, level, context)


@functools.cache
def score(name: str):
    """The score at one time, compiled once for all tests."""
    method, net = case(name)
    return jax.jit(lambda x, t: method.score_of_noisy(net, x, t))


def from_one_hundredth(times) -> np.ndarray:
    """Below, float32 leaves the releases' standard deviations of VP few digits (the next test says how few)."""
    return np.asarray(times) >= 0.01 * (1 - 1e-6)


def flow_drift(method: ScoreSDE, net, x, time):
    """Of the probability-flow ODE in the network's coordinates, as the release computes it."""
    return method.drift_rate(time) * x - 0.5 * method.diffusion(time) ** 2 * method.score_of_noisy(net, x, time)


@pytest.mark.parametrize("name", ["vp_c", "ve_c"])
def test_paths_are_those_of_the_release(name):
    method, _ = case(name)
    at = lambda key: record(name, "release")[f"sde/{key}"]
    t, x = jnp.asarray(at("t")), images(at("x"))
    marginal = method.marginal(method.rho_at(t))
    wide = lambda a: np.asarray(a)[:, None, None, None]
    np.testing.assert_allclose(wide(marginal.alpha) * x, images(at("mean")), rtol=1e-6)
    late = from_one_hundredth(t)
    np.testing.assert_allclose(np.asarray(marginal.sigma)[late], at("std")[late], rtol=3e-6)
    # Before, they have 1 - α² in float32, quantized at 6e-8.
    np.testing.assert_allclose(np.asarray(marginal.sigma) ** 2, at("std") ** 2, rtol=3e-6, atol=6e-8)
    np.testing.assert_allclose(wide(method.drift_rate(t)) * x, images(at("drift")), rtol=1e-6)
    np.testing.assert_allclose(method.diffusion(t), at("diffusion"), rtol=1e-6)
    for steps in (25, 1000):
        decay, G = method.discretize(t, steps)
        # Theirs are differences in float32, of √(1 - β) and 1, and of σ².
        np.testing.assert_allclose(wide(decay) * x, images(at(f"discretize_N{steps}/f")), rtol=1e-6, atol=4e-7)
        rounding = 6e-7 * np.asarray(marginal.sigma) ** 2 if name == "ve_c" else 0.0
        assert (np.abs(G**2 - at(f"discretize_N{steps}/G") ** 2) <= 2e-6 * G**2 + rounding).all()
        np.testing.assert_array_equal(table_index(t, steps), at(f"discretize_N{steps}/index"))
    # Of the prior in the coordinates of the ODE, whose density is α^N times that of the network's.
    alpha = float(marginal.alpha[-1])
    ours = method.prior_log_prob(x / alpha) - method.dim * np.log(alpha)
    np.testing.assert_allclose(ours, at("prior_logp"), rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_labels_scores_and_drifts_are_those_of_the_release(name):
    method, net = case(name)
    at = lambda key: record(name, "release")[key]
    t, x = jnp.asarray(at("score/t")), images(at("score/x"))
    np.testing.assert_allclose(method.label(t), at("score/labels"), rtol=2e-6)
    late = from_one_hundredth(t)
    drift = jax.jit(lambda x, t: flow_drift(method, net, x, t))
    for ours, theirs in ((score(name), "score/score"), (drift, "ode/drift")):
        found = np.concatenate([ours(x[i : i + 1], t[i]) for i in range(len(t))])
        expected = np.asarray(images(at(theirs)))
        # Where a drift is the small difference of two terms, in units of these.
        terms = (
            np.abs(method.drift_rate(t)[:, None, None, None] * x).max((1, 2, 3)) if "drift" in theirs else np.zeros(8)
        )
        for i in np.flatnonzero(late):
            scale = max(np.abs(expected[i]).max(), terms[i])
            assert np.abs(found[i] - expected[i]).max() < 1e-5 * scale, (theirs, float(t[i]))
        # The same in the coordinates of the ODE: du/dlogρ = ρ ε.
    rho = method.rho_at(t)
    alpha = method.marginal(rho).alpha[:, None, None, None]
    sigma = method.marginal(rho).sigma[:, None, None, None]
    ode = jax.jit(lambda x, t: method.velocity(net, x, t))(x / alpha, jnp.log(rho))
    expected = -images(at("score/score")) * sigma * rho[:, None, None, None]
    assert relative_error(ode[late], expected[late]) < 1e-5


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("which", ["release", "score_sde"])
def test_losses_are_those_of_the_releases(name, which):
    method, net = case(name)
    of = record(name, which)
    at = lambda key: of[f"loss/{key}"]
    t = method.uniform_times(jnp.asarray(at("u")))
    np.testing.assert_allclose(t, at("t"), rtol=1e-6)
    late = from_one_hundredth(t)
    weightings = ("plain", "likelihood") if which == "score_sde" else ("plain",)
    for weighting in weightings:
        for reduce in ("sum", "mean"):
            this = dataclasses.replace(
                method, likelihood_weighting=weighting == "likelihood", reduce_mean=reduce == "mean"
            )
            pair = this.pair_at(images(at("batch")), jnp.asarray(at("t")), images(at("z")))
            found = np.asarray(jax.jit(lambda pair, this=this: this.losses(net, pair))(pair))
            expected = at(f"{weighting}_{reduce}_each")
            np.testing.assert_allclose(found[late], expected[late], rtol=1e-5)


def sampler_of(run: str, steps: int) -> PredictorCorrector:
    run, flow, twice = run.removesuffix("_pflow").removesuffix("_n2"), run.endswith("_pflow"), run.endswith("_n2")
    predictor, _, corrector = run.partition("+")
    if not corrector:
        predictor, corrector = ("none", predictor) if predictor in ("langevin", "ald") else (predictor, "none")
    return create_sampler(
        "pc",
        steps=steps,
        predictor=predictor,
        corrector=corrector,
        probability_flow=flow,
        steps_each=2 if twice else 1,
        shared_step=True,
    )


RUNS = [(name, which, run) for name in CASES for which in ("release", "score_sde")
        for run in sorted({k.split("/")[1] for k in record(name, which).files
                           if k.startswith(("step/", "pc/")) and k.count("/") == 2})]  # fmt: skip


@pytest.mark.parametrize(("name", "which", "run"), RUNS)
def test_predictors_and_correctors_step_by_step(name, which, run):
    """Whole runs on the recorded times with the recorded noise, and single updates at five times."""
    method, _ = case(name)
    of = record(name, which)
    evaluate = score(name)
    if f"step/{run}/x" in of.files:
        sampler = sampler_of(run, int(of["step/N"]))
        for i, t in enumerate(of["step/t"]):
            at = At(method, jnp.float32(t), sampler.steps)
            move = sampler.correct if sampler.predictor == "none" else sampler.predict
            moved = move(at, lambda x, t=t: evaluate(x, t), images(of["step/x"][i]), images(of["step/noise"][i]))
            bound = 1e-4 if t >= 0.01 or name.endswith(("ve", "ve_c")) else 2e-3
            assert relative_error(moved.x, images(of[f"step/{run}/x"][i])) < bound, t
            assert relative_error(moved.mean, images(of[f"step/{run}/x_mean"][i])) < bound, t
    if f"pc/{run}/x" not in of.files:
        return
    times, noise = of["pc/t"], images(of["pc/noise"])
    sampler = sampler_of(run, len(times))
    x, drawn, kept = images(of["pc/x0"]), 0, 0
    for i, t in enumerate(times):
        at = At(method, jnp.float32(t), sampler.steps)
        moved = sampler.step(at, lambda x, t=t: evaluate(x, t), x, lambda n, first=drawn: noise[first + n])
        x, drawn = moved.x, drawn + sampler.draws_per_step
        if i + 1 in of["pc/recorded_steps"]:
            assert relative_error(x, images(of[f"pc/{run}/x"][kept])) < 1e-4, i
            assert relative_error(moved.mean, images(of[f"pc/{run}/x_mean"][kept])) < 1e-4, i
            kept += 1
    assert kept == len(of["pc/recorded_steps"]) and drawn == len(times) * sampler.draws_per_step


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_rk45_ends_where_the_release_does(name):
    method, net = case(name)
    of = record(name, "release")
    alpha = float(method.marginal(method.rho_at(jnp.float32(1.0))).alpha)
    solver = create_sampler("rk45", rtol=1e-5, atol=1e-5, shared_step=True, max_steps=4000)
    end = float(method.marginal(method.rho_at(jnp.float32(method.first_time))).alpha)
    unscaled = lambda x: (x + 1) / 2 if name.endswith(("vp", "vp_c")) else x
    bound = max(1e-3, 30 * float(of["ode/sensitivity"]))
    for denoise, kind, scale in ((False, "plain", end), (True, "denoised", 1.0)):
        this = dataclasses.replace(method, noise_removal=denoise)
        solve = jax.jit(lambda x, this=this: solver(this, net, x, jax.random.split(jax.random.key(0), 3)))
        found = solve(images(of["ode/x0"]) / alpha)
        assert np.asarray(found.ok).all()
        ours = unscaled(scale * np.asarray(found.x))
        theirs = images(of[f"ode/out_{kind}_inverse_scaled"])
        assert np.abs(ours - np.asarray(theirs)).max() < bound * np.abs(theirs).max(), kind


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_likelihoods_and_their_right_hand_sides_are_those_of_the_release(name):
    method, net = case(name)
    at = lambda key: record(name, "release")[f"likelihood/{key}"]
    probes = images(at("Rademacher/probe"))[None]
    right_hand_side = jax.jit(lambda x, t: estimated_divergence(lambda x: flow_drift(method, net, x, t), x, probes))
    for i in np.flatnonzero(from_one_hundredth(at("rhs_t"))):
        t, x = jnp.float32(at("rhs_t")[i]), images(at("rhs_x")[i])
        drift, divergence = right_hand_side(x, t)
        # Where a drift is the small difference of two terms, in units of these.
        terms = np.abs(method.drift_rate(t) * x).max()
        assert np.abs(drift - images(at("rhs_drift")[i])).max() < 1e-5 * max(np.abs(at("rhs_drift")[i]).max(), terms)
        scale = max(np.abs(at("rhs_div")[i]).max(), np.abs(method.drift_rate(t)) * method.dim)
        assert np.abs(divergence - at("rhs_div")[i]).max() < 1e-4 * scale

    densities, per_dim = method.for_densities(), 1 / (method.dim * np.log(2))
    exact = name.startswith("gauss")
    # At 1e-5 rounding decides with which steps a trained network is solved: likelihoods change by up to 0.02 bits.
    solver = create_sampler("rk45", rtol=1e-6, atol=1e-6, shared_step=True, max_steps=4000)
    found = thorough_jit(lambda x: log_prob(densities, net, x, solver, probes))(images(at("data"))).check()
    kind = "exact_" if exact else "Rademacher/"
    theirs = per_dim * (at(f"{kind}prior_logp") + at(f"{kind}delta_logp"))
    # Theirs were solved at 1e-5.
    np.testing.assert_allclose(per_dim * found.log_prob, theirs, rtol=0, atol=3e-5 if exact else 4e-3)
    alpha = float(method.marginal(method.rho_at(jnp.float32(1.0))).alpha)
    z = images(at("Rademacher/z"))
    bound = 1e-4 if exact else max(1e-3, 30 * float(record(name, "release")["ode/sensitivity"]))
    assert relative_error(alpha * found.latent, images(at("exact_z")) if exact else z) < bound
    prior = method.prior_log_prob(z / alpha) - method.dim * np.log(alpha)
    np.testing.assert_allclose(prior, at("Rademacher/prior_logp"), rtol=1e-5)
