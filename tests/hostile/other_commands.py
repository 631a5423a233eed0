"""The commands datasets, convert and metrics, for those who disturb them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests import raw_files
from tests.hostile import processes
from tests.hostile.processes import Outcome

CONFIG = """
import json, pathlib
from configs import default
def get_config():
    config = default.get_config()
    config.update(json.loads(pathlib.Path("tests/fixtures/release/a_ddpmpp.config.json").read_text()))
    config.data.levels = 256
    return config
"""


def info(folder: Path, before: str) -> Outcome:
    """Describes digits, with a picture."""
    picture = folder / "data.png"
    flags = ["info", "--config=configs/digits.py", f"--picture={picture}"]
    outcome = processes.run(folder, "pfgm_jax.datasets", *flags, before=before)
    assert picture.is_file() or outcome.status
    return outcome


def prepare(folder: Path, before: str) -> Outcome:
    """Prepares a small CIFAR-10."""
    manual = folder / "downloads" / "manual"
    if not manual.is_dir():
        manual.mkdir(parents=True)
        raw_files.cifar10(manual)
    flags = ["prepare", "cifar10", f"--data_dir={folder}"]
    outcome = processes.run(folder, "pfgm_jax.datasets", *flags, before=before)
    made = list(folder.glob("pfgm_cifar10/*/dataset_info.json"))
    assert len(made) == (outcome.status == 0), outcome
    assert not made or {s["name"] for s in json.loads(made[0].read_text())["splits"]} == {"train", "test"}
    return outcome


def convert(folder: Path, before: str) -> Outcome:
    """Converts a checkpoint of the release."""
    config, workdir = folder / "config.py", folder / "run"
    config.write_text(CONFIG)
    flags = ["tests/fixtures/release/a_ddpmpp.pth", f"--config={config}", f"--workdir={workdir}"]
    outcome = processes.run(folder, "pfgm_jax.convert", *flags, before=before)
    # It appears whole, or not at all.
    assert workdir.is_dir() == (outcome.status == 0), outcome
    assert not workdir.is_dir() or ((workdir / "config.json").is_file() and (workdir / "checkpoints").is_dir())
    return outcome


def metrics(folder: Path, before: str) -> Outcome:
    """Compares pictures with digits."""
    pictures = folder / "pictures"
    if not pictures.is_dir():
        pictures.mkdir()
        for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)):
            Image.fromarray(pixels).save(pictures / f"{i}.png")
    flags = [f"--samples={pictures}", "--reference=digits", "--features=pixels", f"--data_dir={folder}"]
    outcome = processes.run(folder, "pfgm_jax.metrics", *flags, before=before)
    assert ("fid: " in outcome.printed) == (outcome.status == 0), outcome
    return outcome
