"""Damaged pictures of 16 bits, and damaged arrays that stay on the disk; see test_fuzzing.py."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from pfgm_jax import datasets, reading
from pfgm_jax.datasets.deep_images import read_deep_image
from pfgm_jax.datasets.images import BrokenImageError, Geometry
from pfgm_jax.errors import InputError
from tests.test_fuzzing import COUNT, array_file, fuzz, mutations


@pytest.mark.parametrize("name", ["grey.tif", "colour.tif", "grey.png"])
def test_deep_pictures(tmp_path, name):
    image = np.arange(12 * 10 * 3, dtype=np.uint16).reshape(12, 10, 3) * 100
    good = tmp_path / f"good-{name}"
    if name == "colour.tif":
        tifffile.imwrite(good, image, photometric="rgb", compression="zlib")
    else:
        Image.fromarray(image[..., 0]).save(good)

    def read(path):
        try:
            read_deep_image(path, Geometry(12, 10, 3 if name == "colour.tif" else 1, bits=16))
        except BrokenImageError as error:
            raise InputError(f"it is left out ({error}); mend it") from None

    assert fuzz(mutations(good.read_bytes(), 13, COUNT), tmp_path / name, read) > 10


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_that_stay_on_the_disk(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(reading, "MAPPED", 0)
    whole = array_file(kind, np.zeros((9, 4, 4, 3), np.float32))
    read = lambda path: datasets.load_dataset(f"arrays:{path}").train[:]
    assert fuzz(mutations(whole, 14, COUNT), tmp_path / "data", read) > 10
