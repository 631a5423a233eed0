"""The command that compares anybody's images."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pfgm_jax import datasets
from pfgm_jax.commands import metrics as metrics_command
from pfgm_jax.errors import InputError
from pfgm_jax.metrics import (
    frechet_distance,
    precision_recall,
)
from tests.command_lines import outcomes


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command in this process, with pixels as features and data kept in `tmp_path`."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["", "--features=pixels", f"--data_dir={tmp_path}", *map(str, arguments)])
        return metrics_command.run(metrics_command._arguments("metrics"))

    return run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two sets of tiny colour images, as arrays and as folders of pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    drawn = {"a": rng.integers(0, 256, (30, 4, 5, 3)), "b": rng.integers(60, 256, (40, 4, 5, 3))}
    sets = {name: images.astype(np.uint8) for name, images in drawn.items()}
    for name in sets:
        np.savez(folder / f"{name}.npz", images=sets[name])
        (folder / name / "below").mkdir(parents=True)
        for i, image in enumerate(sets[name]):
            Image.fromarray(image).save(folder / name / ("below" if i % 2 else "") / f"{i}.png")
    return folder, sets


def test_command_takes_folders_and_arrays(command, pictures):
    folder, sets = pictures
    a, b = (sets[name].reshape(-1, 60) / 255 for name in "ab")
    result = command("--samples", folder / "a.npz", "--reference", folder / "b")
    assert (result["samples"], result["reference"]) == (30, 40)
    assert abs(result["fid"] / frechet_distance(a, b) - 1) < 1e-9
    assert (result["precision"], result["recall"]) == precision_recall(a, b)
    of_folders = command("--samples", folder / "a", "--reference", folder / "b.npz")
    assert of_folders["fid"] == pytest.approx(result["fid"], rel=1e-9)
    np.savez(folder / "statistics.npz", mu=b.mean(axis=0), sigma=np.cov(b.T))
    published = command("--samples", folder / "a", "--reference", folder / "statistics.npz")
    assert published == pytest.approx({"samples": 30, "reference": 0, "fid": result["fid"]}, rel=1e-9)


def test_command_compares_with_held_out_images(command, pictures, tmp_path):
    folder, sets = pictures
    many = np.random.default_rng(1).integers(0, 256, (55, 4, 5, 3)).astype(np.uint8)
    np.savez(tmp_path / "many.npz", images=many)
    flags = "--samples", tmp_path / "many.npz", "--reference", folder / "b"
    result = command(*flags, "--held_out", tmp_path / "many.npz")
    assert result["fid_test"] == pytest.approx(0, abs=1e-9)
    assert (result["memorized"], result["nearer_than_test"]) == (0, 0.5)
    copies = command("--samples", folder / "b", "--reference", folder / "b.npz", "--held_out", tmp_path / "many.npz")
    a, b = (images.reshape(-1, 60) / 255 for images in (many, sets["b"]))
    assert copies["fid_test"] == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert (copies["memorized"], copies["nearer_than_test"]) == (1, 1)
    # Beside few held-out images it says nothing of copies.
    few = command(*flags, "--held_out", folder / "a")
    assert "fid_test" in few and "memorized" not in few
    with pytest.raises(
        InputError, match="--held_out is 'nowhere', which is neither a folder nor a .npz file; give one"
    ):
        command(*flags, "--held_out", "nowhere")


def test_command_takes_data_sets_in_their_grey_levels(command, tmp_path):
    digits = datasets.load_dataset("digits")
    samples = digits.train[:60]
    np.save(tmp_path / "digits.npy", samples[..., 0])
    result = command("--samples", tmp_path / "digits.npy", "--reference", "digits", "--split=test")
    expected = frechet_distance(samples.reshape(-1, 64) / 16, digits.test[:].reshape(-1, 64) / 16)
    assert result["reference"] == 360 and abs(result["fid"] / expected - 1) < 1e-9
    assert (tmp_path / "statistics" / "digits-test-8x8x1-pixels.npz").exists()
    (tmp_path / "png").mkdir()
    for i, image in enumerate(samples[..., 0]):  # in 256 levels, as pictures have
        Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)).save(tmp_path / "png" / f"{i:02}.png")
    of_pictures = command("--samples", tmp_path / "png", "--reference", "digits", "--split=test")
    assert of_pictures["fid"] == pytest.approx(expected, rel=1e-2)


def test_command_refuses_what_is_unfit(command, pictures, tmp_path):
    folder, _ = pictures
    good = folder / "a.npz"
    np.savez(tmp_path / "float.npz", images=np.zeros((3, 4, 5, 3)))
    np.savez(tmp_path / "nan.npz", images=np.full((3, 4, 5, 3), np.nan))
    np.savez(tmp_path / "channels.npz", images=np.zeros((3, 4, 5, 2), np.uint8))
    np.savez(tmp_path / "names.npz", pictures=np.zeros((3, 4, 5, 3), np.uint8))
    np.savez(tmp_path / "size.npz", images=np.zeros((3, 8, 8, 3), np.uint8))
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:300])
    for name in ("empty", "broken", "mixed"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "x.png").write_bytes(b"no image")
    whole = next((folder / "a").glob("*.png")).read_bytes()
    for size in ((4, 5), (6, 5)):
        Image.new("RGB", size).save(tmp_path / "mixed" / f"{size[0]}.png")
    for samples, compared, message in (
        (good, "nothing", "--reference is 'nothing': it is no folder or .npz file, and as a data set data.dataset is"),
        (good, "heart", "--reference is 'heart', which holds vectors; name a data set of images"),
        (good, "digits", "--samples are 4 x 5 x 3 numbers each and --reference 8 x 8 x 1; bring them to one size"),
        (tmp_path / "none", good, "--samples is '.*none', which is neither a folder nor a .npz file; give one"),
        (tmp_path / "float.npz", good, r"float.npz holds float64 of shape \(3, 4, 5, 3\); give uint8 \[n, H, W, C\]"),
        (tmp_path / "nan.npz", good, "nan.npz holds 3 images with NaN or infinity, first number 0; give uint8"),
        (tmp_path / "channels.npz", good, "channels.npz holds uint8 of shape .*; give uint8 .* with 1 or 3 channels"),
        (tmp_path / "names.npz", good, "names.npz holds the arrays pictures; name one samples or images or arr_0"),
        (good, tmp_path / "size.npz", "--samples are 4 x 5 x 3 numbers each and --reference 8 x 8 x 3; bring them to"),
        (tmp_path / "cut.npz", good, "cut.npz cannot be read as .npy or .npz .*; save it again"),
        (good, tmp_path / "cut.npz", "cut.npz cannot be read as .npz .*; save it again"),
        (tmp_path / "empty", good, "empty holds no images .files such as .png and .jpg.; name another folder"),
        (tmp_path / "broken", good, "x.png cannot be read .it is not an image.; save it again or remove it"),
        (tmp_path / "mixed", good, "6.png has 5 x 6 pixels, and .*4.png 5 x 4; bring all images to one size"),
    ):
        with pytest.raises(InputError, match=message):
            command("--samples", samples, "--reference", compared)
    (tmp_path / "mixed" / "6.png").unlink()
    (tmp_path / "mixed" / "4.png").write_bytes(whole[:60])
    with pytest.raises(InputError, match="4.png cannot be read .*; save it again or remove it"):
        command("--samples", tmp_path / "mixed", "--reference", good)
    with pytest.raises(InputError, match="--levels is 300; give a number from 2 to 256"):
        command("--samples", good, "--reference", good, "--levels=300")
    with pytest.raises(InputError, match="and 17 grey levels end at 16; set the number of levels"):
        command("--samples", good, "--reference", good, "--levels=17")


def test_command_prints_a_table(pictures, tmp_path):
    folder, _ = pictures
    command = [sys.executable, "-m", "pfgm_jax.metrics", "--features=pixels", f"--data_dir={tmp_path}"]
    command += [f"--samples={folder / 'a.npz'}", f"--reference={folder / 'a'}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    table = dict(line.split(": ") for line in result.stdout.splitlines())
    assert [*table] == ["samples", "reference", "fid", "kid", "kid_std", "precision", "recall"]
    assert (table["samples"], table["precision"], table["recall"]) == ("30", "1", "1") and float(table["fid"]) < 1e-9


def test_command_fails_with_one_sentence():
    sentence = "error: the following arguments are required: --reference; see python -m pfgm_jax.metrics --help\n"
    assert outcomes("pfgm_jax.metrics", [["--samples=x"]]) == [[1, sentence]]
