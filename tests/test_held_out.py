"""Comparison with held-out images, beside SciPy's distances and statistics, and on images whose order is known."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.stats
from scipy import ndimage
from scipy.spatial.distance import cdist

from pfgm_jax import datasets
from pfgm_jax.errors import InputError
from pfgm_jax.metrics import (
    Features,
    PixelExtractor,
    collect_statistics,
    copying,
    evaluate,
    evaluate_vectors,
    frechet_distance,
    kernel_distance,
)


@pytest.fixture(scope="module")
def sets():
    """Points of two shapes, some of them near those of the first set."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(700, 12)), rng.normal(size=(300, 12))
    samples = np.concatenate([rng.normal(size=(200, 12)), train[:100] + 0.1 * rng.normal(size=(100, 12))])
    return samples, train, test


def excess_by_scipy(near, far):
    """The one-sided Kolmogorov-Smirnov statistic: how far the first distribution function is above the second."""
    found: Any = scipy.stats.ks_2samp(near, far, alternative="greater")
    return found.statistic


def test_copying_is_the_statistic_of_kolmogorov_and_smirnov(sets):
    samples, train, test = sets
    near, far = (cdist(x, train).min(axis=1) for x in (samples, test))
    found = copying(samples, train, test)
    expected = excess_by_scipy(near, far)
    assert found.memorized == pytest.approx(expected, abs=1e-12) and 0.3 < expected < 0.4
    assert found.nearer == (near < np.median(far)).mean()


def test_held_out_examples_are_no_copies_and_training_examples_are(sets):
    _, train, test = sets
    assert copying(test, train, test) == copying(test[:201], train, test[:201]) == (0, 0.5)
    for scale in (1, 1e4):  # of offsets that make distances inexact
        shift = scale * np.ones((1, 12))
        assert copying(train[:400] + shift, train + shift, test + shift) == (1, 1)
        assert (
            copying((train[:400] + shift).astype(np.float32), (train + shift).astype(np.float32), test + shift)[1] == 1
        )
    half = np.concatenate([train[:300], test])
    assert copying(half, train, test) == (0.5, 0.75)
    # Where held-out examples are copies too, copies are no sign of anything.
    assert copying(train[:100], train, train[100:200]) == (0, 0.5)
    # Samples far from everything are no copies either.
    assert copying(test + 100, train, test) == (0, 0)


@pytest.mark.parametrize("empty", range(3))
def test_empty_sets_are_refused(sets, empty):
    parts = [x[:0] if i == empty else x for i, x in enumerate(sets)]
    with pytest.raises(
        InputError, match="samples, training and held-out examples have shapes .*; give at least one row"
    ):
        copying(*parts)


def test_evaluation_reports_distances_to_held_out_images(sets):
    samples, train, test = sets
    of = lambda x: collect_statistics([x])
    options: dict[str, Any] = {"kid_subsets": 3, "kid_subset_size": 50}
    found = evaluate(Features(samples, None), of(train), of(test), **options)
    alone = evaluate(Features(samples, None), of(train), **options)
    beside = copying(samples, train, test)
    expected = {
        **alone,
        "fid_test": frechet_distance(samples, test),
        "kid_test": kernel_distance(samples, test, 3, 50)[0],
        "memorized": beside.memorized,
        "nearer_than_test": beside.nearer,
    }
    assert found == pytest.approx(expected, rel=1e-9)
    published = dataclasses.replace(of(train), features=None)
    assert evaluate(Features(samples, None), published, of(test), **options).keys() == {"fid", "fid_test", "kid_test"}
    # Of a part of the training images, copies could not be told.
    part = dataclasses.replace(of(train), features=train[:600])
    assert "memorized" not in evaluate(Features(samples, None), part, of(test), **options)
    with pytest.raises(InputError, match="the samples have 12 features each and the reference 11"):
        evaluate(Features(samples, None), of(train), of(test[:, 1:]))


def test_vectors_are_asked_for_copies_too(sets):
    samples, train, test = (x.reshape(-1, 1, 1, 12) for x in sets)
    found = evaluate_vectors(samples, train, test)
    assert (found["memorized"], found["nearer_than_test"]) == copying(*sets)


def damaged(images, rng):
    """The images, and what is to be seen as worse than they are."""
    blurred = ndimage.gaussian_filter(images.astype(np.float64), (0, 0.7, 0.7, 0))
    noisy = images + rng.normal(scale=3, size=images.shape)
    return {
        "blurred": np.clip(np.round(blurred), 0, 16).astype(np.uint8),
        "noisy": np.clip(np.round(noisy), 0, 16).astype(np.uint8),
    }


@pytest.fixture(scope="module")
def ranked():
    """What is measured of digits that were held out, that are learned by heart, and that are damaged."""
    digits, rng = datasets.load_dataset("digits"), np.random.default_rng(0)
    train, test = digits.train[:], digits.test[:]
    # One half of what was held out stands for samples, the other is what they are compared with.
    fresh, others = test[::2], test[1::2]
    half = np.concatenate([fresh[::2], train[: len(fresh) // 2]])
    sets = {"fresh": fresh, "half": half, "copies": train[: len(fresh)], **damaged(fresh, rng)}
    features = lambda images: PixelExtractor(17)(images).features
    compared = [collect_statistics([features(images)]) for images in (train, others)]
    return {name: evaluate(Features(features(images), None), *compared) for name, images in sets.items()}


def test_measures_rank_digits_as_they_should(ranked):
    of = lambda measure: {name: found[measure] for name, found in ranked.items()}
    distance = of("kid")
    assert max(distance[name] for name in ("fresh", "half", "copies")) < min(distance["blurred"], distance["noisy"])
    memorized = of("memorized")
    assert memorized["copies"] == 1 and abs(memorized["half"] - 0.5) < 0.1
    assert max(memorized[name] for name in ("fresh", "blurred", "noisy")) < 0.15
    nearer = of("nearer_than_test")
    assert nearer["copies"] == 1 and abs(nearer["fresh"] - 0.5) < 0.1 and nearer["noisy"] < 0.05
