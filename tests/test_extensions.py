"""What is defined in a test file alone trains, samples, encodes, has likelihoods and is evaluated."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

import pfgm_jax
import run_lib
from pfgm_jax import build, defaults, ranges, registry
from pfgm_jax.errors import InputError
from pfgm_jax.keys import Keys, sample_keys
from pfgm_jax.samplers import OdeSolver
from tests import straight_lines
from tests.test_run_lib import small_digits
from tests.test_trained_model import load_with

SOLVERS = [name for name in registry.SAMPLERS if issubclass(registry.SAMPLERS[name], OdeSolver)]


@pytest.fixture(scope="module", autouse=True)
def registered():
    straight_lines.register()
    yield
    straight_lines.unregister()


def config_of(**overrides):
    fields = {"training.sde": "straight", "training.n_iters": 1, "training.snapshot_sampling": True}
    fields |= {"training.snapshot_freq": 1, "sampling.rtol": 1e-5, "sampling.atol": 1e-5, "sampling.batch_size": 8}
    return small_digits(**{**fields, **overrides})


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of one step, whose learning rate is 0, so that the perceptron still answers 0 to everything."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    run_lib.train(config_of(), folder)
    return folder


def test_config_fields_of_a_method_and_a_sampler_have_their_defaults_and_ranges(workdir):
    config = defaults.get_config()
    assert config.straight.sigma_max == 20.0 and config.jump.warmth == 1.0
    assert json.loads((workdir / "config.json").read_text())["straight"] == {"sigma_max": 20.0, "sigma_min": 0.02}
    with pytest.raises(InputError, match=r"straight.sigma_min is -1.0; give a number above 0"):
        run_lib.sample(config_of(**{"straight.sigma_min": -1.0}), workdir)
    with pytest.raises(InputError, match=r"of another model: straight.sigma_max is 3.0, and was 20.0"):
        run_lib.sample(config_of(**{"straight.sigma_max": 3.0}), workdir)
    with pytest.raises(InputError, match="training.field_reference is 'batch'; choose one of example"):
        run_lib.train(config_of(**{"training.field_reference": "batch"}), workdir.parent / "none")


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_follows_the_lines(workdir, name):
    # Where the data are thought to be 0, every line is straight and leads there: x = prior σ_min / σ_max. The last
    # kernel of the perceptron starts at a standard deviation of 1e-6, so that it answers 1e-5 rather than 0. Of which
    # heun, with few steps, makes the more the larger its last step is beside the last noise level.
    model = pfgm_jax.load(workdir, **{"sampling.ode_solver": name, "sampling.N": 20 if name == "heun" else 5})
    (found,) = model.draw(8, seed=3)
    prior = model.method.prior_sample(sample_keys(Keys.from_seed(3).samples, 8))
    np.testing.assert_allclose(found.check().x, np.asarray(prior) * (0.02 / 20), rtol=2e-3, atol=3e-5)
    x = np.full((3, 8, 8, 1), 0.02, np.float32) * np.arange(1, 4, dtype=np.float32)[:, None, None, None]
    latents = model.generator.encode(model.params, x)
    np.testing.assert_allclose(latents, x * (20 / 0.02), rtol=2e-3)
    np.testing.assert_allclose(model.generator.decode(model.params, latents), x, rtol=2e-3)


def test_likelihoods_are_those_of_the_gaussian(workdir):
    model = load_with(workdir, {"straight.sigma_min": 0.5})
    images = build.load_dataset(config_of()).test[:6]
    bits = model.bits_per_dim(images, seed=1)
    # N(0, σ_min²) at the dequantized images, whose noise is uniform within a grey level: its mean over the noise.
    middle, width = np.asarray(model.scaling.to_network(images)), 2 / 17
    nats = (middle.astype(float) ** 2 + width**2 / 12).mean((1, 2, 3)) / (2 * 0.5**2) + math.log(
        0.5 * math.sqrt(2 * math.pi)
    )
    expected = nats / math.log(2) - math.log2(width)
    # Of 64 dimensions the noise leaves a standard deviation of about 0.03 bits.
    np.testing.assert_allclose(bits, expected, atol=0.15)
    np.testing.assert_allclose(bits.mean(), expected.mean(), atol=0.05)


def test_evaluation_reports_the_new_metric(workdir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    config = config_of(**{"eval.num_samples": 20, "eval.enable_bpd": False, "sampling.ode_solver": "euler"})
    (report,) = run_lib.evaluate(config, workdir)
    samples = np.load(run_lib.sample(config_of(**{"sampling.num_samples": 20}), workdir) / "samples.npz")["samples"]
    train = build.load_dataset(config).train[:]
    assert report["brightness"] == pytest.approx((samples / 16).mean() - (train / 16).mean(), abs=1e-3)
    assert report["fid"] > 0
    # The loss of the answer 0 is the mean square of the images.
    images = build.load_dataset(config).test[:]
    test = np.asarray(pfgm_jax.load(workdir).scaling.to_network(images))
    assert report["held_out_loss"] == pytest.approx((test**2).mean(), rel=0.1)


def test_a_sampler_draws_noise_of_each_samples_own(workdir):
    fields = {"sampling.method": "jump", "jump.warmth": 2.0, "sampling.num_samples": 30}
    samples = np.load(run_lib.sample(config_of(**fields), workdir) / "samples.npz")
    assert samples["evaluations"].tolist() == [1] * 30
    model = pfgm_jax.load(workdir, **fields)
    x = np.concatenate([batch.x for batch in model.draw(30, seed=0)])
    (later,) = model.draw(5, seed=0, first=20)
    np.testing.assert_array_equal(x[20:25], later.x)
    # Of 1,920 numbers of standard deviation 2 σ_min.
    assert stats.kstest(x.ravel() / 0.04, "norm").pvalue > 1e-3
    prior = np.asarray(model.method.prior_sample(sample_keys(Keys.from_seed(0).samples, 30)))
    assert abs(np.corrcoef(prior.ravel(), x.ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(load_with(workdir, {"jump.warmth": 2.0}).sample(4, sampler="jump"), model.sample(4))
    # Latents need an ODE, which sampling.ode_solver solves.
    z = model.encode(build.load_dataset(config_of()).test[:2])
    assert np.isfinite(z).all()
    with pytest.raises(InputError, match="sampling.ode_solver is 'jump'; choose one of rk45"):
        run_lib.sample(config_of(**{"sampling.ode_solver": "jump"}), workdir)
    with pytest.raises(InputError, match="sampling.method is 'leap'; choose one of ode, ddim"):
        run_lib.sample(config_of(**{"sampling.method": "leap"}), workdir)


def test_pieces_of_an_evaluation_are_tied_to_options_of_the_methods_and_the_samplers_own(workdir):
    record = lambda **options: load_with(workdir, {"sampling.method": "jump", **options}).record
    assert record() == record(**{"sampling.num_samples": 7})
    assert record() != record(**{"jump.warmth": 3.0})
    assert record() != record(**{"straight.sigma_min": 0.1})


def test_an_option_of_a_sampler_that_is_not_used_is_checked_by_its_own_range(workdir):
    @dataclasses.dataclass(frozen=True)
    class Long(straight_lines.Jump):
        fields: ClassVar[Mapping[str, str]] = {"steps": "sampling.N", "start": "long.start"}
        steps: int = 500
        start: float = 1.0

        def __post_init__(self):
            ranges.check(self, steps=ranges.at_least(400), start=ranges.above(0))

    registry.SAMPLERS.register("long", Long)
    try:
        run_lib.sample(config_of(**{"sampling.ode_solver": "euler", "sampling.N": 5}), workdir)
        with pytest.raises(InputError, match=r"long.start is -1.0; give a number above 0"):
            run_lib.sample(config_of(**{"sampling.ode_solver": "euler", "long.start": -1.0}), workdir)
    finally:
        registry.SAMPLERS.unregister("long")


def test_a_method_that_needs_no_charges_learns_a_cloud_from_a_new_source(tmp_path):
    fields = {"data.dataset": "cloud:2000", "training.n_iters": 600, "training.small_batch_size": 256}
    fields |= {"training.batch_size": 256, "training.eval_freq": 600, "training.log_freq": 100, "model.nf": 64}
    fields |= {"training.snapshot_freq": 600, "optim.lr": 3e-3, "model.ema_rate": 0.98, "sampling.batch_size": 1000}
    config = config_of(**fields, **{"sampling.num_samples": 1000, "sampling.ode_solver": "dpmpp_2m", "sampling.N": 20})
    run_lib.train(config, tmp_path)
    x = np.load(run_lib.sample(config, tmp_path) / "samples.npz")["samples"][:, 0, 0]
    quartiles = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    expected = np.array([2.0, -1.0]) + np.array([-0.674, 0, 0.674])[:, None] * np.array([0.5, 1.0])
    np.testing.assert_allclose(quartiles, expected, atol=0.15)


def test_a_name_is_registered_once_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'straight' is registered already; choose another name"):
        registry.METHODS.register("straight", straight_lines.StraightLines)
    for name in ("cloud", "cloud:", "digits:"):
        with pytest.raises(InputError, match=f"data.dataset is '{name}'; choose one of digits, .*cloud:COUNT"):
            pfgm_jax.datasets.load_dataset(name)
