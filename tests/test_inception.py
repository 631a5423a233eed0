"""The Inception network on random weights, beside what pytorch-fid and torch-fidelity made of them.

fid_32.npz and inception_sizes.npz hold their answers; tensors that are not there come from a generator seeded with
their names.
"""

import dataclasses
import hashlib
import sys
import zlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import run_lib
from pfgm_jax import build
from pfgm_jax.commands import metrics as metrics_command
from pfgm_jax.errors import InputError
from pfgm_jax.metrics import (
    ExtractorOptions,
    InceptionExtractor,
    create_extractor,
    frechet_distance,
    front_ends,
    inception_features,
    inception_score,
    precision_recall,
    weights,
)
from pfgm_jax.registry import FRONT_ENDS
from tests import torch_format
from tests.compiling import thorough_jit
from tests.test_run_lib import small_digits

FIXTURES = Path("tests/fixtures/metrics")
THEIRS = {"tensorflow": "torch_fidelity", "pytorch-fid": "pytorch_fid"}


def random_tensor(name, shape):
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("conv.weight"):
        tensor = random.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("bn.weight"):
        tensor = 0.5 + random.rand(*shape)
    else:
        tensor = 0.1 * random.randn(*shape)
    return tensor.astype(np.float32)


def named_convolutions(tree, prefix=""):
    for name, part in tree.items():
        if "kernel" in part:
            yield prefix + name, part["kernel"].shape
        else:
            yield from named_convolutions(part, f"{prefix}{name}.")


@pytest.fixture(scope="module")
def record():
    return dict(np.load(FIXTURES / "fid_32.npz"))


def random_weights(record):
    shapes = weights.parameter_shapes()
    del shapes["fc_bias"], shapes["fc"]
    found = {name.removeprefix("bn/"): array for name, array in record.items() if name.startswith("bn/")}
    for name, (height, width, inputs, outputs) in named_convolutions(shapes):
        found[f"{name}.conv.weight"] = random_tensor(f"{name}.conv.weight", (outputs, inputs, height, width))
        for part in ("weight", "bias"):
            found[f"{name}.bn.{part}"] = random_tensor(f"{name}.bn.{part}", (outputs,))
    for name, shape in (("fc.weight", (1008, 2048)), ("fc.bias", (1008,))):
        found[name] = random_tensor(name, shape)
    return found


@pytest.fixture(scope="module")
def tensors(record):
    return random_weights(record)


@pytest.fixture(scope="module")
def weights_file(tensors, tmp_path_factory):
    return torch_format.write(tmp_path_factory.mktemp("weights") / "random.pth", tensors)


@pytest.fixture(scope="module")
def extractors(weights_file):
    """One of each front end, with the same weights and so the same compiled network."""
    params, digest = weights.load_weights(weights_file)
    return {name: InceptionExtractor(params, digest, front_end=name, batch_size=2) for name in FRONT_ENDS}


def error_of(result, expected):
    """Largest relative error of a row, in the Euclidean norm."""
    return (np.linalg.norm(result - expected, axis=1) / np.linalg.norm(expected, axis=1)).max()


@pytest.mark.slow
@pytest.mark.parametrize("front_end", THEIRS)
def test_features_and_logits_are_theirs(record, extractors, front_end):
    theirs, extractor = f"{THEIRS[front_end]}/32", extractors[front_end]
    features, unbiased = extractor(record["img32"].transpose(0, 2, 3, 1))
    assert features.shape == (8, 2048) and features.dtype == np.float32
    assert error_of(features, record[f"{theirs}/2048"]) < 1e-4
    logits = "logits" if front_end == "tensorflow" else "logits_via_fc"
    assert error_of(unbiased + np.asarray(extractor.params["fc_bias"]), record[f"{theirs}/{logits}"]) < 1e-4
    if front_end == "tensorflow":
        assert error_of(unbiased, record[f"{theirs}/logits_unbiased"]) < 1e-4


