"""Everything of the package that opens a file that somebody else may have written, by the kind of the file."""

import contextlib
import io
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pfgm_jax import config_files, kept_steps, pieces, results
from pfgm_jax.datasets import load_dataset
from pfgm_jax.datasets.folder import load_folder
from pfgm_jax.errors import PfgmError
from pfgm_jax.metrics.image_files import PictureFolder, array_names, read_array
from pfgm_jax.metrics.statistics import load_statistics
from pfgm_jax.metrics.weights import load_weights
from pfgm_jax.reports import _count_samples
from pfgm_jax.torch_file import read_torch_file
from pfgm_jax.training.writers import _lines_until
from tests.hostile.case import assert_sentence

# What reads a file, by the name that the file has in its folder.
ARRAYS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "arrays:": ("data.npz", lambda path: load_dataset(f"arrays:{path}")),
    "--samples": ("images.npz", read_array),
    "names of arrays": ("images.npz", array_names),
    "statistics": ("statistics.npz", load_statistics),
    "pieces": ("00000000.npz", lambda path: pieces._count_rows(path.parent, 3)),
    "samples": ("samples.npz", lambda path: _count_samples(path.parent)),
}
TORCH: dict[str, tuple[str, Callable[[Path], object]]] = {
    "checkpoints": ("checkpoint.pth", read_torch_file),
    "Inception's weights": ("weights.pth", load_weights),
}
JSON: dict[str, tuple[str, Callable[[Path], object]]] = {
    "configs of runs": ("config.json", lambda path: config_files.read(path.parent)),
    "kept steps": ("kept.json", lambda path: kept_steps.read_kept(path.parent, 2)),
    "records": ("record.json", lambda path: results._record_of(path.parent)),
}
PICTURES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "folder:": ("picture.png", lambda path: load_folder(path.parent, (8, 8), 3, path.parent / "cache").train[:]),
    "own sizes of folder:": ("picture.png", lambda path: load_folder(path.parent, None, 0, path.parent / "cache")),
    "--reference": ("picture.png", lambda path: PictureFolder(path.parent)[:]),
}
LINES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "metrics": ("metrics.jsonl", lambda path: _lines_until(path, 3)),
}
CONFIGS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "--config": ("config.py", config_files.load_file),
}
# Seconds and bytes that reading a small file may take at most.
SECONDS, MEMORY = 20, 700 << 20
# What archives would write outside.
OUTSIDE = ("/tmp/outside", "/tmp/outside.npy", "/outside", "../outside")
# Programs that libraries of pictures and archives start.
PROGRAMS = (
    "gs",
    "gswin32c",
    "convert",
    "magick",
    "inkscape",
    "rsvg-convert",
    "djpeg",
    "cjpeg",
    "ppmtogif",
    "tar",
    "sh",
)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Path]:
    """Yields an empty folder for what is read; asserts that nothing is executed, written elsewhere, or grows huge.

    The canary is a file `executed` in `folder`: payloads write it, and so do programs of PATH that may be started.
    """
    canary, bin, inner = folder / "executed", folder / "bin", folder / "inner"
    bin.mkdir(parents=True)
    inner.mkdir()
    for program in PROGRAMS:
        path = bin / program
        path.write_text(f"#!/bin/bash\n: > {canary}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    before, path = {*folder.rglob("*")}, os.environ["PATH"]
    os.environ["PATH"] = f"{bin}:{path}"
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def late(*_):
        raise TimeoutError(f"it takes more than {SECONDS} s")

    handler = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield inner
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        os.environ["PATH"] = path
    assert not canary.exists() and not Path("executed").exists(), "it was executed"
    assert not [name for name in OUTSIDE if Path(name).exists()], "it wrote outside"
    written = [p for p in {*folder.rglob("*")} - before if inner not in p.parents]
    assert not written, f"it wrote {written}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - size
    assert grown < MEMORY, f"it took {grown >> 20} MiB"


def harmless(read: Callable[[Path], object], path: Path) -> None:
    """Reads a file; asserts that nothing but an error of the project's own comes out, if any does."""
    try:
        # What is told of pieces that are computed again, and bars, are not looked at.
        with contextlib.redirect_stderr(io.StringIO()):
            read(path)
    except PfgmError as error:
        assert_sentence(str(error))
