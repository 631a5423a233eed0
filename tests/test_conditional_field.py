"""The exact field given labels: charges of other labels are not counted."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax import field
from pfgm_jax.charges import Charges
from pfgm_jax.context import Context
from pfgm_jax.datasets import Batch, Scaling, Split
from pfgm_jax.field import mean_of_charges, poisson_field, posterior_mean
from pfgm_jax.sharding import Devices
from tests.oracles import exact_field, exact_mean

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("chunk_size", [7, 64, 4096])
@pytest.mark.parametrize("D", [1, 64, math.inf])
@pytest.mark.parametrize("dim", [2, 48])
def test_charges_of_other_labels_are_not_counted(dim, D, chunk_size):
    """Against the mean of the label's own charges alone, in float64."""
    charges = RNG.normal(size=(200, dim)).astype(np.float32)
    # The last label has its charges in the first chunk alone.
    of_charges = np.where(np.arange(200) < 5, 3, RNG.integers(0, 3, 200)).astype(np.int32)
    labels = np.array([0, 1, 2, 3, -1, 0, 1, 2, 3, -1, -1, 3], np.int32)
    means = jax.jit(
        lambda x, sigma: mean_of_charges(
            x,
            sigma,
            jnp.asarray(charges),
            D=D,
            chunk_size=chunk_size,
            labels=jnp.asarray(labels),
            charge_labels=jnp.asarray(of_charges),
        )
    )
    for scale in (0.01, 0.3, 3.0, 300.0):
        x = (charges[:12] + scale * RNG.normal(size=(12, dim))).astype(np.float32)
        sigma = (scale * RNG.uniform(0.5, 1, 12)).astype(np.float32)
        found = means(x, sigma)
        for i, label in enumerate(labels):
            own = charges if label < 0 else charges[of_charges == label]
            towards = exact_mean(x[i : i + 1], sigma[i : i + 1], own, D)[0]
            assert np.linalg.norm(found.towards[i] - towards) <= 2e-5 * np.linalg.norm(towards), (scale, label)


def test_poisson_field_and_posterior_mean_take_labels():
    charges = jnp.asarray(RNG.normal(size=(50, 3)), jnp.float32)
    of_charges = jnp.asarray(RNG.integers(0, 2, 50), jnp.int32)
    x, z = jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32), jnp.asarray([0.1, 1.0, 2.0, 0.5])
    labels = jnp.array([0, 1, -1, 7], jnp.int32)
    E = poisson_field(x, z, charges, labels=labels, charge_labels=of_charges)
    mean = posterior_mean(x, z, charges, D=1, labels=labels, charge_labels=of_charges)
    for i in range(3):
        own = np.asarray(charges)[np.asarray(of_charges) == i] if i < 2 else np.asarray(charges)
        exact = exact_field(x[i : i + 1], z[i : i + 1], own)[0]
        np.testing.assert_allclose(E[i], exact, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mean[i] - x[i], exact[:3], rtol=1e-4, atol=1e-5)
    # No charge has the label 7, and none makes no field.
    assert np.isnan(E[3, :3]).all() and np.isnan(mean[3]).all()
    assert field.poisson_field(x, z, charges).shape == (4, 4)


@pytest.mark.parametrize("counted", ["all", "label", "example"])
@pytest.mark.parametrize("reference", ["batch", "dataset"])
def test_targets_of_a_step_are_those_of_its_own_charges(reference, counted):
    """The field of a step, where labels are dropped too, against float64 with the charges that count for each point."""
    images = RNG.integers(0, 17, (60, 2, 2, 1)).astype(np.uint8)
    split = Split(images, RNG.integers(-1, 4, 60).astype(np.int32))
    index = RNG.permutation(60)[:40].astype(np.int32)
    charges = Charges(reference, 24, 16, Scaling(17), Devices.all(), label_dropout=0.3, counted=counted)
    read = index if reference == "batch" else index[:24]
    batch = Batch(split[read], jnp.asarray(read), split.labels[read], None, split.groups[read])
    shared = charges.of_dataset(split)

    @jax.jit
    def step(key, x, sigma):
        data, context, of_charges = charges.examples_and_field(key, batch, shared)
        assert of_charges is not None
        return data, context, of_charges(data.reshape(24, 4) + x, sigma).towards

    away = RNG.normal(size=(24, 4)).astype(np.float32)
    sigma = RNG.uniform(0.1, 1, 24).astype(np.float32)
    _, context, found = step(jax.random.key(2), away, sigma)
    assert isinstance(context, Context) and context.label is not None
    label = np.asarray(context.label)
    kept = label == split.labels[index[:24]]
    assert (label[~kept] == -1).all() and 2 <= (~kept).sum() <= 14
    every = index if reference == "batch" else np.arange(60)
    network = np.asarray(Scaling(17).to_network(split[:])).reshape(60, 4)
    for i in range(24):
        own = every
        if counted == "label" and label[i] >= 0:
            own = every[split.labels[every] == label[i]]
        elif counted == "example":
            own = index[i : i + 1]
        exact = exact_mean(network[index[i : i + 1]] + away[i : i + 1], sigma[i : i + 1], network[own], 1)[0]
        np.testing.assert_allclose(found[i], exact, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_vectors_as_labels_count_equal_ones_and_are_dropped_whole():
    labels = np.array([[0.5, 1.0], [0.5, 2.0], [0.5, 1.0], [0.0, 1.0]], np.float32)
    split = Split(RNG.normal(size=(4, 1, 1, 3)).astype(np.float32), labels)
    assert split.labelled and split.groups[0] == split.groups[2] and len(set(split.groups.tolist())) == 3
    scaling = Scaling(0, shift=(0.0,) * 3)
    charges = Charges("batch", 4, 4, scaling, Devices.all(), label_dropout=0.5, counted="label")
    index = np.arange(4, dtype=np.int32)
    batch = Batch(split[:], index, labels, None, split.groups)
    for seed in range(6):
        data, context, of_charges = charges.examples_and_field(jax.random.key(seed), batch, None)
        assert of_charges is not None and context.label is not None
        dropped = np.isnan(np.asarray(context.label)).any(axis=1)
        np.testing.assert_array_equal(np.asarray(context.label)[~dropped], labels[~dropped])
        x = jnp.asarray(data).reshape(4, 3) + 0.3
        found = of_charges(x, jnp.ones(4)).towards
        for i in range(4):
            own = np.arange(4) if np.atleast_1d(dropped)[i] else np.flatnonzero((labels == labels[i]).all(axis=1))
            exact = exact_mean(x[i : i + 1], np.ones(1), np.asarray(split[:]).reshape(4, 3)[own], 1)[0]
            np.testing.assert_allclose(found[i], exact, rtol=1e-4, atol=1e-5)
