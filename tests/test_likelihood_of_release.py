"""Likelihoods of the release's digits model beside those that the release computes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.likelihood import (
    estimated_divergence,
    log_prob,
    to_bits_per_dim,
)
from pfgm_jax.methods import Poisson
from pfgm_jax.samplers import create_sampler
from tests.compiling import thorough_jit
from tests.networks import RECORD, digits_network, recorded_images
from tests.oracles import row_errors


class Release(Poisson):
    """PFGM with the denominator that the release has in likelihoods: v_z + 1e-5 |v_x| for v_z."""

    def velocity(self, net, x, t, context=NO_CONTEXT):
        velocity = super().velocity(net, x, t, context)
        slope = jnp.linalg.norm(velocity.reshape(len(x), -1), axis=1) / jnp.exp(t)  # |v_x / v_z|
        return velocity / (1 - 1e-5 * slope)[:, None, None, None]


DIGITS = Release(shape=(8, 8, 1), M=259, z_max=17.0, upper_norm=170.0)


def test_velocity_and_divergence_of_the_digits_model_are_those_of_the_release():
    net, probes = digits_network(), recorded_images("digits3k/epsilon")[None]
    right_hand_side = jax.jit(lambda x, t: estimated_divergence(lambda x: DIGITS.velocity(net, x, t), x, probes))
    names = sorted({name.rsplit("/", 1)[0] for name in RECORD.files if "rhs_z=" in name})
    assert len(names) == 12
    for name in names:
        z = float(name.split("=")[1])
        velocity, divergence = right_hand_side(recorded_images(f"{name}/x"), jnp.float32(math.log(z)))
        recorded = recorded_images(f"{name}/dx_dz")
        assert np.abs(velocity / z - recorded).max() < 1e-4 * np.abs(recorded).max(), name
        np.testing.assert_allclose(divergence / z, RECORD[f"{name}/div_hutchinson"], rtol=1e-4)


@pytest.mark.slow
def test_bits_of_the_digits_model_are_those_of_the_release_with_the_right_constant():
    net, probes = digits_network(), recorded_images("digits3k/epsilon")[None]
    # The velocity jumps at z_exp, which loose steps straddle.
    solver = create_sampler("rk45", rtol=1e-7, atol=1e-7, shared_step=True)
    at = lambda name: RECORD[f"digits3k_tight/{name}"]
    found = thorough_jit(lambda x: log_prob(DIGITS, net, x, solver, probes))(
        recorded_images("digits3k_tight/data")
    ).check()
    np.testing.assert_allclose(found.volume, at("delta_logp"), rtol=1e-4)
    np.testing.assert_allclose(found.prior, at("prior_logp") + at("correct_minus_log_SN"), rtol=1e-4)
    latents = recorded_images("digits3k_tight/x_at_z_max").reshape(8, 64)
    assert row_errors(found.latent.reshape(8, 64), latents).max() < 1e-4
    bits = to_bits_per_dim(found.log_prob, 64, 2 / 256)
    np.testing.assert_allclose(bits, at("bpd_with_correct_constant"), rtol=0, atol=1e-4)
