"""Networks of which the answer is known: exact fields, and the release's model of digits."""

import functools
import math
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from configs import digits
from pfgm_jax import build, convert, models
from pfgm_jax.field import normalize_field
from pfgm_jax.methods import Poisson
from tests import torch_format
from tests.test_run_lib import small_digits

RELEASE = Path("tests/fixtures/release")
RECORD = np.load(RELEASE / "likelihood_digits3k.npz")


def gaussian_network(means, scale):
    """The normalized field of data from equal parts of N(mean, scale² I), by quadrature over one number.

    The kernel 1 / (d² + z²)^((N+1)/2) is a mixture over u of exp(-u (d² + z²)), with density u^((N+1)/2) in log u. For
    each u the average over a Gaussian of exp(-u |x - y|²) is known: (1 + 2us²)^(-N/2) exp(-u |x - mean|² / (1 + 2us²));
    the mean of y - x under those weights is (mean - x) / (1 + 2us²). The integrand decays at both ends, so that the
    sum over equidistant log u converges exponentially, once they are closer than its peak is wide.

    Args:
      means: [k, N].
      scale: s.
    """
    means = jnp.asarray(means, jnp.float32)
    dim = means.shape[1]
    log_u = jnp.arange(-35.0, 30.0, min(0.3, 0.75 * math.sqrt(2 / (dim + 1))))[None, None]  # of u s²

    def net(x, z, context=None):
        towards = means[None] - x.reshape(len(x), 1, -1)
        u = jnp.exp(log_u) / scale**2
        spread = 1 + 2 * u * scale**2
        squared = jnp.sum(towards**2, axis=2)[:, :, None]
        weight = (dim + 1) / 2 * log_u - dim / 2 * jnp.log(spread) - u * squared / spread - u * z[:, None, None] ** 2
        weight = jax.nn.softmax(weight, axis=(1, 2))
        E = jnp.einsum("bk,bkn->bn", jnp.sum(weight / spread, axis=2), towards, precision="highest")
        return normalize_field(jnp.concatenate([E, -z[:, None]], axis=1), 5.0)[:, None, None]

    return net


def exact_method(dim, **numbers):
    # Field lines of data of scale 0.1 to 2 lie between these heights all but whole. The network's z part is exact here.
    # Gaussian data have no largest norm; 1e3 is beyond all.
    return Poisson(
        **{"shape": (1, 1, dim), "z_min": 1e-6, "z_max": 2000.0, "z_exp": 0.0, "data_radius": 1e3, **numbers}
    )


@functools.cache
def digits_network():
    """The release's digits model, as a function of images and z."""
    tensors = dict(np.load(RELEASE / "digits3k_ema_weights.npz"))
    config = digits.get_config()
    config.data.image_size, config.data.num_channels = 8, 1
    with tempfile.TemporaryDirectory() as folder:
        path = torch_format.write(Path(folder) / "digits.pth", torch_format.checkpoint(tensors))
        params, *_ = convert.convert_checkpoint(path, config)
    # Compiled functions that call it need not trace it again.
    apply = jax.jit(models.create_model(config).apply)
    return lambda x, z, _=None: jnp.asarray(apply({"params": params}, x, z))


def recorded_images(name):
    return jnp.asarray(RECORD[name].transpose(0, 2, 3, 1), jnp.float32)


def network_of(name, **fields):
    config = small_digits(**{"model.name": name})
    config.update_from_flattened_dict({"data.num_channels": 1, "data.image_size": 8, **fields})
    return models.create_model(config), config


def random_like(shapes, scale):
    """Random parameters, also of last kernels, which start near 0, without compiling how they start."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: scale * rng.normal(size=a.shape).astype(np.float32), shapes)


def shapes_of(network, config):
    """Shapes of the parameters of a network for a config."""
    return models.shapes_of_params(network, build.image_shape(config))


def params_of(network, config):
    """Random parameters of a network for a config."""
    return random_like(shapes_of(network, config), 0.3)


NETWORKS = {
    "mlp": {},
    "ncsnpp": {"model.nf": 8, "model.ch_mult": (1,), "model.attn_resolutions": (), "model.num_res_blocks": 1},
    "ncsnv2": {"model.nf": 4},
}
