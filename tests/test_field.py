import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax.field import mean_of_charges, normalize_field, poisson_field
from tests.oracles import exact_field, exact_mean, image_like_charges, row_errors

FIXTURES = "tests/fixtures"
field = jax.jit(poisson_field, static_argnames=("chunk_size", "decode"))


@pytest.mark.parametrize("scale", [1e-3, 1e-2, 0.1, 0.3, 1, 3, 10, 30, 100, 1000, 3e4])
@pytest.mark.parametrize(("dim", "count"), [(1, 500), (2, 4096), (16, 1000), (17, 1000), (64, 1437), (192, 1000)])
def test_equals_float64_loop_at_every_scale(dim, count, scale):
    rng = np.random.default_rng(dim)
    charges = image_like_charges(rng, count, dim)
    charges[count // 2] = charges[3]  # duplicates count twice
    direction = rng.normal(size=(16, dim))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x = (charges[:16] + scale * rng.random((16, 1)) * direction).astype(np.float32)
    z = (scale * rng.random(16)).astype(np.float32)
    exact = exact_field(x, z, charges)
    for chunk_size in (count, 300):
        assert row_errors(field(x, z, charges, chunk_size=chunk_size), exact).max() < 5e-6


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 3e4])
def test_equals_float64_loop_in_image_dimensions(scale):
    rng = np.random.default_rng(0)
    charges = image_like_charges(rng, 4096, 3072)
    direction = rng.normal(size=(8, 3072))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x = (charges[:8] + scale * direction).astype(np.float32)
    z = (scale * rng.random(8)).astype(np.float32)
    assert row_errors(field(x, z, charges), exact_field(x, z, charges)).max() < 1e-5


