"""EfficientNet-Lite0's features: beside those of its published program in PyTorch, and on images of a known order.

efficientnet.npz holds the means over space of `extract_features` of efficientnet-lite-pytorch 0.1.0 in float64, of
the first images of `numpy.random.RandomState(0)`, with (v - 127) / 128 as input.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from PIL import Image
from scipy import ndimage

from pfgm_jax import datasets
from pfgm_jax.errors import InputError
from pfgm_jax.metrics import (
    ExtractorOptions,
    Features,
    collect_statistics,
    create_extractor,
    efficientnet,
    efficientnet_features,
    evaluate,
)
from pfgm_jax.torch_file import read_torch_file
from tests import torch_format
from tests.compiling import thorough_jit
from tests.test_held_out import damaged

FIXTURE = Path("tests/fixtures/metrics/efficientnet.npz")
COUNT = 50


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    """Downloads nothing: the weights come with a package."""
    network: Any = efficientnet_features._network
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet_features, "_network", thorough_jit(network.__wrapped__))
        yield create_extractor("efficientnet", ExtractorOptions(tmp_path_factory.mktemp("none"), 17, batch_size=16))


def test_features_are_those_of_the_published_program(extractor):
    images = np.random.RandomState(0).randint(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    params = extractor.params
    found = efficientnet_features.EfficientNetExtractor(params, "", batch_size=2)(images).features
    expected = np.load(FIXTURE)["features"]
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert found.dtype == np.float32 and error.max() < 1e-5


def test_images_are_resized_as_the_extractor_says():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (1, 20, 14, 1), dtype=np.uint8)
    at = [(np.arange(80) + 0.5) * n / 80 - 0.5 for n in (20, 14)]
    grid = np.meshgrid(*at, indexing="ij")
    larger = ndimage.map_coordinates(small[0, :, :, 0].astype(np.float64), grid, order=1, mode="nearest")
    found = np.asarray(efficientnet_features._preprocess(small))
    np.testing.assert_allclose(found, np.repeat((larger[None, :, :, None] - 127) / 128, 3, axis=3), atol=1e-5)
    large = rng.integers(0, 256, (1, 500, 300, 3), dtype=np.uint8)
    smaller = [
        Image.fromarray(channel.astype(np.float32)).resize((224, 224), Image.Resampling.BILINEAR)
        for channel in large[0].transpose(2, 0, 1)
    ]
    expected = (np.stack([np.asarray(image) for image in smaller], axis=-1) - 127) / 128
    assert [efficientnet_features.side_of(*size) for size in ((8, 8), (28, 28), (64, 10), (8, 17))] == [
        64,
        112,
        224,
        68,
    ]
    rounding = 4 * 500 * 2**-23  # of positions in float32, in a range of 2
    np.testing.assert_allclose(np.asarray(efficientnet_features._preprocess(large))[0], expected, atol=rounding)


@pytest.fixture(scope="module")
def features(extractor):
    """Features of digits: of two disjoint sets of each split, of a half of each, and of damaged ones."""
    digits, rng = datasets.load_dataset("digits"), np.random.default_rng(0)
    train, test = digits.train[:COUNT], digits.test[: 2 * COUNT]
    sets = {"train": train, "fresh": test[:COUNT], "others": test[COUNT:], **damaged(test[:COUNT], rng)}
    found = {name: extractor(images).features for name, images in sets.items()}
    return {**found, "half": np.concatenate([found["fresh"][::2], found["train"][::2]]), "copies": found["train"]}


def distance_in_float64(a, b):
    """The Fréchet distance by its formula, in the space that the differences of both sets span."""
    rows = np.concatenate([a, b]).astype(np.float64)
    basis = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2]
    x, y = (part.astype(np.float64) @ basis.T for part in (a, b))
    # A little noise would make it regular; so does a multiple of the identity, whose effect is of its order.
    covariances = [np.cov(part.T) + 1e-9 * np.eye(len(basis)) for part in (x, y)]
    root = np.real(np.asarray(scipy.linalg.sqrtm(covariances[0] @ covariances[1])))
    return ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + np.trace(sum(covariances) - 2 * root)


def test_distances_agree_with_float64_and_rank_digits_as_they_should(features):
    compared = [collect_statistics([features[name]]) for name in ("train", "others")]
    names = ("fresh", "half", "copies", "blurred", "noisy")
    found = {name: evaluate(Features(features[name], None), *compared, kid_subset_size=32) for name in names}
    expected = {name: distance_in_float64(features[name], features["train"]) for name in names}
    for name in names:
        assert found[name]["fid"] == pytest.approx(expected[name], abs=1e-4 * expected["noisy"])
    of = lambda measure: [found[name][measure] for name in names]
    fresh, half, copies, blurred, noisy = of("fid")
    assert copies < half < fresh < min(blurred, noisy)
    fresh, half, copies, blurred, noisy = of("fid_test")
    assert max(fresh, half, copies) < min(blurred, noisy)
    fresh, half, copies, blurred, noisy = of("memorized")
    by_chance = np.sqrt(np.log(1 / 0.001) / COUNT)  # of two sets of this size, in one case of 1,000
    assert copies == 1 and abs(half - 0.5) < 0.1 and max(fresh, blurred, noisy) < by_chance


def test_other_weights_are_refused(tmp_path, monkeypatch):
    tensors = read_torch_file(efficientnet.installed_weights())
    tensors.pop("_blocks.3._project_conv.weight")
    path = torch_format.write(tmp_path / "other.pth", {name: array for name, array in tensors.items() if array.ndim})
    message = "the EfficientNet weights .*other.pth are of another network: _blocks.3._project_conv.weight is missing"
    with pytest.raises(InputError, match=message):
        create_extractor("efficientnet", ExtractorOptions(tmp_path, weights=path))
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    with pytest.raises(
        InputError, match="the weights of the features 'efficientnet' are in the package .*; install it by"
    ):
        create_extractor("efficientnet", ExtractorOptions(tmp_path))


def test_images_of_two_channels_are_refused(extractor):
    with pytest.raises(InputError, match="have 2 channels, and the network of the features 'efficientnet' takes 1"):
        extractor(np.zeros((2, 8, 8, 2), np.uint8))