@pytest.mark.parametrize("front_end", THEIRS)
def test_features_of_other_sizes_are_theirs(extractors, front_end):
    theirs = np.load(FIXTURES / "inception_sizes.npz")
    for size in (64, 256, 400):
        images = np.random.RandomState(size).randint(0, 256, (2, size, size, 3), dtype=np.uint8)
        features, unbiased = extractors[front_end](images)
        assert error_of(features, theirs[f"{front_end}/{size}/features"]) < 1e-4
        if front_end == "tensorflow":
            assert error_of(unbiased, theirs[f"tensorflow/{size}/unbiased_logits"]) < 1e-4


def interpolated(image, positions):
    """Bilinear interpolation in float64 at given rows and columns, by scipy."""
    at = np.meshgrid(*positions, indexing="ij")
    channels = (ndimage.map_coordinates(c.astype(np.float64), at, order=1, mode="nearest") for c in image.T)
    return np.stack([channel.T for channel in channels], axis=-1)


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (64, 48, 3), (256, 256, 3), (299, 299, 3), (400, 320, 3)])
def test_front_ends_interpolate_as_they_say(shape):
    images = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)
    height, width, _ = shape
    pixel = np.arange(299)
    rounding = 4 * max(height, width) * 2**-23  # of positions in float32, in a range of 2
    corners = interpolated(images[0], (pixel * width / 299, pixel * height / 299))
    expected = np.broadcast_to((corners - 128) / 128, (299, 299, 3))
    np.testing.assert_allclose(front_ends.preprocess(images, "tensorflow")[0], expected, atol=rounding)
    middles = interpolated(images[0], tuple((pixel + 0.5) * n / 299 - 0.5 for n in (width, height)))
    expected = np.broadcast_to(2 * middles / 255 - 1, (299, 299, 3))
    np.testing.assert_allclose(front_ends.preprocess(images, "pytorch-fid")[0], expected, atol=rounding)


def test_enlarging_by_half_pixels_is_pillows():
    # Its filter is the same where images become larger.
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 64, 1), dtype=np.uint8)
    resized = Image.fromarray(image[0, :, :, 0].astype(np.float32)).resize((299, 299), Image.Resampling.BILINEAR)
    result = front_ends.preprocess(image, "pytorch-fid")[0, :, :, 1]
    np.testing.assert_allclose(result, np.asarray(resized) / 127.5 - 1, atol=5e-5)


@pytest.mark.parametrize("front_end", THEIRS)
def test_what_the_network_sees_is_theirs(record, front_end):
    seen = np.asarray(front_ends.preprocess(record["img32"].transpose(0, 2, 3, 1), front_end)).transpose(0, 3, 1, 2)
    theirs = record[f"{THEIRS[front_end]}/32/preprocessed[:,:,::23,::23]"]
    np.testing.assert_allclose(seen[:, :, ::23, ::23], theirs, atol=1e-6)


def test_batches_levels_and_grey_do_not_matter(extractors, monkeypatch):
    uncompiled: Any = inception_features._preprocess
    preprocess = thorough_jit(uncompiled.__wrapped__, static_argnames="front_end")
    monkeypatch.setattr(inception_features, "_preprocess", preprocess)
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 17, (3, 8, 8, 1), dtype=np.uint8)
    in_rgb = np.repeat(np.round(grey * (255 / 16)).astype(np.uint8), 3, axis=-1)
    placed = []

    def place(batch):
        placed.append(batch.shape)
        return jnp.asarray(batch)

    extractor = extractors["tensorflow"]
    one = dataclasses.replace(extractor, levels=17, place=place)(grey)
    assert placed == [(2, 8, 8, 1)] * 2  # the last batch is padded
    last = extractor(in_rgb[2:])
    np.testing.assert_allclose(one.features[2:], last.features, rtol=1e-4, atol=1e-5)
    assert error_of(one.features[:2], extractor(in_rgb[:2]).features) < 1e-6


