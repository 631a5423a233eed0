"""A trained model as a library."""

import doctest
from typing import Any

import numpy as np
import pytest

import pfgm_jax
import run_lib
from pfgm_jax import build
from pfgm_jax.errors import InputError
from tests.test_run_lib import small_digits


def load_with(workdir, overrides: dict[str, Any]):
    return pfgm_jax.load(workdir, **overrides)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library") / "digits"
    config = small_digits(**{"training.n_iters": 300, "training.eval_freq": 300, "training.log_freq": 100})
    # What has been trained so little is too rough for adaptive steps.
    config.update_from_flattened_dict({"sampling.ode_solver": "improved_euler", "sampling.N": 100, "optim.lr": 3e-3})
    config.model.ema_rate, config.sampling.rtol, config.sampling.atol = 0.9, 0.1, 0.1
    run_lib.train(config, folder)
    return folder


@pytest.fixture(scope="module")
def model(workdir):
    return pfgm_jax.load(workdir)


def test_the_documentation_is_true(workdir):
    failed, tried = doctest.testfile("../docs/library.md", globs={"workdir": str(workdir)})
    assert failed == 0 and tried > 20


def test_samples_are_those_of_the_command_line(model, workdir):
    config = small_digits(**{"sampling.num_samples": 5, "sampling.batch_size": 2})
    config.sampling.ode_solver = "improved_euler"
    folder = run_lib.sample(config, workdir)
    np.testing.assert_array_equal(np.load(folder / "samples.npz")["samples"], model.sample(5, seed=config.seed))


def test_steps_can_be_given_one_by_one(workdir):
    sampling = {"sampling.ode_solver": "dpmpp_2m", "sampling.N": 12, "sampling.rho": 3.0}
    for schedule in ("log", "rho"):
        model = load_with(workdir, {**sampling, "sampling.schedule": schedule})
        z_max, z_min, root = model.config.sampling.z_max, model.config.sampling.z_min, 1 / 3
        z = {
            "log": np.geomspace(z_max, z_min, 13),
            "rho": np.linspace(z_max**root, z_min**root, 13) ** 3,
        }[schedule]
        given = load_with(workdir, {**sampling, "sampling.levels": tuple(map(float, z[1:-1]))})
        ours, theirs = (next(m.draw(4, seed=0)) for m in (given, model))
        assert ours.evaluations.tolist() == [12] * 4
        # So little trained, it sends some samples far out.
        assert np.linalg.norm(ours.x - theirs.x) < 1e-3 * np.linalg.norm(theirs.x)
    other = next(load_with(workdir, {**sampling, "sampling.schedule": "log"}).draw(4, seed=0))
    assert np.linalg.norm(other.x - theirs.x) > 1e-2 * np.linalg.norm(theirs.x)


def test_temperature_one_and_the_ends_of_a_path_change_nothing(model):
    images = build.load_dataset(small_digits()).test[:4]
    z = model.encode(images)
    np.testing.assert_array_equal(model.decode(1.0 * z), model.decode(z))
    path = model.interpolate(images[:2], images[2:], steps=3)
    # Two batches of two and one of four are not rounded alike.
    assert np.mean(path[[0, 2]].reshape(images.shape) == model.decode(z)) > 0.95
    assert (path[1] != images[:2]).any() and (path[1] != images[2:]).any()


def test_bits_of_an_image_depend_on_its_number_and_not_on_the_batch(model, workdir):
    images = build.load_dataset(small_digits()).test[:5]
    bits = model.bits_per_dim(images, draws=2)
    small = load_with(workdir, {"eval.batch_size": 2})
    np.testing.assert_allclose(small.bits_per_dim(images, draws=2), bits, rtol=1e-3)
    assert (np.abs(model.bits_per_dim(images, seed=1, draws=2) - bits) > 1e-4).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :4], r"the images have shape \(2, 4, 8, 1\); the model takes \[n, 8, 8, 1\]"),
        (lambda x: x / 16.0, "the images are float64; give uint8 with grey levels 0 to 16"),
        (lambda x: x + np.uint8(20), r"an image has grey level \d+; the model knows 0 to 16"),
        (lambda x: x[:0], r"the images have shape \(0, 8, 8, 1\)"),
    ],
)
def test_refuses_what_are_not_its_images(model, change, message):
    images = build.load_dataset(small_digits()).test[:2]
    for use in (model.encode, model.bits_per_dim):
        with pytest.raises(InputError, match=message):
            use(change(images))


def test_refuses_latents_and_overrides_that_do_not_fit(model, workdir, tmp_path):
    with pytest.raises(InputError, match=r"the latents have shape \(1, 2\); the model takes finite numbers"):
        model.decode(np.zeros((1, 2)))
    with pytest.raises(InputError, match="the latents have shape"):
        model.decode(np.full((1, 8, 8, 1), np.nan))
    with pytest.raises(InputError, match="sampling.solver is not a field of the config: did you mean"):
        load_with(workdir, {"sampling.solver": "euler"})
    with pytest.raises(InputError, match="sampling.ode_solver is 'rk4'"):
        load_with(workdir, {"sampling.ode_solver": "rk4"})
    with pytest.raises(InputError, match="holds no run"):
        pfgm_jax.load(tmp_path / "none")
    with pytest.raises(InputError, match="there is no checkpoint of step 7"):
        pfgm_jax.load(workdir, step=7)
