"""Averages whose length is chosen after training: beside their definition as weighted sums, and beside tracked ones."""

import dataclasses
import math
import shutil
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate

import pfgm_jax
import run_lib
from pfgm_jax import averaging, workdir
from pfgm_jax.errors import InputError
from pfgm_jax.training import profiles
from pfgm_jax.training.profiles import Profile
from tests.test_run_lib import small_digits

KEPT = ((0.05, 0.1), (0.07, 0.15))


def weights_of(steps, exponent):
    """What share the parameters of each step have in an average, by the profile integrated over the step."""
    edges = (np.arange(steps + 1) / steps) ** (exponent + 1)
    return np.diff(edges)


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2, profiles.LONGEST])
def test_the_length_of_a_profile_is_its_standard_deviation(length):
    exponent = profiles.exponent_of(length)
    moment = lambda k: integrate.quad(lambda s: (exponent + 1) * s**exponent * s**k, 0, 1)[0]
    assert moment(0) == pytest.approx(1)
    assert math.sqrt(moment(2) - moment(1) ** 2) == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize("length", [0, -0.1, 0.289, 1e-200, math.nan])
def test_lengths_that_no_profile_has_are_refused(length):
    with pytest.raises(ValueError, match="give a number from 0.001 to 0.288"):
        profiles.exponent_of(length)


def test_averages_are_the_weighted_sums_of_their_profiles():
    lengths, steps = (0.05, 0.1, profiles.LONGEST), 200
    optimizer = optax.chain(optax.sgd(1.0), profiles.averaging(lengths))
    walk: Any = np.cumsum(np.random.default_rng(0).normal(size=(steps + 1, 5)), axis=0).astype(np.float32)
    params: Any = {"a": jnp.asarray(walk[0])}
    state: Any = optimizer.init(params)
    step = jax.jit(optimizer.update)
    for after in walk[1:]:
        updates, state = step({"a": params["a"] - after}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["a"], after, rtol=1e-4, atol=1e-4)
    kept = state[-1]
    assert int(kept.count) == steps
    for length, average in zip(lengths, kept.averages, strict=True):
        exact = weights_of(steps, profiles.exponent_of(length)) @ walk[1:].astype(np.float64)
        np.testing.assert_allclose(average["a"], exact, rtol=1e-4, atol=1e-3)


def test_overlaps_are_the_integrals_of_products():
    profile = lambda p: lambda t: (p.exponent + 1) * t**p.exponent / p.steps ** (p.exponent + 1) if t < p.steps else 0.0
    for a, b in (
        (Profile(3, 2.0), Profile(5, 0.5)),
        (Profile(5, 0.5), Profile(3, 2.0)),
        (Profile(4, 7), Profile(4, 1)),
    ):
        exact = integrate.quad(lambda t, a=a, b=b: profile(a)(t) * profile(b)(t), 0, 5, points=[3, 4])[0]
        assert profiles.overlap(a, b) == pytest.approx(exact, rel=1e-6)


def test_a_combination_of_kept_profiles_is_near_the_one_that_is_wanted():
    kept = [profiles.exponent_of(length) for length in (0.05, 0.1)]
    known = [Profile(s, exponent) for s in range(100, 2001, 100) for exponent in kept]
    for length in (0.03, 0.07, 0.15, 0.25):
        wanted = Profile(2000, profiles.exponent_of(length))
        shares, off = profiles.coefficients(known, wanted)
        of_known = [np.pad(weights_of(p.steps, p.exponent), (0, 2000 - p.steps)) for p in known]
        made = shares @ np.array(of_known)
        exact = weights_of(2000, wanted.exponent)
        assert made.sum() == pytest.approx(1, abs=1e-6)
        assert np.abs(made - exact).sum() < 0.05
        assert off == pytest.approx(np.linalg.norm(made - exact) / np.linalg.norm(exact), rel=0.1, abs=2e-3)
    # One that is kept is itself.
    shares, off = profiles.coefficients(known, Profile(2000, kept[1]))
    assert off < 1e-6
    np.testing.assert_allclose(shares, np.arange(40) == 39, atol=1e-6)


