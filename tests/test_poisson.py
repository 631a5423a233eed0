import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, stats

from pfgm_jax.field import mean_of_charges, normalize_field, poisson_field
from pfgm_jax.keys import sample_keys
from pfgm_jax.methods import Poisson
from pfgm_jax.methods.hyper_parameters import hyper_parameters
from pfgm_jax.methods.poisson import PerturbationDraws
from tests.oracles import exact_field, image_like_charges, row_errors

RECORD = np.load("tests/fixtures/perturb.npz")


def test_hyper_parameters_of_cifar10():
    M, z_max, upper_norm = hyper_parameters(30, 3072)
    assert M == 287
    assert round(z_max, 1) == 38.6
    assert round(upper_norm) == 2679


def test_hyper_parameters_refuse_data_smaller_than_sigma():
    with pytest.raises(ValueError, match="sigma is 10.0; that is too large for data of mean norm 1, since M would be"):
        hyper_parameters(1.0, 64, sigma=10.0)


def test_perturbation_repeats_the_recorded_one():
    x = RECORD["det/x"].reshape(64, -1)
    restricted = np.zeros(64, np.float32)
    restricted[RECORD["det/redraw_index"]] = RECORD["det/m_redraw_uniform"] * 203  # int(0.7 · 291)
    draws = PerturbationDraws(
        m=RECORD["det/m_in"],
        m_restricted=jnp.asarray(restricted),
        z0=RECORD["det/z_normal"],
        radius=RECORD["det/noise_normal"].reshape(64, -1),
        direction=RECORD["det/gaussian"],
    )
    moved, z = Poisson(shape=(8, 8, 3), M=291).perturb(jnp.asarray(x), jax.tree.map(jnp.asarray, draws))
    recorded = RECORD["det/perturbed_samples_vec"]
    np.testing.assert_allclose(moved, recorded[:, :-1], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(z, recorded[:, -1], rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dim", "restrict_M"),
    [("N192_restrict", 192, True), ("N192_norestrict", 192, False), ("N3072_restrict", 3072, True)],
)
def test_perturbation_has_the_recorded_distribution(name, dim, restrict_M):
    method = Poisson(shape=(1, 1, dim), M=291, restrict_M=restrict_M)
    n = 20_000

    @jax.jit
    def radius_and_height(key):
        draws = method.draw_perturbation(key, n)
        moved, z = method.perturb(jnp.zeros((n, dim)), draws)
        return jnp.linalg.norm(moved, axis=1), z

    r, z = radius_and_height(jax.random.key(0))
    for ours, recorded in ((r, "r"), (z, "z")):
        compared: Any = stats.ks_2samp(np.asarray(ours), RECORD[f"{name}/sample_{recorded}"])
        assert compared.pvalue > 1e-3
    # Radius and height depend on each other through their common exponent.
    correlation = np.corrcoef(np.log(r), np.log(z))[0, 1]
    assert abs(correlation - RECORD[f"{name}/stat_corr_logr_logz"]) < 0.01


def test_perturbed_points_lie_in_every_direction():
    method = Poisson(shape=(1, 1, 3), M=291)
    moved, _ = method.perturb(jnp.zeros((20_000, 3)), method.draw_perturbation(jax.random.key(1), 20_000))
    unit = np.asarray(moved / jnp.linalg.norm(moved, axis=1, keepdims=True))
    # On the sphere in three dimensions each coordinate is uniform in [-1, 1] (Archimedes).
    for coordinate in unit.T:
        assert stats.kstest(coordinate, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_training_pair_is_the_normalized_field_of_the_batch():
    method = Poisson(shape=(4, 4, 3), M=291)
    batch = image_like_charges(np.random.default_rng(0), 100, 48)
    field = lambda x, z: mean_of_charges(x, z, jnp.asarray(batch), D=1)
    data = jnp.asarray(batch[:20]).reshape(20, 4, 4, 3)
    pair = jax.jit(lambda key, data: method.training_pair(key, data, field=field))(jax.random.key(0), data)
    E = exact_field(np.asarray(pair.x).reshape(20, 48), pair.level, batch)
    target = math.sqrt(48) * E / (np.linalg.norm(E, axis=1, keepdims=True) + 5)
    assert row_errors(pair.target, target).max() < 1e-5


def test_loss_is_half_the_squared_error_with_the_mean_of_the_last_channel_as_z():
    rng = np.random.default_rng(0)
    method = Poisson(shape=(2, 3, 1))
    pair = jax.jit(method.training_pair)(jax.random.key(0), jnp.asarray(rng.normal(size=(2, 2, 3, 1)), jnp.float32))
    output = jnp.asarray(rng.normal(size=(2, 2, 3, 2)), jnp.float32)
    answer = np.c_[output[..., 0].reshape(2, 6), output[..., 1].mean((1, 2))]
    squares = (answer - np.asarray(pair.target)) ** 2
    np.testing.assert_allclose(method.loss(output, pair), 0.5 * squares.sum(1), rtol=1e-5)
    by_mean = dataclasses.replace(method, reduce_mean=True)
    np.testing.assert_allclose(by_mean.loss(output, pair), squares.mean(1), rtol=1e-5)


@pytest.mark.parametrize("dim", [2, 64, 3072])
def test_prior_has_the_law_of_the_projected_hemisphere(dim):
    method = Poisson(shape=(1, 1, dim), z_max=7.0, upper_norm=1e30)
    x = np.asarray(jax.jit(method.prior_sample)(sample_keys(jax.random.key(0), 4000)))
    squared = (x.reshape(4000, -1).astype(np.float64) ** 2).sum(1) / 7.0**2
    assert stats.kstest(squared, stats.betaprime(dim / 2, 0.5).cdf).pvalue > 1e-3


def test_prior_is_clipped_in_norm():
    method = Poisson(shape=(1, 1, 64), z_max=17.0, upper_norm=170.0)
    norm = np.linalg.norm(
        np.asarray(method.prior_sample(sample_keys(jax.random.key(0), 2000))).reshape(2000, -1), axis=1
    )
    assert norm.max() <= 170 * (1 + 1e-6)
    share = stats.betaprime(32, 0.5).sf((170 / 17) ** 2)
    assert abs((norm > 169.99).mean() - share) < 4 * math.sqrt(share * (1 - share) / 2000)


def test_draw_k_of_the_prior_depends_on_key_and_k_alone():
    method = Poisson(shape=(4, 4, 1))
    key = jax.random.key(5)
    np.testing.assert_array_equal(
        method.prior_sample(sample_keys(key, 10))[6:9], method.prior_sample(sample_keys(key, 3, 6))
    )


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_prior_log_prob_integrates_to_one(dim):
    method = Poisson(shape=(1, 1, dim), z_max=2.5)
    area = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi}[dim]

    def shell(u):  # all of r in [0, ∞) by r = tan u
        r = math.tan(u)
        x = jnp.zeros((1, 1, 1, dim)).at[..., 0].set(r)
        return area * r ** (dim - 1) * math.exp(float(method.prior_log_prob(x)[0])) * (1 + r * r)

    assert abs(integrate.quad(shell, 0, math.pi / 2 - 1e-6, epsabs=1e-6)[0] - 1) < 1e-4


def _exact_network(charges, gamma=5.0):
    def net(x, z, context=None):
        return normalize_field(poisson_field(x.reshape(len(x), -1), z, charges), gamma)[:, None, None]

    return net


@pytest.mark.parametrize("z", [0.01, 1.0, 4.9, 5.1, 30.0])
def test_velocity_of_the_exact_field_is_x_minus_the_mean_of_the_data(z):
    rng = np.random.default_rng(0)
    charges = jnp.asarray(image_like_charges(rng, 30, 20))
    method = Poisson(shape=(1, 1, 20), exact_substitution=True)
    x = rng.normal(size=(10, 1, 1, 20)).astype(np.float32) * z + np.asarray(charges[:10, None, None])
    net = _exact_network(charges)
    E = exact_field(x[:, 0, 0], np.full(10, z), charges)
    answers = jax.jit(lambda x, t: (method.velocity(net, x, t), method.denoise(net, x, t)))(x, np.float32(np.log(z)))
    velocity, mean = (np.asarray(answer)[:, 0, 0] for answer in answers)
    np.testing.assert_allclose(velocity, -E[:, :-1], rtol=2e-4, atol=1e-4 * z)
    np.testing.assert_allclose(mean, x[:, 0, 0] + E[:, :-1], rtol=2e-4, atol=3e-4 * max(z, 1))


@pytest.mark.parametrize("exact", [False, True])
def test_substitution_below_z_exp_follows_its_formula(exact):
    rng = np.random.default_rng(0)
    v_x = rng.normal(size=(6, 12))
    a = np.linalg.norm(v_x, axis=1) / math.sqrt(12)
    # At the origin |E_x| is at most 2 √12 = 6.9, the distance to the farthest charge: γ a / (1 - a) for a = 0.58.
    v_x *= (rng.uniform(0.05, 0.58, 6) / a)[:, None]
    a, z, gamma = np.linalg.norm(v_x, axis=1) / math.sqrt(12), 0.7, 5.0
    if exact:  # the root of a (√(E² + z²) + γ) = E
        root_of = lambda a: optimize.root_scalar(lambda E: a * (math.hypot(E, z) + gamma) - E, bracket=(0, 1e6)).root
        norm = np.array([root_of(a_i) for a_i in a])
    else:
        norm = gamma * a / (1 - a)
    v_z = -math.sqrt(12) * z / (np.hypot(norm, z) + gamma)
    output = np.concatenate([v_x, np.full((6, 1), 99.0)], axis=1).astype(np.float32)[:, None, None]
    method = Poisson(shape=(1, 1, 12), exact_substitution=exact)
    velocity = method.velocity(lambda x, z, _=None: jnp.asarray(output), jnp.zeros((6, 1, 1, 12)), jnp.log(z))
    np.testing.assert_allclose(velocity[:, 0, 0], z * v_x / v_z[:, None], rtol=1e-4)


def test_velocity_stays_bounded_where_a_network_has_the_wrong_sign_of_v_z():
    method = Poisson(shape=(4, 4, 1), z_max=17.0)
    x = 20 * jnp.ones((2, 4, 4, 1))
    net = lambda x, z, _=None: jnp.concatenate([-jnp.ones_like(x), jnp.full_like(x, 0.013)], axis=-1)
    velocity = method.velocity(net, x, jnp.log(17.0))
    # |E_x| cannot exceed the distance to the farthest charge, 80 + 2·4, nor can the velocity by much.
    assert jnp.all(velocity > 0)
    assert float(jnp.linalg.norm(velocity[0])) < 2 * 88


@pytest.mark.parametrize("z", [1e-3, 0.1, 1.0, 4.9, 5.1])
@pytest.mark.parametrize("exact", [False, True])
def test_velocity_stays_bounded_where_a_network_overshoots(z, exact):
    """No field has |v_x| of √N or more; a network that overshoots must not send samples off without bound."""
    method = Poisson(shape=(4, 4, 3), exact_substitution=exact)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(-1, 1, (8, 4, 4, 3)), jnp.float32)
    direction = rng.normal(size=(8, 48))
    v_x = math.sqrt(48) * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    # dx/ds = -E_x, and |E_x| is at most the distance to the farthest charge; the normalization adds γ.
    farthest = np.linalg.norm(np.asarray(x).reshape(8, 48), axis=1) + 2 * math.sqrt(48)
    for overshoot in (0.999, 1.0, 1.05, 1.3):
        output = np.concatenate([overshoot * v_x.reshape(8, 4, 4, 3), np.full((8, 4, 4, 1), -1e-6)], axis=-1)
        velocity = method.velocity(lambda x, z, _, answer=output: jnp.asarray(answer, jnp.float32), x, jnp.log(z))
        velocity = np.asarray(velocity).reshape(8, 48)
        assert np.all(np.linalg.norm(velocity, axis=1) <= 1.001 * overshoot * (np.hypot(farthest, z) + method.gamma))
        # It still leads towards the data.
        assert np.all(np.sum(velocity * v_x, axis=1) < 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gamma": 0.0}, "gamma is 0.0"),
        ({"z_max": 1e-4}, "z_max is 0.0001; the ODE ends at `z_min`, which is 0.001"),
    ],
)
def test_refuses_meaningless_numbers(fields, message):
    with pytest.raises(ValueError, match=message):
        Poisson(shape=(4, 4, 1), **fields)
