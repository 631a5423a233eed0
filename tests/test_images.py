"""Reading, cropping and resizing images."""

import numpy as np
import pytest
from PIL import Image

from pfgm_jax.datasets import load_dataset
from pfgm_jax.datasets.images import BrokenImageError, Geometry, own_shape, read_image
from pfgm_jax.datasets.store import ImageStore
from pfgm_jax.errors import InputError
from pfgm_jax.metrics.image_files import PictureFolder
from tests.raw_files import encoded

RNG = np.random.default_rng(0)


def saved(path, array_or_image, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    image.save(path, **options)
    return path


def test_an_image_of_the_right_size_is_left_as_it_is():
    image = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(encoded(image, "PNG"), Geometry(6, 9, 3)), image)


def test_the_crop_is_central_and_has_the_proportions_of_the_result():
    image = np.zeros((218, 178, 3), np.uint8)
    image[39:179, 19:159] = 200
    cropped = read_image(encoded(image, "PNG"), Geometry(64, 64, 3, crop=140, filter="bilinear"))
    assert (cropped == 200).all()
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 90
    assert (read_image(encoded(wide, "PNG"), Geometry(5, 5, 3)) == 90).all()
    assert (read_image(encoded(wide.transpose(1, 0, 2), "PNG"), Geometry(20, 20, 3)) == 90).all()
    assert Geometry(32, 64, 3).box(100, 100) == (0, 25, 100, 75)


def antialiased(line: np.ndarray, size: int, filter: str) -> np.ndarray:
    """Resampling of a line by the definition: a filter stretched by the scale, its weights summing to one."""

    def bicubic(t, a=-0.5):  # Keys 1981
        t = np.abs(t)
        near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
        return np.where(t < 1, near, np.where(t < 2, far, 0))

    kernel = {"bicubic": bicubic, "bilinear": lambda t: np.maximum(0, 1 - np.abs(t))}[filter]
    scale = len(line) / size
    centres = (np.arange(size) + 0.5) * scale
    weights = kernel((np.arange(len(line)) + 0.5 - centres[:, None]) / max(scale, 1))
    return weights @ line / weights.sum(1)