@pytest.mark.parametrize("D", [1, 2, 16, 128, 2048, 2**20, math.inf])
@pytest.mark.parametrize(("dim", "count"), [(2, 1000), (192, 1000), (3072, 400)])
def test_means_of_any_kernel_are_those_of_float64_at_every_scale(dim, count, D):
    rng = np.random.default_rng(dim)
    charges = image_like_charges(rng, count, dim)
    charges[count // 2] = charges[3]
    size = np.sqrt((charges**2).sum(1).mean())
    mean = jax.jit(lambda x, sigma, charges: mean_of_charges(x, sigma, charges, D=D, chunk_size=300))
    for scale in (1e-3, 1e-2, 0.1, 0.3, 1, 3, 10, 100, 3e4):
        sigma = (scale * rng.uniform(0.1, 1, 12)).astype(np.float32)
        # Half of the points as noise of the kernel leads to them, half elsewhere.
        normal = rng.normal(size=(12, dim))
        stretch = 1.0 if math.isinf(D) else np.sqrt(D / rng.chisquare(D, (6, 1)))
        away = np.concatenate([sigma[:6, None] * stretch * normal[:6], scale * rng.random((6, 1)) * normal[6:]])
        x = (charges[:12] + away).astype(np.float32)
        exact = exact_mean(x, sigma, charges, D)
        found = mean(x, sigma, jnp.asarray(charges))
        assert row_errors(found.towards, exact).max() < 1e-5, scale
        # Of a mean near 0, in units of the charges.
        assert np.linalg.norm(found.mean - (x + exact), axis=1).max() < 1e-5 * size, scale


@pytest.mark.parametrize("scale", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("dim", [64, 3072])
def test_charges_far_from_the_origin_or_nearly_equal_are_told_apart(dim, scale):
    rng = np.random.default_rng(5)
    charges = image_like_charges(rng, 300, dim)
    charges[7:10] = charges[6]
    charges[7:10, 0] += np.array([1, 2, 3]) / 127.5  # grey levels of one pixel
    for offset in (0.0, 100.0):
        moved = charges + np.float32(offset)
        direction = rng.normal(size=(16, dim))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        x = (moved[:16] + scale * direction).astype(np.float32)
        z = (scale * rng.random(16)).astype(np.float32)
        for chunk_size in (300, 64):
            errors = row_errors(field(x, z, moved, chunk_size=chunk_size), exact_field(x, z, moved))
            assert errors.max() < 2e-5


@pytest.mark.parametrize(
    "name",
    ["n2_mixed", "n2_near", "n2_far", "n2_on_midpoint", "n192_mixed", "n192_near", "n192_far", "n192_duplicates",
     "n192_single"],
)  # fmt: skip
def test_normalized_field_equals_recorded_float64_targets(name):
    record = np.load(f"{FIXTURES}/field_target.npz")
    points, charges = record[f"{name}/perturbed"], record[f"{name}/ref"]
    target = normalize_field(field(points[:, :-1], points[:, -1], charges), 5.0)
    assert row_errors(target, record[f"{name}/target_f64_exact"]).max() < 1e-6


def test_one_charge_attracts_exactly():
    rng = np.random.default_rng(1)
    charge, x = rng.normal(size=(1, 40)).astype(np.float32), rng.normal(size=(9, 40)).astype(np.float32)
    z = rng.random(9).astype(np.float32)
    np.testing.assert_array_equal(field(x, z, charge), np.c_[charge - x, -z])


def test_transversal_part_of_mirror_charges_cancels():
    y = np.zeros((2, 50), np.float32)
    y[:, 0] = 1, -1
    x = np.zeros((3, 50), np.float32)
    x[:, 1] = 0.5, 3, 40  # on the mirror plane
    E = np.asarray(field(x, np.array([0.1, 1, 10], np.float32), y))
    assert np.abs(E[:, 0]).max() < 1e-6
    np.testing.assert_allclose(E[:, 1], -x[:, 1], rtol=1e-6)


@pytest.mark.parametrize("dim", [2, 192])
def test_order_of_charges_does_not_matter(dim):
    rng = np.random.default_rng(2)
    charges = image_like_charges(rng, 777, dim)
    x, z = charges[:20] + np.float32(3), np.full(20, 2, np.float32)
    shuffled = charges[rng.permutation(777)]
    assert row_errors(field(x, z, shuffled, chunk_size=100), field(x, z, charges)).max() < 2e-6


@pytest.mark.parametrize("dim", [2, 192])
def test_points_on_charges_have_no_field(dim):
    charges = image_like_charges(np.random.default_rng(3), 100, dim)
    charges[50] = charges[7]
    E = field(charges[:10], np.zeros(10, np.float32), charges, chunk_size=32)
    np.testing.assert_array_equal(normalize_field(E, 5.0), np.zeros((10, dim + 1)))


def test_charges_may_be_decoded_as_they_are_read():
    rng = np.random.default_rng(4)
    stored = rng.integers(0, 256, (500, 4, 4, 3), dtype=np.uint8)
    decode = lambda rows, index: (
        rows.reshape(len(rows), -1).astype(jnp.float32) / 127.5 - 1 + 0.01 * index[:, None].astype(jnp.float32)
    )
    charges = np.asarray(decode(stored, np.arange(500)))
    x, z = charges[:9] + np.float32(1), np.ones(9, np.float32)
    assert row_errors(field(x, z, stored, chunk_size=77, decode=decode), exact_field(x, z, charges)).max() < 1e-5


def test_memory_does_not_grow_with_points_times_charges_times_dimensions():
    x, z, y = (jax.ShapeDtypeStruct(s, np.float32) for s in ((128, 3072), (128,), (4096, 3072)))
    sizes = field.lower(x, z, y).compile().memory_analysis()
    assert sizes and sizes.temp_size_in_bytes < 128 * 4096 * 3072 * 4 / 20


@pytest.mark.parametrize(
    ("charges", "chunk_size", "message"),
    [(np.zeros((0, 2), np.float32), 5, "charges is empty"), (np.zeros((3, 2), np.float32), 0, "chunk_size is 0")],
)
def test_refuses(charges, chunk_size, message):
    with pytest.raises(ValueError, match=message):
        poisson_field(jnp.zeros((1, 2)), jnp.ones(1), jnp.asarray(charges), chunk_size=chunk_size)