def test_images_that_it_does_not_take_are_refused(extractors):
    extractor = extractors["tensorflow"]
    with pytest.raises(
        InputError, match="the images have 4 channels, and the network of the features 'inception' takes 1 .grey"
    ):
        extractor(np.zeros((2, 8, 8, 4), np.uint8))
    with pytest.raises(
        InputError, match=r"the images are float32 of shape \(2, 8, 8, 3\), with NaN or inf.*give uint8"
    ):
        extractor(np.full((2, 8, 8, 3), np.nan, np.float32))
    with pytest.raises(InputError, match=r"the images are uint8 of shape \(8, 8, 3\); give uint8 \[n, H, W, C\]"):
        extractor(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="an image has a pixel of 40, and 17 grey levels end at 16; set the number of"):
        dataclasses.replace(extractor, levels=17)(np.full((2, 8, 8, 1), 40, np.uint8))


def test_extractors_by_name(weights_file, tmp_path):
    extractor = create_extractor("inception", ExtractorOptions(tmp_path, front_end="pytorch-fid", weights=weights_file))
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    expected = {"features": "inception", "front_end": "pytorch-fid", "weights": digest, "levels": 256}
    assert extractor.record == expected
    with pytest.raises(InputError, match="eval.features is 'vgg'; choose one of inception, pixels"):
        create_extractor("vgg", ExtractorOptions(tmp_path))
    with pytest.raises(InputError, match="the front end is 'jax'; choose one of tensorflow, pytorch-fid"):
        create_extractor("inception", ExtractorOptions(tmp_path, front_end="jax"))


@pytest.mark.slow
def test_command_compares_pictures_by_the_network(tmp_path, monkeypatch, weights_file, extractors):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 4, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", samples=a)
    np.savez(tmp_path / "b.npz", samples=b)
    arguments = ["", f"--samples={tmp_path / 'a.npz'}", f"--reference={tmp_path / 'b.npz'}", "--batch_size=2"]
    monkeypatch.setattr(sys, "argv", [*arguments, f"--weights={weights_file}", "--front_end=pytorch-fid"])
    result = metrics_command.run(metrics_command._arguments("metrics"))
    (of_a, logits), (of_b, _) = (extractors["pytorch-fid"](images) for images in (a, b))
    assert result["fid"] == pytest.approx(frechet_distance(of_a, of_b), rel=1e-4)
    assert result["inception_score"] == pytest.approx(inception_score(logits, 4)[0], rel=1e-4)
    assert (result["precision"], result["recall"]) == precision_recall(of_a, of_b)


@pytest.mark.slow
def test_eval_mode_compares_by_the_network(tmp_path, monkeypatch, weights_file, extractors):
    """With weights of one's own, statistics made from the training data, then from a file."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    np.save(tmp_path / "own.npy", np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8))
    fields = {"data.dataset": f"arrays:{tmp_path}/own.npy", "data.image_size": 8, "training.n_iters": 2}
    fields |= {
        "training.batch_size": 8,
        "training.small_batch_size": 8,
        "training.eval_freq": 2,
        "sampling.ode_solver": "euler",
        "sampling.N": 2,
    }
    fields |= {"eval.features": "inception", "eval.weights": str(weights_file), "eval.num_samples": 4}
    fields |= {"eval.batch_size": 2, "eval.enable_bpd": False, "sampling.batch_size": 6}
    config = small_digits(**fields)
    run_lib.train(config, tmp_path / "run")
    (report,) = run_lib.evaluate(config, tmp_path / "run")

    samples = np.load(next((tmp_path / "run" / "samples").glob("2-*/pieces/*.npz")))["samples"]
    train = build.load_dataset(config).train[:]
    assert len(train) == 9
    (of_samples, logits), (of_train, _) = (extractors["tensorflow"](images) for images in (samples, train))
    assert report["fid"] == pytest.approx(frechet_distance(of_samples, of_train), rel=1e-4)
    assert report["inception_score"] == pytest.approx(inception_score(logits, 4)[0], rel=1e-4)
    (kept,) = (tmp_path / "data" / "statistics").glob("*.npz")
    published = tmp_path / "published.npz"
    with np.load(kept) as content:
        np.savez(published, mu=content["mu"], sigma=content["sigma"])
    config.eval.statistics = str(published)
    (again,) = run_lib.evaluate(config, tmp_path / "run")
    assert again["fid"] == pytest.approx(report["fid"], rel=1e-6)
