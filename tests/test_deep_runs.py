"""Runs on data of 16 bits, from end to end, on patches: the units of the data come back."""

import numpy as np
import pytest

import pfgm_jax
import run_lib
from pfgm_jax import build
from pfgm_jax.errors import InputError
from tests.test_run_lib import small_digits


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uint16", "int16"])
def test_sixteen_bits_are_learned_on_patches_and_come_back(tmp_path, monkeypatch, kind):
    """Also where a byte would hold their range."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    rng = np.random.default_rng(0)
    images = rng.integers(30, 230, (60, 12, 10, 2)).astype(kind)
    np.save(tmp_path / "a.npy", images)
    fields = {"data.dataset": f"arrays:{tmp_path}/a.npy", "data.crop": 8, "training.batch_size": 20}
    fields |= {"sampling.ode_solver": "euler", "sampling.N": 5, "eval.features": "pixels", "eval.num_samples": 12}
    fields |= {"eval.num_images": 3, "sampling.rtol": 1e-2, "sampling.atol": 1e-2}
    config = small_digits(**fields, **{"training.sde": "vpsde"})
    run_lib.train(config, tmp_path / "run")
    model = pfgm_jax.load(
        tmp_path / "run", None, **{"sampling.ode_solver": "rk45", "sampling.rtol": 1e-5, "sampling.atol": 1e-5}
    )
    samples = model.sample(5)
    assert samples.shape == (5, 8, 8, 2) and samples.dtype == kind and samples.min() >= 30 and samples.max() <= 229
    patches = build.load_dataset(model.config).test[:]
    back = model.decode(model.encode(patches))
    assert back.dtype == kind and np.abs(back.astype(int) - patches.astype(int)).max() <= 1
    if kind == "uint16":  # what follows computes in units of the network, whatever the type
        return
    (report,) = run_lib.evaluate(config, tmp_path / "run")
    # By numpy: the distance of the samples to one patch of each training image, black and white at the range's ends.
    drawn = pfgm_jax.load(tmp_path / "run", None, **{"sampling.ode_solver": "euler", "sampling.N": 5})
    a = (drawn.sample(12, seed=config.seed).reshape(12, -1).astype(float) - 30) / 199
    b = (build.load_dataset(model.config).train[:].reshape(57, -1).astype(float) - 30) / 199
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(ca @ cb).real, 0)).sum()
    exact = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * roots
    assert report["fid"] == pytest.approx(exact, rel=1e-3)
    bits = model.bits_per_dim(patches, seed=config.seed)
    assert report["bits_per_dim"] == pytest.approx(bits.mean(), rel=2e-2)
    # Patches of another size are another model.
    with pytest.raises(InputError, match="of another model: data.crop is 6, and was 8"):
        run_lib.sample(small_digits(**{**fields, "data.crop": 6, "training.sde": "vpsde"}), tmp_path / "run")
