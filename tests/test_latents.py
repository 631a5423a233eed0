import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pfgm_jax.keys import sample_keys
from pfgm_jax.latents import decode, encode, interpolate, rescale
from pfgm_jax.methods import Poisson
from pfgm_jax.samplers import create_sampler
from tests.compiling import thorough_jit
from tests.networks import digits_network, exact_method, gaussian_network, recorded_images
from tests.test_samplers import SOLVERS, solver_with

DIM, SCALE = 3, 0.5
NET = gaussian_network(np.zeros((1, DIM)), SCALE)


def there_and_back(method, net, solver, jit=jax.jit):
    """Jitted encode and decode."""
    return jit(lambda x: encode(method, net, x, solver)), jit(lambda z: decode(method, net, z, solver))


def _points(n=9):
    return jnp.asarray(SCALE * np.random.default_rng(0).normal(size=(n, 1, 1, DIM)), jnp.float32)


def _norms(x):
    return np.linalg.norm(np.asarray(x, np.float64).reshape(len(x), -1), axis=1)


def _relative_error(x, exact):
    return (_norms(np.asarray(x) - np.asarray(exact)) / _norms(exact)).max()


def test_latents_of_gaussian_data_are_those_of_the_quantile_map():
    # Data and prior are both radial, and lines do not cross: each quantile of |x| goes to that of the latent's norm.
    method = exact_method(DIM)
    x = _points()
    latents = there_and_back(method, NET, create_sampler("rk45", rtol=1e-6, atol=1e-6))[0](x).check().x
    quantile = stats.chi(DIM, scale=SCALE).cdf(_norms(x))
    norm = method.z_max * np.sqrt(stats.betaprime(DIM / 2, 0.5).ppf(quantile))
    expected = np.asarray(x) * (norm / _norms(x))[:, None, None, None]
    assert _relative_error(latents, expected) < 1e-3


def test_ways_back_are_exact_up_to_the_tolerance():
    method, x = exact_method(DIM, z_min=1e-3, z_max=40.0), _points()
    latents = method.prior_sample(sample_keys(jax.random.key(0), 9))
    errors = []
    for tolerance in (1e-3, 1e-6):
        to_latents, to_images = there_and_back(method, NET, create_sampler("rk45", rtol=tolerance, atol=tolerance))
        back = to_images(to_latents(x).check().x).check().x
        again = to_latents(to_images(latents).check().x).check().x
        errors.append([_relative_error(back, x), _relative_error(again, latents)])
    coarse, fine = np.array(errors)
    assert np.all(fine < 1e-4)
    assert np.all(fine < coarse / 30)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_leads_back(name):
    method, x = exact_method(DIM, z_min=1e-3, z_max=40.0), _points()
    to_latents, to_images = there_and_back(method, NET, solver_with(name, steps=200))
    assert _relative_error(to_images(to_latents(x).check().x).check().x, x) < 0.05


@pytest.mark.slow
def test_digits_come_back():
    method = Poisson(shape=(8, 8, 1), z_max=17.0)
    x = recorded_images("digits3k/data")[:3]
    to_latents, to_images = there_and_back(
        method, digits_network(), create_sampler("rk45", rtol=2e-6, atol=2e-6), thorough_jit
    )
    latents = to_latents(x).check().x
    back = to_images(latents).check().x
    assert np.abs(back - x).max() < 1e-3
    assert _relative_error(to_latents(back).check().x, latents) < 5e-3


def _pair(seed=0, n=5, shape=(2, 3, 1)):
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(size=(2, n, 1, 1, 1)) * 3)
    return (scale * rng.normal(size=(2, n, *shape))).astype(np.float32)


def test_a_path_turns_evenly_and_its_norm_grows_geometrically():
    a, b = _pair()
    shares = np.linspace(0, 1, 7, dtype=np.float32)
    path = np.asarray(jax.jit(interpolate)(a, b, shares), np.float64).reshape(7, 5, -1)
    norms = np.linalg.norm(path, axis=-1)
    expected = _norms(a)[None] ** (1 - shares[:, None]) * _norms(b)[None] ** shares[:, None]
    np.testing.assert_allclose(norms, expected, rtol=1e-4)
    units = path / norms[..., None]
    angles = np.arccos(np.clip((units[:-1] * units[1:]).sum(-1), -1, 1))
    whole = np.arccos((units[0] * units[-1]).sum(-1))
    np.testing.assert_allclose(angles, np.broadcast_to(whole / 6, angles.shape), rtol=1e-3)


def test_ends_of_a_path_are_the_latents_and_decode_to_their_images():
    a, b = _points()[:3] * 100, _points()[3:6] * 300
    path = jax.jit(interpolate)(a, b, jnp.array([0.0, 0.4, 1.0]))
    np.testing.assert_array_equal(path[0], a)
    np.testing.assert_array_equal(path[2], b)
    method = exact_method(DIM, z_min=1e-3, z_max=40.0)
    images = (
        there_and_back(method, NET, create_sampler("rk45"))[1](jnp.concatenate([path.reshape(-1, 1, 1, DIM), a, b]))
        .check()
        .x
    )
    np.testing.assert_array_equal(images[:3], images[9:12])
    np.testing.assert_array_equal(images[6:9], images[12:])


def test_paths_without_a_unique_arc():
    u = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], np.float32).reshape(3, 1, 1, 2)
    v = np.array([[30.0, 40.0], [-1.0, 0.0], [0.0, 2.0]], np.float32).reshape(3, 1, 1, 2)
    middle = np.asarray(interpolate(jnp.asarray(u), jnp.asarray(v), jnp.array([0.5])))[0, :, 0, 0]
    # Parallel: the geometric mean; opposite, or from the origin: a straight line.
    np.testing.assert_allclose(middle, [np.sqrt(10) * np.array([3.0, 4.0]), [0, 0], [0, 1]], rtol=1e-5)


def test_directions_that_nearly_agree_are_not_lost_in_rounding():
    a = np.array([[1.0, 0.0]], np.float32).reshape(1, 1, 1, 2)
    for angle in (1e-4, 5e-3):
        b = np.array([[np.cos(angle), np.sin(angle)]], np.float32).reshape(1, 1, 1, 2)
        quarter = np.asarray(interpolate(jnp.asarray(a), jnp.asarray(b), jnp.array([0.25])))[0, 0, 0, 0]
        np.testing.assert_allclose(np.arctan2(quarter[1], quarter[0]), angle / 4, rtol=1e-3)


def test_temperature_scales_norms_and_one_changes_nothing():
    latents = jnp.asarray(_pair()[0])
    scaled = rescale(latents, jnp.array([0.5, 1.0, 2.0]))
    np.testing.assert_array_equal(scaled[1], latents)
    np.testing.assert_allclose(_norms(scaled[0]), 0.5 * _norms(latents), rtol=1e-6)
    np.testing.assert_allclose(_norms(scaled[2]), 2 * _norms(latents), rtol=1e-6)


def test_an_image_that_is_not_finite_is_reported():
    method = exact_method(DIM, z_min=1e-3, z_max=40.0)
    x = _points(2).at[1, 0, 0, 0].set(jnp.nan)
    assert there_and_back(method, NET, create_sampler("rk45", max_steps=60))[0](x).ok.tolist() == [True, False]
