"""PFGM++ in whole runs: every mode, hyper-parameter transfer between D, robustness, and the configs of the paper."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import pfgm_jax
import run_lib
from pfgm_jax import build, config_files, models, robustness
from pfgm_jax import config as config_lib
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.errors import InputError
from pfgm_jax.keys import Keys, sample_keys
from pfgm_jax.methods.pfgmpp import PFGMPlusPlus
from pfgm_jax.quantization import quantized
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.samplers import create_sampler
from pfgm_jax.samplers.base import OdeSolver, solve_ode
from pfgm_jax.sampling import sample
from tests.command_lines import outcomes
from tests.exact import network_of_charges
from tests.test_evaluation import own_cache  # noqa: F401
from tests.test_pfgmpp import CHARGES, gaussian_data
from tests.test_run_lib import small_digits


def config_of(sde: str = "pfgmpp", /, **overrides: Any) -> Any:
    fields = {"eval.num_samples": 40, "eval.num_images": 3, "eval.enable_bpd": True, "sampling.num_samples": 4}
    # What is trained so little is rough.
    fields |= {"sampling.rtol": 1e-3, "sampling.atol": 1e-3}
    return small_digits(**{"training.sde": sde, **fields, **overrides})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of PFGM++, and one of the VP diffusion."""
    folder = tmp_path_factory.mktemp("runs")
    for sde in ("pfgmpp", "vpsde"):
        run_lib.train(config_of(sde), folder / sde)
    return folder


@pytest.mark.slow
def test_every_mode_works(runs, own_cache, monkeypatch):  # noqa: F811
    monkeypatch.setattr(robustness, "ALPHAS", (0.0, 0.2))
    monkeypatch.setattr(robustness, "BITS", (4, 8))
    config = config_of(**{"eval.enable_noise_curve": True, "eval.enable_quantization_curve": True})
    config.sampling.ode_solver, config.sampling.N = "heun", 5
    folder = run_lib.sample(config, runs / "pfgmpp")
    assert np.load(folder / "samples.npz")["samples"].shape == (4, 8, 8, 1)
    (report,) = run_lib.evaluate(config, runs / "pfgmpp")
    assert report["evaluations"] == 11
    assert np.isfinite([report[name] for name in ("fid", "held_out_loss", "bits_per_dim")]).all()
    noise, bits = (json.loads(Path(report[f"{name}_curve"]).read_text()) for name in ("noise", "quantization"))
    assert [p["alpha"] for p in noise] == [0.0, 0.2]
    assert [p["bits"] for p in bits] == [4, 8]
    # Without noise they are the samples of the solver. Of those with it, evaluations are the same.
    assert noise[0]["fid"] == pytest.approx(report["fid"], rel=1e-6)
    assert len({p["fid"] for p in noise}) == len(noise) and {p["evaluations"] for p in noise} == {11}
    model = pfgm_jax.load(runs / "pfgmpp", None, **{"sampling.rtol": 1e-5, "sampling.atol": 1e-5})
    test = build.load_dataset(config).test[:3]
    assert np.abs(model.decode(model.encode(test)).astype(int) - test.astype(int)).max() <= 1


