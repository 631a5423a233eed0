import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits, heart
from pfgm_jax import models
from pfgm_jax.models import embeddings, layers, resample
from pfgm_jax.models.ncsnpp import NCSNpp
from pfgm_jax.models.ncsnv2 import NCSNv2
from tests.networks import random_like


def answer(model, params, *inputs, **options) -> jax.Array:
    """What a module makes of its inputs."""
    return jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs, **options))(params, *inputs)


def test_positional_embedding_equals_its_formula_for_any_real_number():
    t = np.array([1e-10, 0.37, 5.0, 2345.6], np.float32)
    frequency = 10000.0 ** (-np.arange(16, dtype=np.float64) / 15)
    angle = t.astype(np.float64)[:, None] * frequency
    expected = np.concatenate([np.sin(angle), np.cos(angle), np.zeros((4, 1))], axis=1)
    np.testing.assert_allclose(embeddings.positional_embedding(jnp.asarray(t), 33), expected, atol=3e-4)


@pytest.mark.parametrize("channels", [4, 24, 72, 256])
def test_group_norm_makes_each_group_standard(channels):
    rng = np.random.default_rng(0)
    x, added = (rng.normal(3, 5, shape).astype(np.float32) for shape in ((2, 4, 6, channels), (2, channels)))
    groups = {4: 1, 24: 6, 72: 18, 256: 32}[channels]
    params = {"scale": np.linspace(1, 2, channels), "bias": np.linspace(-1, 1, channels)}
    expected = lambda x: standard(x, groups) * params["scale"] + params["bias"]
    np.testing.assert_allclose(answer(layers.GroupNorm(), params, jnp.asarray(x)), expected(x), atol=1e-5)
    with_added = answer(layers.GroupNorm(), params, jnp.asarray(x), jnp.asarray(added))
    np.testing.assert_allclose(with_added, expected(x.astype(np.float64) + added[:, None, None]), atol=1e-5)


@pytest.mark.parametrize("groups", [1, 6, 18])
@pytest.mark.parametrize("way", [layers.group_mean_by_product, layers.group_mean_by_reshaping])
def test_the_mean_of_a_group_is_the_same_on_every_device(way, groups):
    y = np.random.default_rng(0).normal(3, 5, (5, 72)).astype(np.float32)
    means = y.astype(np.float64).reshape(5, groups, -1).mean(-1)
    np.testing.assert_allclose(way(groups, jnp.asarray(y)), means.repeat(72 // groups, axis=-1), atol=3e-6)


def standard(x, groups):
    """Each image's groups of channels in float64, with mean 0 and variance 1."""
    grouped = x.astype(np.float64).reshape(len(x), -1, groups, x.shape[-1] // groups)
    mean, var = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    return ((grouped - mean) / np.sqrt(var + 1e-6)).reshape(x.shape)


@pytest.mark.parametrize("mean", [0, 3, 30, 300])
def test_group_norm_in_bfloat16_loses_less_than_the_rounding_of_its_input(mean):
    x = np.random.default_rng(0).normal(mean, 1, (8, 16, 16, 24)).astype(np.float32)
    rounded = jnp.asarray(x, jnp.bfloat16)
    params = {"scale": np.ones(24), "bias": np.zeros(24)}
    of_rounded = standard(np.asarray(rounded), 6)
    error = np.abs(answer(layers.GroupNorm(), params, rounded) - of_rounded).max()
    assert error < 0.02 * np.abs(of_rounded - standard(x, 6)).max()


def test_downsampling_averages_and_undoes_upsampling():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(resample.upsample(jnp.asarray(x))[:, 1::2, ::2], x)
    np.testing.assert_allclose(resample.downsample(resample.upsample(jnp.asarray(x))), x, rtol=1e-6)
    np.testing.assert_allclose(resample.downsample(jnp.asarray(x))[0, 1, 2, 1], x[0, 2:4, 4:6, 1].mean(), rtol=1e-6)


def test_attention_equals_its_formula():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 5, 8)), jnp.float32)
    block = layers.AttentionBlock(skip_rescale=True, init_scale=1.0)
    params = block.init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(np.float32), params)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    h = np.asarray(layers.GroupNorm().apply({"params": params["norm"]}, x), np.float64).reshape(2, 15, 8)
    q, k, v = (h @ p[n]["kernel"] + p[n]["bias"] for n in ("query", "key", "value"))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    out = (weights @ v @ p["out"]["kernel"] + p["out"]["bias"]).reshape(x.shape)
    np.testing.assert_allclose(answer(block, params, x), (x + out) / np.sqrt(2), atol=2e-5)


def random_params(model, *inputs):
    return random_like(jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"], 0.2)


@pytest.mark.parametrize("shape", [(8, 8, 1), (4, 12, 4), (16, 8, 3)])
def test_u_net_answers_each_image_by_itself(shape):
    model = NCSNpp(out_channels=shape[-1] + 1, nf=8, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,))
    x = jax.random.normal(jax.random.key(0), (3, *shape))
    z = jnp.array([1e-3, 1.0, 40.0])
    params = random_params(model, x, z)
    apply = jax.jit(lambda params, x, z: model.apply({"params": params}, x, z))
    assert apply(params, x, z).shape == (3, *shape[:-1], shape[-1] + 1)
    np.testing.assert_allclose(apply(params, x[1:2], z[1:2]), apply(params, x, z)[1:2], rtol=1e-4, atol=1e-4)


