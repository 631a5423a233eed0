"""Reflow: pairs of noise and samples of a model of any method, and flows that are trained on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import run_lib
from pfgm_jax import build, loading
from pfgm_jax import config as config_lib
from pfgm_jax.datasets import pairs
from pfgm_jax.errors import InputError
from pfgm_jax.keys import Keys, sample_keys
from pfgm_jax.methods import Poisson, kernel
from pfgm_jax.methods.flow import Flow
from tests.test_run_lib import small_digits

COUNT = 150


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    config = small_digits(**{"sampling.num_samples": COUNT, "sampling.rtol": 1e-2, "sampling.atol": 1e-2})
    run_lib.train(config, workdir)
    return config, workdir, run_lib.reflow(config, workdir)


def test_pairs_are_samples_and_the_noise_that_they_follow_from(drawn):
    config, workdir, path = drawn
    model = loading.load(workdir, None, **{"sampling.rtol": 1e-2, "sampling.atol": 1e-2})
    content = np.load(path)
    np.testing.assert_array_equal(model.scaling.to_stored(content["data"]), model.sample(COUNT, seed=config.seed))
    latents = np.asarray(model.method.prior_sample(sample_keys(Keys.from_seed(config.seed).samples, COUNT)))
    np.testing.assert_array_equal(model.method.to_noise(latents), content["noise"])
    # The same command finds them again.
    assert run_lib.reflow(config, workdir) == path


def test_noise_of_pfgm_is_normal_and_has_the_direction_of_the_latent():
    method = Poisson(shape=(1, 1, 8), M=291, z_max=40.0, upper_norm=400.0)
    latents = np.asarray(method.prior_sample(sample_keys(jax.random.key(0), 4000)))[:, 0, 0]
    noise = method.to_noise(latents[:, None, None])[:, 0, 0]
    norms, before = np.linalg.norm(noise, axis=1), np.linalg.norm(latents, axis=1)
    np.testing.assert_allclose(noise / norms[:, None], latents / before[:, None], atol=1e-5)
    inside = before < 399.9
    order = np.argsort(before[inside])
    assert (np.diff(norms[inside][order]) >= 0).all()
    # A share of the prior is clipped, to one norm; of the others the squares follow the chi-square law below it.
    clipped = np.mean(~inside)
    share = stats.chi2(8).cdf(norms[inside] ** 2) / (1 - clipped)
    assert 0.05 < clipped < 0.5 and stats.kstest(share, "uniform").pvalue > 1e-3
    # Without clipping every component is normal.
    free = Poisson(shape=(1, 1, 8), M=291, z_max=40.0, upper_norm=1e9)
    noise = free.to_noise(np.asarray(free.prior_sample(sample_keys(jax.random.key(0), 4000)))).ravel()
    assert stats.kstest(noise, "norm").pvalue > 1e-3


def test_pairs_have_the_labels_of_their_samples(tmp_path):
    labelled = {"model.num_classes": 10, "sampling.ode_solver": "euler", "sampling.N": 5, "sampling.num_samples": COUNT}
    config = small_digits(**labelled)
    run_lib.train(config, tmp_path / "run")
    path = run_lib.reflow(config, tmp_path / "run")
    held = np.load(path)
    model = loading.load(tmp_path / "run", None, **{"sampling.ode_solver": "euler", "sampling.N": 5})
    again = model.sample(COUNT, seed=config.seed, label=held["label"])
    np.testing.assert_array_equal(model.scaling.to_stored(held["data"]), again)
    of_flow = small_digits(**{**labelled, "training.sde": "flow", "training.pairs": str(path)})
    learned = build.training_data(config_lib.fill_in(of_flow, build.load_dataset(of_flow)), build.load_dataset(of_flow))
    np.testing.assert_array_equal(learned.train.labels, np.delete(held["label"], np.arange(19, COUNT, 20)))
    run_lib.train(of_flow, tmp_path / "flow")
    np.savez(tmp_path / "bare.npz", **{name: held[name] for name in ("noise", "data", "scaling")})
    of_flow.training.pairs = str(tmp_path / "bare.npz")
    with pytest.raises(
        InputError, match="bare.npz, which has no labels, but the network is shown some; make pairs of a"
    ):
        run_lib.train(of_flow, tmp_path / "bare")


def test_a_flow_learns_the_pairs(drawn, tmp_path):
    _, _, path = drawn
    flow = small_digits(**{"training.sde": "flow", "training.pairs": str(path)})
    assert int(run_lib.train(flow, tmp_path / "flow").step) == 6
    (report,) = run_lib.evaluate(
        small_digits(**{"training.sde": "flow", "training.pairs": str(path), "eval.enable_sampling": False,
                        "eval.enable_bpd": False}), tmp_path / "flow"
    )  # fmt: skip
    assert np.isfinite(report["held_out_loss"])
    # What a step learns: the line from the noise of a pair to its data.
    content = np.load(path)
    both = jnp.asarray(np.concatenate([content["noise"], content["data"]], axis=-1)[:16])
    found = Flow((8, 8, 1), pairs=str(path)).training_pair(jax.random.key(0), both)
    time = np.asarray(found.noise_level)[:, None, None, None]
    np.testing.assert_allclose(found.x, (1 - time) * content["data"][:16] + time * content["noise"][:16], atol=1e-6)
    expected = (content["noise"] - content["data"])[:16].reshape(16, -1)
    np.testing.assert_allclose(found.target, expected, atol=1e-6)


def test_what_are_no_pairs_is_refused(drawn, tmp_path):
    config, workdir, path = drawn
    np.savez(tmp_path / "other.npz", noise=np.zeros((3, 2)))
    content = np.load(path)
    noise, data, scaling = (content[name] for name in ("noise", "data", "scaling"))
    np.savez(tmp_path / "sizes.npz", noise=noise[:, :4], data=data, scaling=scaling)
    np.savez(tmp_path / "units.npz", noise=noise, data=data, scaling=np.array("{}"))
    np.savez(tmp_path / "infinite.npz", noise=noise * np.inf, data=data, scaling=scaling)
    np.savez(tmp_path / "large.npz", noise=noise.astype(np.float64) * 1e300, data=data, scaling=scaling)
    np.savez(tmp_path / "text.npz", noise=noise.astype(str), data=data, scaling=scaling)
    for name, message in (
        ("missing.npz", "which is not there; give a pairs.npz"),
        ("other.npz", "which holds no pairs; give a pairs.npz"),
        ("sizes.npz", "but the data set has examples of"),
        ("units.npz", "whose units are those of"),
        ("infinite.npz", "which holds numbers that are not finite in float32; give a pairs.npz"),
        ("large.npz", "which holds numbers that are not finite in float32"),
        ("text.npz", "whose noise or data are no floating-point numbers; give a pairs.npz"),
    ):
        flow = small_digits(**{"training.sde": "flow", "training.pairs": str(tmp_path / name)})
        with pytest.raises(InputError, match=f"training.pairs is .*{message}"):
            run_lib.train(flow, tmp_path / "flow")
    for overrides, message in (
        ({"training.sde": "vpsde"}, "but 'vpsde' does not train on pairs; choose training.sde flow"),
        ({"training.sde": "flow", "training.field_reference": "dataset"}, "set training.field_reference to 'example'"),
        ({"training.sde": "flow", "training.batch_size": 1000}, "training.batch_size is 1000, but .* has 143 pairs"),
    ):
        with pytest.raises(InputError, match=message):
            run_lib.train(small_digits(**{"training.pairs": str(path)}, **overrides), tmp_path / "flow")
    assert not (tmp_path / "flow").exists()
    config.sampling.method = "ddim"
    with pytest.raises(InputError, match="sampling.method is 'ddim', which cannot sample from 'poisson'"):
        run_lib.reflow(config, workdir)
    assert build.load_dataset(config).levels == 17
    assert path.name == pairs.FILE


@pytest.mark.parametrize("D", [1, 16, 2048])
def test_noise_maps_to_normal_noise_one_to_one(D):
    x = np.asarray(jax.jit(lambda k: kernel.noises(k, (4000, 3, 4), D))(jax.random.key(0)))
    normal = kernel.to_normal(x, D).reshape(4000, -1)
    assert stats.kstest((normal.astype(np.float64) ** 2).sum(1), stats.chi2(12).cdf).pvalue > 1e-3
    cosines = (normal * x.reshape(4000, -1)).sum(1) / np.linalg.norm(normal, axis=1) / np.linalg.norm(x, axis=(1, 2))
    np.testing.assert_allclose(cosines, 1, rtol=1e-5)
    order = np.argsort(np.linalg.norm(x, axis=(1, 2)))
    assert (np.diff(np.linalg.norm(normal, axis=1)[order]) > -1e-4).all()
    shares = np.array([0.9, 0.1, 1e-3])
    norms = kernel.norm_beyond(shares, 12, D)
    np.testing.assert_allclose(kernel.share_beyond(norms, 12, D), shares, rtol=1e-9)
    np.testing.assert_allclose(norms, np.sqrt(12 * stats.f(12, D).isf(shares)), rtol=1e-9)