@pytest.mark.slow
def test_a_network_trained_with_one_dimension_is_sampled_and_continued_with_another(runs, tmp_path):
    folder = runs / "vpsde"
    plain = run_lib.sample(config_of("vpsde"), folder)
    other = run_lib.sample(config_of("vpsde", **{"pfgmpp.D": 16.0}), folder)
    assert other != plain and json.loads((other / "record.json").read_text())["pfgmpp"]["D"] == 16.0
    # What is sampled is the ODE of the same network, from the prior of D.
    model = pfgm_jax.load(folder, None, **{"pfgmpp.D": 16.0})
    (drawn,) = model.draw(4, seed=2)
    keys = sample_keys(Keys.from_seed(2).samples, 4)
    start = model.method.prior_sample(keys)  # of the law that tests/test_pfgmpp.py has
    solved = solve_ode(model.solver, model.method, model.net, start, model.method.t_prior, model.method.t_data)
    expected = model.method.denoise(model.net, jnp.asarray(solved.x), model.method.t_data)
    np.testing.assert_allclose(drawn.x, expected, rtol=1e-3, atol=1e-3)
    for name in ("ddim", "pc", "edm"):
        with pytest.raises(InputError, match=f"'{name}', which cannot sample from 'vpsde' with D = 16, whose noise is"):
            run_lib.sample(config_of("vpsde", **{"pfgmpp.D": 16.0, "sampling.method": name}), folder)
    assert build.samplers_of(model.method) == [
        name for name in SAMPLERS if issubclass(SAMPLERS[name], OdeSolver) or name == "disturbed_heun"
    ]
    run_lib.train(config_of("vpsde", **{"pfgmpp.D": 16.0, "training.n_iters": 9}), folder)
    assert pfgm_jax.load(folder).method.kernel_dimensions == 16
    # Infinity survives in the config of a run.
    run_lib.train(config_of(**{"pfgmpp.D": math.inf}), tmp_path / "edm")
    assert math.isinf(pfgm_jax.load(tmp_path / "edm").method.kernel_dimensions)


def test_sampling_with_other_dimensions_than_in_training_is_reported(runs, caplog):
    caplog.set_level("WARNING", "pfgm_jax")
    run_lib.sample(config_of(**{"pfgmpp.D": 5.0}), runs / "pfgmpp")
    assert "Unlike in training, pfgmpp.D is 5.0, and was 0.0" in caplog.text