def test_condition_and_dropout_reach_the_output():
    model = NCSNpp(
        out_channels=2, nf=8, ch_mult=(1,), num_res_blocks=1, attn_resolutions=(), dropout=0.5, init_scale=1.0
    )
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 1))
    params = random_params(model, x, jnp.ones(1))
    at = lambda z, **kw: answer(model, params, x, jnp.full(1, z), **kw)
    assert float(jnp.abs(at(1.0) - at(2.0)).max()) > 1e-3
    dropped = [at(1.0, train=True, rngs={"dropout": jax.random.key(k)}) for k in range(2)]
    assert float(jnp.abs(dropped[0] - dropped[1]).max()) > 1e-3
    np.testing.assert_array_equal(at(1.0), at(1.0))


@pytest.mark.slow
def test_initial_kernels_have_the_variance_of_ddpm_and_the_network_starts_at_zero():
    model = NCSNpp(out_channels=4, nf=64, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(8,))
    x = jax.random.normal(jax.random.key(1), (1, 8, 8, 3))
    key = jax.random.key(0, impl="rbg")  # compiles in a fraction of the time
    params = jax.jit(model.init)(key, x, jnp.ones(1))["params"]
    assert float(jnp.abs(answer(model, params, x, jnp.ones(1))).max()) < 1e-3
    checked = 0
    for path, kernel in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if "kernel" not in name:
            continue
        fan_in, fan_out = (np.prod(kernel.shape[:-2]) * kernel.shape[i] for i in (-2, -1))
        last = "conv_1" in name or "conv_out" in name or "'out'" in name
        scale = 1e-10 if last else 0.1 if any(n in name for n in ("query", "key", "value")) else 1.0
        variance = scale * 2 / (fan_in + fan_out)
        # Uniform: the estimate of the variance from n values has a relative error of √(0.8 / n).
        assert abs(np.asarray(kernel).var() / variance - 1) < 6 * np.sqrt(0.8 / kernel.size), name
        checked += 1
    assert checked > 20


NETWORKS = {
    "ncsnpp": NCSNpp(
        out_channels=2, nf=16, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(8,), dropout=0.0, init_scale=1.0
    ),
    "ncsnv2": NCSNv2(out_channels=2, nf=16),
}


@pytest.mark.parametrize("name", NETWORKS)
@jax.numpy_dtype_promotion("standard")  # JAX's own attention mixes types
def test_half_precision_computes_nearly_the_same_with_the_same_parameters(name):
    model = NETWORKS[name]
    half = model.clone(dtype=jnp.bfloat16)
    x, z = jax.random.normal(jax.random.key(0), (2, 16, 16, 1)), jnp.array([0.1, 3.0])
    params = random_params(model, x, z)
    jax.tree.map(np.testing.assert_array_equal, params, random_params(half, x, z))
    exact, near = (jax.jit(m.apply)({"params": params}, x, z) for m in (model, half))
    assert near.dtype == jnp.float32
    # A number of bfloat16 is off by up to 2^-9; some tens of layers add up.
    error = np.linalg.norm(near - exact) / np.linalg.norm(exact)
    assert 1e-4 < error < 0.05
    text = jax.jit(half.apply).lower({"params": params}, x, z).as_text()
    assert text.count("stablehlo.convolution") > 10
    in_float32 = [line for line in text.splitlines() if "stablehlo.convolution" in line and "bf16" not in line]
    assert len(in_float32) == 2  # the first and the last


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_remat_gives_the_same_gradients_in_less_memory(name):
    model = NETWORKS[name]
    x, z = jax.random.normal(jax.random.key(0), (8, 16, 16, 1)), jnp.full(8, 0.3)
    params = random_params(model, x, z)

    def loss_of(model):
        return lambda p: jnp.sum(model.apply({"params": p}, x, z, train=True) ** 2)

    def kept(model):  # what the backward pass is handed
        return sum(
            leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda p: jax.vjp(loss_of(model), p)[1], params))
        )

    remat = model.clone(remat=True)
    assert kept(remat) < 0.7 * kept(model)
    plain, again = (jax.jit(jax.grad(loss_of(m)))(params) for m in (model, remat))
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * largest), plain, again)


def test_registry_gives_the_method_its_extra_channel():
    for config, shape in ((digits.get_config(), (8, 8, 1)), (heart.get_config(), (1, 1, 2))):
        config.data.num_channels = shape[-1]
        model = models.create_model(config)
        x = jnp.zeros((2, *shape))
        out = jax.eval_shape(model.init_with_output, jax.random.key(0), x, jnp.ones(2))[0]
        assert out.shape == (2, *shape[:-1], shape[-1] + 1)


def test_registry_refuses_an_unknown_name():
    config = digits.get_config()
    config.model.name = "unet"
    with pytest.raises(ValueError, match="model.name is 'unet'; choose one of ncsnpp, ncsnv2, mlp"):
        models.create_model(config)