def config_of(*lengths):
    config = small_digits()
    config.model.ema_profiles = lengths
    config.training.n_iters = config.training.eval_freq = 120
    config.training.snapshot_freq, config.optim.warmup = 10, 10
    return config


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run, with two averages and with two others."""
    folder = tmp_path_factory.mktemp("profiles")
    states = [run_lib.train(config_of(*lengths), folder / "-".join(map(str, lengths))) for lengths in KEPT]
    return folder, states


@pytest.mark.slow
def test_reconstructed_averages_are_those_that_were_tracked(runs):
    flat = lambda tree: np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])
    folder, (state, other) = runs
    np.testing.assert_array_equal(flat(state.params), flat(other.params))  # averages change nothing
    for length, tracked in zip(KEPT[1], averaging.averages_of(other), strict=True):
        found, _ = averaging.reconstruct(folder / "0.05-0.1", length)
        off, distance = (np.linalg.norm(flat(a) - flat(tracked)) for a in (found.ema_params, state.params))
        assert off < 0.01 * distance
    found, _ = averaging.reconstruct(folder / "0.05-0.1", 0.1, step=120)
    np.testing.assert_allclose(flat(found.ema_params), flat(averaging.averages_of(state)[1]), atol=1e-6)


@pytest.mark.slow
def test_the_command_makes_a_run_of_it(runs, tmp_path):
    folder, _ = runs
    made = tmp_path / "made"
    command = ["ema", "--workdir", str(folder / "0.05-0.1"), "--length", "0.07", "--output", str(made)]
    done = subprocess.run([sys.executable, "-m", "pfgm_jax", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "The average of length 0.07 after step 120, from those of 12 checkpoints" in done.stderr
    assert "Its weights are off" not in done.stderr
    expected, _ = averaging.reconstruct(folder / "0.05-0.1", 0.07)
    model = pfgm_jax.load(made)
    jax.tree.map(np.testing.assert_array_equal, model.params, expected.ema_params)
    assert model.sample(2).shape == (2, 8, 8, 1)
    # For sampling a config need not name the averages.
    config = config_of()
    config.sampling.num_samples = 2
    assert run_lib.sample(config, made).is_dir()
    # It can be trained further, from the raw parameters.
    config = config_of(*KEPT[0])
    config.training.n_iters = 121
    assert int(run_lib.train(config, made).step) == 121


def test_an_average_that_few_checkpoints_do_not_make_is_reported(runs, tmp_path, caplog):
    folder, _ = runs
    state, config = averaging.reconstruct(folder / "0.05-0.1", 0.1)
    workdir.write_new(tmp_path / "one", state, config)  # has one checkpoint
    caplog.set_level("WARNING", "pfgm_jax")
    averaging.reconstruct(tmp_path / "one", 0.25)
    assert "Its weights are off by " in caplog.text and "keep more checkpoints" in caplog.text


def test_what_cannot_be_reconstructed_is_refused(runs, tmp_path):
    folder, _ = runs
    with pytest.raises(InputError, match="--length: the length is 0.5; give a number from 0.001 to 0.288"):
        averaging.reconstruct(folder / "0.05-0.1", 0.5)
    with pytest.raises(InputError, match="there is no checkpoint of step 7 in"):
        averaging.reconstruct(folder / "0.05-0.1", 0.1, step=7)
    config = small_digits()
    run_lib.train(config, tmp_path / "plain")
    with pytest.raises(InputError, match="a run that kept no averages; train with --config.model.ema_profiles"):
        averaging.reconstruct(tmp_path / "plain", 0.1)
    with pytest.raises(InputError, match=r"a run with other averages: model.ema_profiles is \[0.05, 0.1\], and was"):
        run_lib.train(config_of(0.05, 0.1), tmp_path / "plain")
    without = shutil.copytree(folder / "0.05-0.1", tmp_path / "without", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(InputError, match="--workdir is .*without, which holds no checkpoints; train first"):
        averaging.reconstruct(without, 0.1)
    # A state of a run that began without averages, as one that was converted.
    state, config = averaging.reconstruct(folder / "0.05-0.1", 0.1)
    kept = state.opt_state[-1]._replace(count=np.int32(0))
    workdir.write_new(tmp_path / "begun", dataclasses.replace(state, opt_state=(*state.opt_state[:-1], kept)), config)
    with pytest.raises(InputError, match="the checkpoint of step 120 in .*begun holds no averages yet; train further"):
        averaging.reconstruct(tmp_path / "begun", 0.1)
    with pytest.raises(InputError, match="--output is .*plain, which is a file or not empty; name a new folder"):
        workdir.check_new(tmp_path / "plain", "--output")
    for lengths in ((0.05,), (0.05, 0.4), (0.0, 0.1), ("a", "b")):
        config = small_digits()
        config.model.ema_profiles = lengths
        with pytest.raises(InputError, match="model.ema_profiles is .*; give a tuple of two lengths or more"):
            run_lib.train(config, tmp_path / "none")
