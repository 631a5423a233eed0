"""Folders of pictures."""

import logging
import re

import numpy as np
import pytest
from PIL import Image

import run_lib
from configs import digits
from pfgm_jax import config_files
from pfgm_jax.datasets import load_dataset
from pfgm_jax.errors import InputError


def write_mixed(root, count, broken):
    """Images of many kinds and sizes, some of which cannot be read; returns the names of these."""
    rng = np.random.default_rng(0)
    bad = set(rng.choice(count, broken, replace=False).tolist())
    names = []
    for i in range(count):
        folder = root / ("cats" if i % 3 else "dogs") / f"part{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(20, 401, 2) if i % 50 == 0 else rng.integers(20, 60, 2)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        kind = ("png", "jpg", "gif", "grey", "palette", "rgba", "wide")[i % 7]
        image = {
            "grey": lambda p=pixels: Image.fromarray(p[..., 0]),
            "palette": lambda p=pixels: Image.fromarray(p).convert("P"),
            "rgba": lambda p=pixels: Image.fromarray(p).convert("RGBA"),
            "wide": lambda p=pixels: Image.fromarray(p[..., 0].astype(np.uint16) * 257),
        }.get(kind, lambda p=pixels: Image.fromarray(p))()
        path = folder / f"{i:04d}.{kind if kind in ('png', 'jpg', 'gif') else 'png'}"
        image.save(path)
        if i in bad:
            content = path.read_bytes()
            path.write_bytes([b"", b"no image", content[: len(content) // 2]][i % 3])
            names.append(str(path.relative_to(root)))
    return names


def config_of(root, tmp_path, **overrides):
    config = digits.get_config()
    given = {
        "data.dataset": f"folder:{root}",
        "data.dir": str(tmp_path / "data"),
        "data.image_size": 16,
        "training.n_iters": 2,
        "training.batch_size": 32,
        "training.small_batch_size": 8,
        "training.snapshot_sampling": False,
        "model.name": "mlp",
        "model.nf": 16,
        "model.num_res_blocks": 1,
    }
    config.update_from_flattened_dict({**given, **overrides})
    return config


@pytest.mark.slow
def test_two_thousand_mixed_images_train_and_the_broken_ones_are_named_once(tmp_path, caplog):
    broken = write_mixed(tmp_path / "images", 2000, 20)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    (tmp_path / "images" / ".hidden").mkdir()
    (tmp_path / "images" / ".hidden" / "x.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "pfgm_jax"):
        state = run_lib.train(config_of(tmp_path / "images", tmp_path), tmp_path / "run")
    assert int(state.step) == 2
    warnings = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert len(warnings) == 1 and warnings[0].startswith("20 of 2000 images in ")
    assert sorted(re.findall(r"^  (.*?):", warnings[0], re.MULTILINE)) == sorted(broken)
    dataset = load_dataset(f"folder:{tmp_path}/images", 16, 0, tmp_path / "data")
    assert dataset.shape == (16, 16, 3) and len(dataset.train) + len(dataset.test) == 1980
    paths = sorted(p for p in (tmp_path / "images").rglob("*.*") if p.suffix != ".txt" and ".hidden" not in p.parts)
    good = [p for p in paths if str(p.relative_to(tmp_path / "images")) not in broken]
    held_out = [i for i in range(len(good)) if i % 20 == 19]
    expected = [0 if "cats" in good[i].parts else 1 for i in held_out]
    assert dataset.test.labels.tolist() == expected
    assert len(dataset.test) == len(held_out)


def test_images_of_one_size_need_no_size(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (21, 6, 10), dtype=np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i:02d}.png")
    dataset = load_dataset(f"folder:{tmp_path}")
    np.testing.assert_array_equal(dataset.train[:][..., 0], np.delete(images, 19, axis=0))
    np.testing.assert_array_equal(dataset.test[:][..., 0], images[[19]])
    assert dataset.shape == (6, 10, 1) and set(dataset.train.labels) == {-1}


def test_a_pair_is_a_size_on_the_command_line_too(tmp_path):
    root = tmp_path / "images"
    write_mixed(root, 60, 0)
    config = config_of(root, tmp_path, **{"data.image_size": (16, 24)})
    run_lib.train(config, tmp_path / "run")
    assert config_files.read(tmp_path / "run").data.image_size == (16, 24)


def test_folders_without_usable_images_are_refused(tmp_path):
    empty, text, bad, mixed = (tmp_path / name for name in ("empty", "text", "bad", "mixed"))
    empty.mkdir()
    text.mkdir()
    (text / "a.png").write_text("hello")
    write_mixed(bad, 7, 7)
    write_mixed(mixed, 40, 3)
    for root, overrides, message in (
        (tmp_path / "none", {}, "and there is no such folder; give the path of one"),
        (empty, {}, "which holds no images (files such as .png and .jpg); name another folder"),
        (text, {}, "and none of its 1 images can be read (it is not an image); name another folder"),
        (bad, {}, "and 0 of its 7 images can be read (the first that cannot: 0002.gif); at least 2 are needed"),
        (mixed, {"data.image_size": 0}, "data.image_size is 0, and data.dataset is"),
        (mixed, {"training.batch_size": 64}, "training.batch_size is 64, but"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            run_lib.train(config_of(root, tmp_path, **overrides), tmp_path / "run")
        assert not (tmp_path / "run").exists()
