"""Data sets from arrays: images of any depth and number of channels, labels, conditions, arrays larger than memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax import arguments, build, pictures, reading
from pfgm_jax import config as config_lib
from pfgm_jax.datasets import Scaling, load_dataset
from pfgm_jax.datasets.pipeline import read_batch
from pfgm_jax.errors import InputError
from pfgm_jax.likelihood import stored_unit, to_bits_per_dim
from tests.test_run_lib import small_digits as config_with

RNG = np.random.default_rng(0)
KINDS = {
    "float32": lambda shape: RNG.normal([5.0, -300.0], [0.1, 90.0], (*shape, 2)).astype(np.float32),
    "float64": lambda shape: RNG.normal([5.0, -300.0], [0.1, 90.0], (*shape, 2)),
    "uint16": lambda shape: RNG.integers(1000, 65536, (*shape, 2)).astype(np.uint16),
    "int16": lambda shape: RNG.integers(-1024, 2987, (*shape, 5)).astype(np.int16),
    ">i2": lambda shape: RNG.integers(-1024, 2987, (*shape, 1)).astype(">i2"),
    "uint8": lambda shape: RNG.integers(0, 256, (*shape, 7)).astype(np.uint8),
}


def filled_in(dataset_name, **overrides):
    """A config of a small network for a data set, and that data set."""
    options = {"data.dataset": dataset_name, "training.batch_size": 4, "training.small_batch_size": 4}
    config = config_with(**{**options, "model.name": "mlp", **overrides})
    dataset = build.load_dataset(config)
    return config_lib.fill_in(config, dataset), dataset


@pytest.mark.parametrize("kind", KINDS)
def test_examples_of_every_kind_come_back_as_they_were(tmp_path, kind):
    images = KINDS[kind]((40, 6, 4))
    np.savez(tmp_path / "a.npz", x=images)
    config, dataset = filled_in(f"arrays:{tmp_path}/a.npz")
    stored = dataset.train[:]
    expected = np.delete(images, [19, 39], axis=0)
    np.testing.assert_array_equal(stored, expected.astype(np.float32) if "float" in kind else expected)
    scaling = build.create_scaling(config)
    x = np.asarray(scaling.to_network(stored))
    back = np.asarray(scaling.to_stored(jnp.asarray(x)))
    if "float" in kind:
        # Of each channel the mean is 0 and the standard deviation 1/2, in float64.
        exact = np.asarray(expected, np.float64)
        exact = (exact - exact.mean(axis=(0, 1, 2))) / (2 * exact.std(axis=(0, 1, 2)))
        np.testing.assert_allclose(x, exact, atol=1e-5)
        assert (np.abs(back - stored) <= 3e-7 * np.abs(stored).max(axis=(0, 1, 2))).all()
    else:
        assert x.min() >= -1 and x.max() <= 1 and back.dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(back, expected)
        lowest, highest = (0, 255) if kind == "uint8" else (images.min(), images.max())
        assert (config.data.levels, config.data.lowest) == (highest - lowest + 1, lowest)
        dequantized = Scaling(scaling.levels, dequantize=True, lowest=scaling.lowest)
        for noise in (0.1, 0.5, 0.9):
            noisy = dequantized.to_network(stored, jnp.full(stored.shape, noise))
            np.testing.assert_array_equal(dequantized.to_stored(noisy), expected)
        # What lies beyond the range is clipped to it.
        ends = np.asarray(scaling.to_stored(jnp.array([[[[-3.0, 3.0]]]]))).ravel()
        assert ends.tolist() == [lowest, highest]


def test_sixteen_bits_may_have_a_range_that_includes_theirs(tmp_path):
    images = RNG.integers(-1000, 3000, (40, 4, 4, 1)).astype(np.int16)
    images[0, 0, 0], images[39, 0, 0] = -1024, 3071
    np.save(tmp_path / "ct.npy", images)
    config, dataset = filled_in(f"arrays:{tmp_path}/ct.npy", **{"data.levels": 8192, "data.lowest": -4096})
    assert build.create_scaling(config).lowest == -4096 and dataset.fits(8192, -4096)
    wide = {"data.levels": 80000, "data.lowest": -4096}
    with pytest.raises(
        InputError, match="data.levels is 80000 .*; set both to 0, or to a range of int16 that includes"
    ):
        filled_in(f"arrays:{tmp_path}/ct.npy", **wide)
    with pytest.raises(
        InputError, match=r"data.levels is 4095 and data.lowest is -1024, but .* levels from -1024 to 3071"
    ):
        filled_in(f"arrays:{tmp_path}/ct.npy", **{"data.levels": 4095, "data.lowest": -1024})
    for given, message in (
        (np.full((1, 4, 4, 1), 4000), "an image has grey level 4000; the model knows -1024 to 3071"),
        (np.full((1, 4, 4, 1), -2000), "an image has grey level -2000; the model knows -1024 to 3071"),
        (np.zeros((1, 4, 4, 1)), "the images are float64; give int16 with grey levels -1024 to 3071"),
    ):
        with pytest.raises(InputError, match=message):
            arguments.to_images(given, (4, 4, 1), Scaling(4096, lowest=-1024))
    np.testing.assert_array_equal(
        arguments.to_images(images.astype(np.int64), (4, 4, 1), Scaling(4096, lowest=-1024)), images
    )


def test_bits_of_channels_with_scales_of_their_own_are_of_the_units_of_the_data():
    """The density of a product of two normal distributions, in the data's units and by network units."""
    scaling = Scaling(0, shift=(3.0, -20.0), scale=(0.25, 40.0))
    stored = np.array([[[[3.1, 5.0]]], [[[2.9, -60.0]]]], np.float32)
    x = np.asarray(scaling.to_network(stored), np.float64)
    of_network = (-0.5 * x**2 - 0.5 * np.log(2 * np.pi)).sum(axis=(1, 2, 3))
    found = to_bits_per_dim(of_network, 2, stored_unit(scaling))
    exact = (-0.5 * x**2 - 0.5 * np.log(2 * np.pi) - np.log([0.25, 40.0])).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found, -exact / (2 * np.log(2)), rtol=1e-6)