@pytest.mark.parametrize("filter", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("old", "new"), [(140, 64), (24, 60)])
def test_resizing_is_antialiased(filter, old, new):
    line = RNG.integers(40, 210, old).astype(np.float64)
    image = np.repeat(np.repeat(line[None, :, None], old, 0), 3, 2).astype(np.uint8)
    resized = read_image(encoded(image, "PNG"), Geometry(new, new, 3, filter=filter))
    expected = antialiased(line, new, filter)
    np.testing.assert_allclose(resized[new // 2, :, 0], np.clip(expected, 0, 255), atol=1.01)


@pytest.mark.parametrize("name", ["canary.png", "canary.eps", "canary.jpg", "canary.pdf"])
def test_no_picture_starts_a_program(tmp_path, monkeypatch, name):
    """PostScript under any name, with a `gs` on the path that tells when it is run."""
    program, told = tmp_path / "bin" / "gs", tmp_path / "told"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho run >> {told}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    folder = tmp_path / "pictures"
    folder.mkdir()
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (folder / name).write_bytes(content)
    for source in (folder / name, content):
        with pytest.raises(BrokenImageError, match="it is not an image"):
            read_image(source, Geometry(8, 8, 3))
        with pytest.raises(BrokenImageError, match="it is not an image"):
            own_shape(source)
    for use in (PictureFolder, lambda path: load_dataset(f"folder:{path}", 8)):
        with pytest.raises(InputError):
            use(folder)
    assert not told.exists()


def test_every_kind_of_pixels_is_brought_to_grey_levels(tmp_path):
    grey = RNG.integers(0, 256, (5, 4), dtype=np.uint8)
    wide = grey.astype(np.uint16) * 257
    rgb = np.repeat(grey[..., None], 3, 2)
    opacity = np.concatenate([rgb, np.full((5, 4, 1), 255, np.uint8)], 2)
    palette = Image.fromarray(grey).convert("P")
    files = {
        "grey": saved(tmp_path / "grey.png", grey),
        "16 bits": saved(tmp_path / "wide.png", wide),
        "16 bits, tiff": saved(tmp_path / "wide.tiff", wide),
        "RGB": saved(tmp_path / "rgb.png", rgb),
        "RGBA": saved(tmp_path / "rgba.png", opacity),
        "palette": saved(tmp_path / "palette.gif", palette),
        "two frames": saved(tmp_path / "two.gif", palette, save_all=True, append_images=[Image.new("P", (4, 5))]),
        "CMYK": saved(tmp_path / "cmyk.tiff", Image.fromarray(rgb).convert("CMYK")),
    }
    for kind, path in files.items():
        assert np.abs(read_image(path, Geometry(5, 4, 1))[..., 0].astype(int) - grey).max() <= 1, kind
        assert np.abs(read_image(path, Geometry(5, 4, 3)).astype(int) - rgb).max() <= 1, kind
        np.testing.assert_array_equal(read_image(path, Geometry(5, 4, 4))[..., 3], 255)


def test_transparent_pixels_are_laid_over_white():
    image = np.zeros((2, 2, 4), np.uint8)
    image[0, 0] = 10, 20, 30, 255
    pixels = read_image(encoded(image, "PNG"), Geometry(2, 2, 3))
    assert pixels[0, 0].tolist() == [10, 20, 30] and (pixels.reshape(-1, 3)[1:] == 255).all()


def test_photographs_are_turned_upright(tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    path = saved(tmp_path / "turned.png", image, exif=exif)
    np.testing.assert_array_equal(read_image(path, Geometry(6, 4, 3)), np.rot90(np.asarray(image), -1))


def test_what_cannot_be_read_says_why(tmp_path):
    whole = encoded(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8), "JPEG")
    floats = saved(tmp_path / "floats.tiff", RNG.normal(size=(4, 4)).astype(np.float32))
    for content, reason in (
        (whole[: len(whole) // 2], "truncated"),
        (b"hello", "it is not an image"),
        (b"", "it is not an image"),
        (floats, "floating-point numbers"),
    ):
        with pytest.raises(BrokenImageError, match=reason):
            read_image(content, Geometry(8, 8, 3))
    with pytest.raises(BrokenImageError, match="40 x 40 pixels, fewer than are cropped"):
        read_image(whole, Geometry(8, 8, 3, crop=140))


@pytest.mark.parametrize("place", ["memory", "disk", "nowhere"])
def test_images_are_decoded_once_where_they_can_be_kept(tmp_path, monkeypatch, place):
    images = RNG.integers(0, 256, (9, 4, 5, 3), dtype=np.uint8)
    calls = []

    def decode(i):
        calls.append(i)
        return images[i]

    if place != "memory":
        monkeypatch.setattr("pfgm_jax.datasets.store.MEMORY_SHARE", 0.0)
    if place == "nowhere":
        (tmp_path / "file").write_text("")
    directory = tmp_path / ("file" if place == "nowhere" else "cache")
    store = ImageStore(decode, images.shape, directory)
    for numbers in ([3, 1, 1], [8, 3], [1]):
        np.testing.assert_array_equal(store[np.array(numbers)], images[numbers])
    assert len(calls) == {"memory": 3, "disk": 3, "nowhere": 6}[place]
    if place == "disk":
        again = ImageStore(decode, images.shape, directory)
        np.testing.assert_array_equal(again[np.arange(9)], images)
        assert sorted(calls) == list(range(9))
        # A write that was cut short is noticed.
        assert again._images is not None
        again._images[4, 0, 0, 0] ^= 1
        np.testing.assert_array_equal(ImageStore(decode, images.shape, directory)[np.arange(9)], images)
        assert calls.count(4) == 2
