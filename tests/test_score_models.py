"""Score models, diffusions and flows as runs: refusals, training as the release, every mode, converted checkpoints."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import run_lib
from configs import default
from pfgm_jax import build, convert, loading, models
from pfgm_jax import config as config_lib
from pfgm_jax.charges import Charges
from pfgm_jax.config_files import load_experiment
from pfgm_jax.convert.tensors import network_tensors
from pfgm_jax.datasets.pipeline import Batch
from pfgm_jax.datasets.scaling import Scaling
from pfgm_jax.errors import InputError
from pfgm_jax.methods import DenoisingMethod
from pfgm_jax.registry import METHODS
from pfgm_jax.sharding import Devices
from pfgm_jax.training import losses
from pfgm_jax.training.state import create_optimizer, create_state
from tests.test_parity import to_theirs, with_gradients
from tests.test_run_lib import small_digits
from tests.test_score_records import images

SCORES = Path("tests/fixtures/scores")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"sampling.method": "ddim"},
            "sampling.method is 'ddim', which cannot sample from 'poisson'; choose one of rk45",
        ),
        (
            {"training.sde": "cosine", "sampling.method": "pc"},
            "sampling.method is 'pc', which cannot sample from 'cosine'; choose one of rk45, .*, annealed_langevin",
        ),
        (
            {"training.sde": "subvpsde", "training.continuous": False},
            "continuous is False; sub-VP has no discrete levels",
        ),
        (
            {"training.sde": "vpsde", "training.continuous": False, "model.num_scales": 20},
            "model.num_scales is 20; the levels' β, .*, must stay below 1: give more than 20",
        ),
        (
            {"training.sde": "vpsde", "sampling.method": "pc", "sampling.N": 20},
            "sampling.N is 20; the steps' β, .*, must stay below 1: give more than 20",
        ),
        (
            {"training.sde": "subvpsde", "sampling.method": "pc", "sampling.predictor": "ancestral_sampling"},
            "sampling.predictor is 'ancestral_sampling'; sub-VP has no ancestral steps",
        ),
        ({"training.sde": "vesde", "sampling.snr": 0.0}, "sampling.snr is 0.0; give a number above 0"),
        (
            {
                "training.sde": "vesde",
                "sampling.method": "pc",
                "sampling.predictor": "none",
                "sampling.corrector": "none",
            },
            "sampling.predictor is 'none'; sampling.corrector is 'none' too: choose one of them",
        ),
        (
            {"training.sde": "vesde", "sampling.method": "pc", "sampling.N": 1},
            "sampling.N is 1; both ends of the way are steps: give at least 2",
        ),
        (
            {"training.sde": "vpsde", "training.continuous": False, "training.likelihood_weighting": True},
            "training.likelihood_weighting is True; discrete levels have no g: choose another weighting, or set "
            "training.continuous to True",
        ),
        (
            {"training.sde": "vpsde", "training.objective": "sliced", "training.field_reference": "dataset"},
            "training.field_reference is 'dataset'; the objective 'sliced' has no target: choose 'example'",
        ),
        (
            {"training.sde": "vpsde", "training.field_reference": "other"},
            "training.field_reference is 'other'; choose one of example, batch, dataset",
        ),
        (
            {"training.sde": "vpsde", "model.name": "ncsnpp", "model.scale_by_sigma": True, "model.num_scales": 500},
            "model.num_scales is 500, but with model.scale_by_sigma .* labels .* up to 999; give at least 1000",
        ),
        (
            {"training.sde": "flow", "training.prediction": "eps"},
            "training.prediction is 'eps'; choose one of noise, score",
        ),
    ],
)
def test_what_a_method_cannot_do_is_refused_in_a_sentence(tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        run_lib.train(small_digits(**overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def with_draws(method, time, noise):
    """The method with the times and the noise of a step given."""

    class Recorded(type(method)):
        def training_pair(self, key, data, context, field=None):
            return self.pair_at(data, time, noise, context, field)

    return Recorded(**{field.name: getattr(method, field.name) for field in dataclasses.fields(method)})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vp_c", "ve_c"])
def test_training_steps_are_those_of_the_release(name):
    record = np.load(SCORES / f"{name}_release.npz")
    at = lambda key: record[f"train/{key}"]
    config = default.get_config()
    config.update(json.loads((SCORES / f"{name}.config.json").read_text()))
    config.training.reduce_mean = bool(at("reduce_mean"))
    config.optim.lr, config.optim.warmup = float(at("lr")), int(at("warmup"))
    tensors, model = network_tensors(config), models.create_model(config)
    params, *_ = convert.convert_checkpoint(SCORES / f"{name}.pth", config)
    optimizer, method = with_gradients(create_optimizer(config.optim)), build.create_method(config)
    assert isinstance(method, DenoisingMethod)
    # On the devices, as states after steps are: the step is compiled once.
    state = jax.jit(lambda p: create_state(p, optimizer), out_shardings=Devices.all().whole)(params)
    # What a batch holds is already in network units.
    identity = Scaling(levels=0, low=-1.0, dequantize=False, flip=False, shift=(0.0,) * 3, scale=1.0)
    charges = Charges("example", 16, 4096, identity, Devices.all())

    @jax.jit
    def step_fn(state, batch, time, noise):
        objective = losses.Objective(with_draws(method, time, noise), model, charges)
        inputs = (jax.random.key(0), batch, None, jnp.zeros(1))
        after, metrics, _ = losses.train_step(objective, optimizer, float(at("ema_rate")), state, *inputs)
        return after, metrics

    for step in range(1, 5):
        here = lambda key, step=step: at(f"step{step}/{key}")
        batch = Batch(images(here("batch")), jnp.arange(16), None)
        time = method.uniform_times(jnp.asarray(here("u")))
        state, metrics = step_fn(state, batch, time, images(here("z")))
        np.testing.assert_allclose(metrics["loss"], here("loss"), rtol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"], here("grad_global_norm"), rtol=1e-4)
        norms = [np.linalg.norm(g) for g in to_theirs(state.opt_state[1], tensors, at("param_names"))]
        np.testing.assert_allclose(norms, here("grad_tensor_norms"), rtol=1e-4, atol=float(1e-4 * max(norms)))
        for kind, tree in (("param", state.params), ("ema", state.ema_params)):
            for i, array in enumerate(to_theirs(tree, tensors, at("picked_names"))):
                expected = here(f"{kind}/{i}")
                assert np.abs(array - expected).max() < 1e-5 * np.abs(expected).max(), (step, kind, i)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10_ve", "cifar10_vp", "cifar10_subvp", "ddpm", "ncsn", "flow"])
def test_experiments_are_whole(name):
    config = load_experiment(name)
    config_lib.validate(config)
    assert models.shapes_of_params(models.create_model(config), build.image_shape(config))  # which fit together
    # The release's networks of PFGM, which answer with a channel more.
    recorded = {"cifar10_ve": "ncsnpp", "cifar10_vp": "ddpmpp", "cifar10_subvp": "ddpmpp", "flow": "ddpmpp"}.get(name)
    if recorded:
        sizes = json.loads(Path(f"tests/fixtures/release/fullsize_cifar10_{recorded}.json").read_text())["state_dict"]
        sizes = {key: tuple(size) for key, size in sizes.items() if key != "module.sigmas"}
        ours = {tensor.name: tensor.shape_of_theirs for tensor in network_tensors(config)}
        assert ours.keys() == sizes.keys()
        others = {key: (size, sizes[key]) for key, size in ours.items() if size != sizes[key]}
        assert sorted(others.values()) == [((3,), (4,)), ((3, 128, 3, 3), (4, 128, 3, 3))]


# The others differ from these in their paths alone, which have tests of their own; VE's modes are tested below.
@pytest.mark.slow
@pytest.mark.parametrize("sde", ["vpsde", "flow"])
def test_every_mode_works_with_every_method(tmp_path, sde):
    config = small_digits(
        **{
            "training.sde": sde,
            "training.snapshot_sampling": True,
            "sampling.rtol": 1e-2,
            "sampling.atol": 1e-2,
            "sampling.num_samples": 4,
            "eval.num_samples": 8,
            "eval.num_images": 3,
            "eval.enable_norm_curve": True,
        }
    )
    state = run_lib.train(config, tmp_path / "run")
    assert int(state.step) == 6
    folder = run_lib.sample(config, tmp_path / "run")
    assert np.load(folder / "samples.npz")["samples"].shape == (4, 8, 8, 1)
    (report,) = run_lib.evaluate(config, tmp_path / "run")
    assert np.isfinite([report[name] for name in ("fid", "held_out_loss", "bits_per_dim")]).all()
    norms = json.loads(Path(report["norm_curve"]).read_text())
    assert METHODS[sde].level_name in norms
    # The ODE leads back and forth.
    model = loading.load(tmp_path / "run", None, **{"sampling.rtol": 1e-5, "sampling.atol": 1e-5})
    test = build.load_dataset(config).test[:3]
    assert np.abs(model.decode(model.encode(test)).astype(int) - test.astype(int)).max() <= 1
    # By another sampler, with options of its own.
    few = loading.load(tmp_path / "run", None, **{"sampling.method": "ddpm", "sampling.N": 5})
    assert few.sample(3).shape == (3, 8, 8, 1)
    (drawn,) = few.draw(3, seed=0)
    assert (np.asarray(drawn.evaluations) == 6).all()


# VP's checkpoint takes the same way, and that VP works in every mode is tested above.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ve_c"])
def test_converted_checkpoints_work_in_every_mode(tmp_path, name):
    config = default.get_config()
    config.update(json.loads((SCORES / f"{name}.config.json").read_text()))
    data = tmp_path / "images.npy"
    np.save(data, np.random.default_rng(0).integers(0, 256, (80, 8, 8, 3), dtype=np.uint8))
    config.data.dataset = f"arrays:{data}"
    config.data.levels = 256
    config.sampling.N = 25
    config.sampling.num_samples = config.eval.num_samples = 3
    config.eval.features, config.eval.num_images, config.eval.enable_bpd = "pixels", 2, True
    config.training.small_batch_size = config.training.batch_size = 16
    config.training.snapshot_sampling = False
    step = int(convert.convert_to_workdir(SCORES / f"{name}.pth", config, tmp_path / "run").step)
    config.training.n_iters = step + 2
    folder = run_lib.sample(config, tmp_path / "run")
    assert len(np.load(folder / "samples.npz")["samples"]) == 3
    (report,) = run_lib.evaluate(config, tmp_path / "run")
    assert np.isfinite(report["bits_per_dim"]) and report["bits_per_dim_unsolved"] == 0
    run_lib.likelihood(config, tmp_path / "run")
    assert int(run_lib.train(config, tmp_path / "run").step) == step + 2