def test_a_file_may_have_labels_conditions_and_a_test_split(tmp_path):
    arrays = {
        "x": RNG.normal(size=(9, 4, 6, 2)),
        "label": RNG.integers(0, 3, 9),
        "cond": RNG.integers(0, 256, (9, 2, 3, 3), dtype=np.uint8),
    }
    tests = {f"{name}_test": array[:5] for name, array in arrays.items()}
    np.savez(tmp_path / "a.npz", **arrays, **tests)
    dataset = load_dataset(f"arrays:{tmp_path}/a.npz")
    assert len(dataset.train) == 9 and len(dataset.test) == 5
    np.testing.assert_array_equal(dataset.train.labels, arrays["label"])
    conditions = dataset.test.read_conditions(np.array([4, 0]))
    assert dataset.test.condition_shape == (4, 6, 3)
    np.testing.assert_array_equal(conditions, np.kron(arrays["cond"][[4, 0]], np.ones((1, 2, 2, 1), np.uint8)))

    np.savez(tmp_path / "b.npz", **{**arrays, "label": RNG.normal(size=(9, 2))})
    split = load_dataset(f"arrays:{tmp_path}/b.npz").train
    assert split.labelled and split.labels.shape == (8, 2) and len(set(split.groups.tolist())) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.zeros(5, int)}, "whose label has 5 rows for 9 examples; give one for each"),
        ({"label": np.full(9, -2)}, "from -2 to -2; classes count from 0, and -1 is none"),
        ({"label": np.array([0.5] * 8 + [np.nan])}, "array label has dtype float64 .* row 8 holds NaN"),
        ({"label": np.zeros((9, 2), int)}, "give integer classes"),
        ({"cond": np.full((9, 4, 4, 1), np.nan)}, "array cond .* 9 of its rows hold NaN"),
        (
            {"cond": np.zeros((9, 3, 4, 1))},
            "cond has images of 3 x 4 for examples of 4 x 4; give conditions whose sides",
        ),
        ({"y": np.zeros(9)}, "which holds the arrays y besides; name arrays x, label, cond, x_test"),
        ({"label_test": np.zeros(9, int)}, "holds label_test but no x_test; add it, or leave that out"),
        ({"x_test": np.zeros((3, 4, 4, 2))}, r"x is float32 of shape \(4, 4, 1\) each, and x_test float32 of shape"),
        ({"x_test": np.zeros((3, 4, 4, 1)), "label": np.zeros(9, int)}, "label is int32 .* and label_test missing"),
        ({"x": np.full((9, 4, 4, 1), "a")}, "give images"),
    ],
)
def test_refuses_arrays_that_do_not_belong_together(tmp_path, changes, message):
    np.savez(tmp_path / "a.npz", **{"x": np.zeros((9, 4, 4, 1)), **changes})
    with pytest.raises(InputError, match=f"data.dataset names .*{message}"):
        load_dataset(f"arrays:{tmp_path}/a.npz")


