"""NCSNv2 against the layers of the authors' release."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cifar10_ncsnv2
from pfgm_jax import models
from pfgm_jax.models.ncsnv2 import NCSNv2, sides_divisor

RECORD = np.load("tests/fixtures/release/ncsnv2.npz")


def recorded_weight(path, leaf) -> np.ndarray:
    """The weight that the recorded networks have at a leaf of our parameters."""
    name = "/".join(key.key for key in path)
    normal = np.random.default_rng(zlib.crc32(name.encode())).normal(size=leaf.shape).astype(np.float32)
    if name.endswith("kernel"):
        return (normal / np.sqrt(np.prod(leaf.shape[:-1]))).astype(np.float32)
    return ((1 if name.endswith(("alpha", "gamma")) else 0) + 0.1 * normal).astype(np.float32)


@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_answers_are_those_of_the_release_for_each_range_of_image_sizes(name):
    size, recorded = int(RECORD[f"{name}/size"]), RECORD[f"{name}/out"]
    x = np.random.default_rng(size).normal(size=(len(recorded), 3, size, size)).astype(np.float32).transpose(0, 2, 3, 1)
    model = NCSNv2(out_channels=4, nf=4)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x, jnp.ones(len(x)))["params"]
    params = jax.tree_util.tree_map_with_path(recorded_weight, shapes)
    out = np.asarray(jax.jit(model.apply)({"params": params}, x, jnp.ones(len(x)))).transpose(0, 3, 1, 2)
    every = 1 if size == 16 else 8
    # The largest has 70 layers, whose rounding adds up.
    bound = {"small": 2e-5, "medium": 2e-5, "large": 1e-4}[name]
    assert np.abs(out[:, :, ::every, ::every] - recorded).max() < bound * np.abs(recorded).max()


def test_noise_levels_divide_the_output_and_images_in_0_1_are_centred():
    x = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    label = jnp.array([0.0, 2.0])
    plain = NCSNv2(out_channels=1, nf=4)
    shapes = jax.eval_shape(plain.init, jax.random.key(1), x, label)["params"]
    params = {"params": jax.tree_util.tree_map_with_path(recorded_weight, shapes)}
    scaled = NCSNv2(out_channels=1, nf=4, sigmas=(5.0, 2.0, 0.5), centered=False).apply(params, x, label)
    expected = np.asarray(plain.apply(params, 2 * x - 1, label)) / np.array([5.0, 0.5]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(np.asarray(scaled), expected, rtol=1e-5)


def test_config_gives_pfgm_its_z_output():
    model = models.create_model(cifar10_ncsnv2.get_config())
    x = jnp.zeros((1, 32, 32, 3))
    out, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x, jnp.ones(1))
    assert out.shape == (1, 32, 32, 4)
    assert variables["params"]["conv_in"]["kernel"].shape == (3, 3, 3, 128)
    assert (sides_divisor(32, 32), sides_divisor(96, 128), sides_divisor(256, 256)) == (2, 4, 8)


@pytest.mark.slow
def test_initial_kernels_have_the_variance_of_pytorch():
    model = NCSNv2(out_channels=4, nf=32)
    params = jax.jit(model.init)(jax.random.key(0, impl="rbg"), jnp.zeros((1, 8, 8, 3)), jnp.ones(1))["params"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if path[-1].key == "kernel":
            variance = 1 / (3 * np.prod(leaf.shape[:-1]))
            assert abs(leaf.var() / variance - 1) < 6 * np.sqrt(0.8 / leaf.size), path