@pytest.mark.parametrize(
    ("sde", "overrides", "message"),
    [
        ("poisson", {"pfgmpp.D": 8.0}, "pfgmpp.D is 8, but 'poisson' has 1; choose training.sde pfgmpp, or set"),
        ("poisson", {"pfgmpp.sigma_max": 0.001}, "pfgmpp.sigma_max is 0.001, not above pfgmpp.sigma_min"),
        ("vpsde", {"pfgmpp.D": 1e10}, r"pfgmpp.D is 10000000000.0; give a number from 1 to 1e\+09, inf, or 0"),
        ("flow", {"pfgmpp.D": 8.0, "training.pairs": "a.npz"}, "pfgmpp.D is 8, but training.pairs hold Gaussian noise"),
        (
            "vpsde",
            {"model.name": "ncsnpp", "model.embedding_type": "positional_log", "training.continuous": False},
            "model.embedding_type is 'positional_log', but discrete levels have a label of 0",
        ),
    ],
)
def test_dimensions_and_levels_that_do_not_fit_are_refused(sde, overrides, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run_lib.train(config_of(sde, **overrides), tmp_path / "run")


def test_dimensions_that_are_none_are_refused(tmp_path):
    values = ("0.5", "nan", "many")
    line = ["--mode=train", "--config=digits_pfgmpp", f"--workdir={tmp_path}/run"]
    for status, told in outcomes("main.py", [[*line, f"--config.pfgmpp.D={value}"] for value in values]):
        assert status == 1 and "pfgmpp.D" in told and len(told.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["cifar10_pfgmpp", "cifar10_edm", "ffhq64", "digits_pfgmpp"])
def test_configs_are_valid_and_of_the_networks_of_the_paper(name):
    config = config_files.load_experiment(name)
    config_lib.validate(config)
    if name == "digits_pfgmpp":
        return
    size, channels = config.data.image_size, 3
    network = models.create_model(config)
    shapes = jax.eval_shape(
        lambda key: network.init(key, jnp.zeros((1, size, size, channels)), jnp.ones(1)),
        jax.random.key(0),
    )["params"]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # Karras et al. 2022, table 7: 56 million for CIFAR-10 and 62 for FFHQ.
    assert parameters / 1e6 == pytest.approx(62 if name == "ffhq64" else 56, abs=1)
    images = config.training.n_iters * config.training.small_batch_size
    assert images == pytest.approx(200e6, rel=1e-3)
    half_life = math.log(0.5) / math.log(config.model.ema_rate) * config.training.small_batch_size
    assert half_life == pytest.approx(500_000, rel=2e-2)
    method = build.create_method(config)
    assert math.isinf(method.kernel_dimensions) == (name == "cifar10_edm")


def test_noise_in_every_step_is_that_of_its_level():
    """Of one charge at 0 a step of Heun multiplies x by σ'/σ, exactly: the variance after all steps is known."""
    method = PFGMPlusPlus((1, 1, 64), D=math.inf, noise_removal=False, sigma_min=0.01)
    net = network_of_charges(method, np.zeros((1, 64), np.float32))
    sampler = create_sampler("disturbed_heun", steps=6, alpha=0.7)
    drawn = jax.jit(lambda keys: sample(method, net, sampler, keys))(sample_keys(jax.random.key(0), 2000)).check()
    assert drawn.evaluations.tolist() == [12] * 2000
    # x / σ begins with variance 1, and each step but the last adds α².
    variance = 0.01**2 * (1 + 5 * 0.7**2)
    found = np.asarray(drawn.x, np.float64).ravel()
    assert np.mean(found**2) == pytest.approx(variance, rel=4.5 * math.sqrt(2 / found.size))
    plain = create_sampler("disturbed_heun", steps=6, alpha=0.0)
    keys = sample_keys(jax.random.key(0), 8)
    draw = lambda by: jax.jit(lambda keys: sample(method, net, by, keys).x)(keys)
    np.testing.assert_allclose(draw(plain), draw(create_sampler("heun", steps=6)), rtol=1e-4, atol=1e-6)


def test_samples_that_are_disturbed_depend_on_their_own_keys():
    method = PFGMPlusPlus((1, 1, 16), D=8)
    net, sampler = network_of_charges(method, CHARGES), create_sampler("disturbed_heun", steps=6, alpha=0.2)
    draw = jax.jit(lambda keys: sample(method, net, sampler, keys).x)
    keys = sample_keys(jax.random.key(0), 6)
    np.testing.assert_allclose(draw(keys)[2:4], draw(keys[2:4]), atol=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_of_few_bits_are_the_nearest_of_their_levels(bits):
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 3, 4, 8)), "bias": rng.normal(size=8), "zero": np.zeros((2, 2))}
    params = {name: np.asarray(value, np.float32) for name, value in params.items()}
    found = jax.tree.map(np.asarray, quantized(jax.tree.map(jnp.asarray, params), bits))
    np.testing.assert_array_equal(found["bias"], params["bias"])
    np.testing.assert_array_equal(found["zero"], params["zero"])
    largest = np.abs(params["kernel"]).max()
    levels = np.linspace(-largest, largest, 2**bits - 1)
    nearest = levels[np.abs(params["kernel"].reshape(-1, 1) - levels).argmin(1)].reshape(params["kernel"].shape)
    np.testing.assert_allclose(found["kernel"], nearest, atol=1e-6)
    with pytest.raises(ValueError, match="bits is 1; a weight has a sign, so give at least 2"):
        quantized(params, 1)


@pytest.mark.slow
@pytest.mark.parametrize("D", [2, 32])
def test_samples_of_gaussian_data_are_gaussian(D):
    """With the exact mean of the kernel, by quadrature, every ODE solver ends in the data's law, whatever D is."""
    std, dim = 0.4, 4
    share, _ = gaussian_data(dim, D, std)
    method = PFGMPlusPlus((1, 1, dim), D=D, prediction="x0", noise_removal=False)
    net = lambda x, level, context=NO_CONTEXT: share((x**2).sum((1, 2, 3)), level)[:, None, None, None] * x
    for name, options in (("rk45", {}), ("heun", {"steps": 60}), ("dpmpp_3m", {"steps": 60})):
        solver = create_sampler(name, **options)
        x = np.asarray(jax.jit(lambda k, s=solver: sample(method, net, s, k))(sample_keys(jax.random.key(1), 1500)).x)
        scaled = (x.reshape(1500, dim).astype(np.float64) ** 2).sum(1) / std**2
        assert stats.kstest(scaled, stats.chi2(dim).cdf).pvalue > 1e-3, name
