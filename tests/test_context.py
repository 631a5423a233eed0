"""What is given of an example reaches the network in the row of that example."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import run_lib
from pfgm_jax import build, keys
from pfgm_jax.context import Context
from pfgm_jax.errors import InputError
from tests import context_on_devices, straight_lines
from tests.context_on_devices import LABELS, SEED, model_of
from tests.test_run_lib import small_digits
from tests.test_sharding import environment


@pytest.fixture(scope="module", autouse=True)
def registered():
    straight_lines.register()
    yield
    straight_lines.unregister()


def check(found, solver_count, likelihood_count):
    """Compares with the lines x = c + (prior - c) σ / σ_max that lead to each label c."""
    prior = np.asarray(model_of().method.prior_sample(keys.sample_keys(keys.Keys.from_seed(SEED).samples, len(LABELS))))
    prior = prior[:, 0, 0, 0]
    solvers = [name for name in found if "," in name]
    assert len(solvers) == solver_count
    for name in solvers:
        expected = LABELS + (prior - LABELS) * (0.3 / 20)
        np.testing.assert_allclose(found[name]["samples"], expected, rtol=0, atol=2e-3, err_msg=name)
        np.testing.assert_allclose(found[name]["back"], expected, rtol=0, atol=4e-3, err_msg=name)
        np.testing.assert_allclose(found[name]["latents"], prior, rtol=0.02, atol=0.2, err_msg=name)
    # With noise: the label, and in each sample the noise of its own key.
    jumps = np.asarray(found["jump"])
    own = keys.noise_keys(keys.sample_keys(keys.Keys.from_seed(SEED).samples, len(LABELS)))
    noise = np.stack([np.asarray(jax.random.normal(key, (8, 8, 1)))[0, 0, 0] for key in own])
    np.testing.assert_allclose(jumps, LABELS + 0.3 * noise, rtol=0, atol=1e-5)
    # Each image is grey, with the noise of number k within its level. The lines carry N(0, σ_max²) to the density of
    # N(c (1 - σ_min/σ_max), σ_min²) there.
    key = keys.Keys.from_seed(SEED).likelihood
    at = lambda k: jax.random.split(jax.random.fold_in(jax.random.fold_in(key, k), 0))[0]
    noise = np.stack([np.asarray(jax.random.uniform(at(k), (8, 8, 1))) for k in range(len(LABELS))])
    x = (-1 + 2 * (8 + noise.astype(np.float64)) / 17).reshape(len(LABELS), 64)
    means = np.broadcast_to((1 - 0.3 / 20) * LABELS[:, None], x.shape)
    nats = straight_lines.gaussian_nats(x, means, 0.3)
    likelihoods = [name for name in found if name.endswith("likelihood")]
    assert len(likelihoods) == likelihood_count
    for name in likelihoods:
        # In units of grey levels; an image in network units counts 2/17 for each.
        ours = np.array(found[name]) - 64 * np.log(2 / 17)
        np.testing.assert_allclose(ours, nats, rtol=1e-3, atol=1e-2, err_msg=name)


@pytest.mark.slow
def test_every_solver_latent_and_likelihood_has_its_own_row():
    check(context_on_devices.results(), solver_count=9, likelihood_count=5)


@pytest.mark.slow
def test_rows_are_kept_on_several_devices():
    command = [sys.executable, "-m", "tests.context_on_devices"]
    done = subprocess.run(command, env=environment(4), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["devices"] == 4
    check(printed["found"], solver_count=3, likelihood_count=3)


@pytest.mark.parametrize("reference", ["batch", "dataset"])
def test_training_pairs_have_the_labels_of_their_examples(reference, tmp_path, monkeypatch):
    """The network is shown each perturbed example with the label that the data set gives that example."""
    seen = []

    class Recorder(straight_lines.StraightLines):
        references = ("batch", "dataset")

        def training_pair(self, key, data, context=None, field=None):
            assert field is not None and context is not None
            jax.debug.callback(lambda *rows: seen.append([np.asarray(a) for a in rows]), data, context.label)
            return super().training_pair(key, data, context)

    config = small_digits(**{"training.sde": "recorder", "training.n_iters": 3, "training.field_reference": reference})
    config.data.uniform_dequantization = False
    straight_lines.registry.METHODS.register("recorder", Recorder)
    try:
        run_lib.train(config, tmp_path)
    finally:
        straight_lines.registry.METHODS.unregister("recorder")
    jax.effects_barrier()
    dataset = build.load_dataset(config)
    label_of = {}
    for split in (dataset.train, dataset.test):
        for image, label in zip(split[:], split.labels, strict=True):
            label_of[image.tobytes()] = label
    assert len(seen) >= 3
    for data, labels in seen:
        stored = np.round((data + 1) * 8).astype(np.uint8)
        assert labels.shape == (16,)
        assert [label_of[image.tobytes()] for image in stored] == labels.tolist()


def test_a_context_of_another_length_is_refused():
    model = model_of()
    wrong = Context(label=LABELS[:2])
    with pytest.raises(InputError, match="the context's label has 2 rows for 7 images; give one row for each image"):
        model.sample(7, context=wrong)
    with pytest.raises(InputError, match="the context's label has the single value 3 for 7 images; give one row for"):
        model.sample(7, context=Context(label=np.array(3)))
    images = np.full((3, 8, 8, 1), 8, np.uint8)
    for use in (model.encode, model.bits_per_dim):
        with pytest.raises(InputError, match="the context's label has 2 rows for 3 images"):
            use(images, context=wrong)