@pytest.mark.parametrize("name", ["plain.npy", "fortran.npy", "stored.npz", "compressed.npz"])
def test_large_arrays_stay_on_the_disk(tmp_path, monkeypatch, name):
    images, labels = RNG.normal(size=(30, 4, 4, 2)).astype(np.float32), RNG.integers(0, 3, 30)
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, np.asfortranarray(images) if "fortran" in name else images)
    else:
        (np.savez if "stored" in name else np.savez_compressed)(path, x=images, label=labels)
    expected = load_dataset(f"arrays:{path}").train
    monkeypatch.setattr(reading, "MAPPED", 0)
    content = reading.map_arrays(path, "the file, which", "save it again")
    x = content["x"] if isinstance(content, dict) else content
    assert isinstance(x, np.memmap) == (name != "compressed.npz")
    found = load_dataset(f"arrays:{path}").train
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found.labels, expected.labels)
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cannot be read as .npy or .npz .*; save it again"):
        load_dataset(f"arrays:{cut}")


def test_patches_are_parts_of_their_images_and_of_their_conditions(tmp_path):
    """The values of an image say where each pixel is, and so whether a patch is one, and where it lies."""
    where = (
        np.arange(20 * 14, dtype=np.float32).reshape(1, 20, 14, 1)
        + 1000 * np.arange(60, dtype=np.float32)[:, None, None, None]
    )
    np.savez(tmp_path / "a.npz", x=where, cond=-where)
    config, dataset = filled_in(f"arrays:{tmp_path}/a.npz", **{"data.crop": 8, "training.batch_size": 16})
    assert dataset.shape == (8, 8, 1) and build.image_shape(config) == (8, 8, 1)
    # A config that is filled in finds the same patches.
    np.testing.assert_array_equal(build.load_dataset(config).train, dataset.train)
    corners = []
    for step in range(12):
        read = lambda part, step=step: read_batch(dataset.train, 0, step, 16, 16, part)
        batch = read((0, 1))
        np.testing.assert_array_equal(batch.stored, np.concatenate([read((0, 2)).stored, read((1, 2)).stored]))
        corner = np.asarray(batch.stored)[:, :1, :1]
        np.testing.assert_array_equal(
            batch.stored - corner, np.broadcast_to(where[:1, :8, :8] - where[0, 0, 0], (16, 8, 8, 1))
        )
        np.testing.assert_array_equal(np.asarray(corner).ravel() // 1000, dataset.train._numbers[batch.index])
        corners.append(np.asarray(corner).ravel() % 1000)
    row, column = np.divmod(np.concatenate(corners), 14)
    assert (row.min(), row.max(), column.min(), column.max()) == (0, 12, 0, 6)
    # Without a step, each image has one patch, that of its condition too.
    conditions = dataset.test.read_conditions(slice(None))
    assert conditions is not None
    np.testing.assert_array_equal(dataset.test[:], -conditions)
    np.testing.assert_array_equal(dataset.train[3:5], dataset.train[[3, 4]])
    with pytest.raises(InputError, match="data.crop is 15, but .* has examples of 20 x 14; give at most 14"):
        filled_in(f"arrays:{tmp_path}/a.npz", **{"data.crop": 15})
    with pytest.raises(InputError, match="data.crop is 8, with which the patches of a data set are without number"):
        filled_in(f"arrays:{tmp_path}/a.npz", **{"data.crop": 8, "training.field_reference": "dataset"})


def test_pictures_show_a_window_of_the_values(tmp_path):
    np.save(tmp_path / "a.npy", RNG.normal([100.0, 0, 0, 0, 0], 10.0, (200, 4, 4, 5)))
    config, dataset = filled_in(f"arrays:{tmp_path}/a.npy", **{"eval.window": (90.0, 110.0)})
    stored = dataset.train[:]
    shown = pictures.to_pixels(stored, build.window(config))
    expected = np.round(255 * np.clip((stored[..., :1].astype(np.float64) - 90) / 20, 0, 1))
    np.testing.assert_array_equal(shown, expected)
    config.eval.window = ()
    # Two standard deviations about the mean of the channel that is shown.
    np.testing.assert_allclose(build.window(config), (80, 120), atol=1.5)
    with pytest.raises(InputError, match=r"eval.window is \(3, 1\); give two numbers, the first below the second"):
        config_lib.validate(config_with(**{"eval.window": (3, 1)}))


def test_real_images_are_mirrored_with_their_conditions():
    x = jnp.asarray(RNG.normal(size=(64, 3, 5, 2)), jnp.float32)
    scaling, index = Scaling(0, flip=True, shift=(0.0, 0.0)), jnp.arange(64)
    found = np.asarray(scaling.augment(jax.random.key(1), x, index))
    mirrored = (found == np.asarray(x[:, :, ::-1])).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(found[~mirrored], x[~mirrored])
    assert 15 < mirrored.sum() < 49
    np.testing.assert_array_equal(scaling.flipped(jax.random.key(1), x, index), found)
