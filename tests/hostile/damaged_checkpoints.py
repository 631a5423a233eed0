"""Every file of a checkpoint damaged in every way, its arrays, its seal, and its folder."""

import functools
import json
import os
import shutil
from pathlib import Path

from tests.hostile.damaged_run import BEFORE, USES, Damage, everywhere

# One of each kind; files with data have names of their own.
FILES = (
    "_CHECKPOINT_METADATA",
    "commit_success.txt",
    "config/commit_success.txt",
    "config/metadata",
    "state/_METADATA",
    "state/_sharding",
    "state/array_metadatas/process_0",
    "state/commit_success.txt",
    "state/d/*",
    "state/manifest.ocdbt",
    "state/ocdbt.process_0/d/*",
    "state/ocdbt.process_0/manifest.ocdbt",
    "sums/commit_success.txt",
    "sums/metadata",
)
ARRAYS = (".step", "ema_params", ".params", "opt_state")


def flip(path: Path) -> None:
    """Flips one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    """Cuts a file in two halves, and leaves the first."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """Empties a file."""
    os.truncate(path, 0)


def to_folder(path: Path) -> None:
    """Puts a folder in the place of a file."""
    path.unlink()
    path.mkdir()


def to_loop(path: Path) -> None:
    """Puts a link to itself in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(path)


def append(path: Path) -> None:
    """Appends to a file."""
    with path.open("ab") as file:
        file.write(b"\0")


def take_from_other(path: Path) -> None:
    """Puts the file of the checkpoint of step 3 in the place of one of step 6."""
    newest = next(part for part in path.parents if part.name == "6")
    place = newest.parent / "3" / path.relative_to(newest)
    others = sorted(place.parent.iterdir())[0] if place.parent.name == "d" else place
    same = others.read_bytes() == path.read_bytes()
    path.write_bytes(others.read_bytes() + (b" " if same else b""))


DAMAGES = {"flipped": flip, "cut in half": truncate, "removed": Path.unlink, "replaced by a folder": to_folder}
# Of files with data.
MORE = {"emptied": empty, "of another checkpoint": take_from_other, "appended to": append}
DATA = ("state/d/*", "state/manifest.ocdbt", "state/ocdbt.process_0/d/*", "sums/metadata")


def _damage_file(act, pattern: str, workdir: Path) -> None:
    folder = workdir / "checkpoints" / "6"
    act(sorted(folder.glob(pattern))[0])


def _damage_sum(array: str, workdir: Path) -> None:
    """As if an array had changed after the checkpoint was written, and before its seal was."""
    (workdir / "checkpoints" / "6.sums.json").unlink()
    sums = workdir / "checkpoints" / "6" / "sums" / "metadata"
    content = json.loads(sums.read_text())
    name = next(name for name in content if name.startswith(array) or f".{array}" in name)
    sums.write_text(json.dumps({**content, name: content[name] ^ 1}))


def _seal(act, workdir: Path) -> None:
    act(workdir / "checkpoints" / "6.sums.json")


def _step(act, workdir: Path) -> None:
    act(workdir / "checkpoints" / "6")


def _all_steps(workdir: Path) -> None:
    for step in ("3", "6"):
        flip(workdir / "checkpoints" / step / "state" / "manifest.ocdbt")


def _swap_steps(workdir: Path) -> None:
    folder = workdir / "checkpoints"
    for old, new in (("3", "x"), ("6", "3"), ("x", "6")):
        (folder / old).rename(folder / new)
        (folder / f"{old}.sums.json").rename(folder / f"{new}.sums.json")


def _empty_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def damages() -> list[Damage]:
    """All of them."""
    found = []
    for i, pattern in enumerate(FILES):
        for j, (how, act) in enumerate({**DAMAGES, **(MORE if pattern in DATA else {})}.items()):
            uses = USES[i % 3 :][:1] if (i + j) % 4 == 0 else ()
            named = pattern.removesuffix("*")
            act = functools.partial(_damage_file, act, pattern)
            name = f"{pattern} of the newest checkpoint {how}"
            found.append(Damage(name, act, everywhere(BEFORE), uses, told=f"step 6 is damaged (its file {named}"))
    for array in ARRAYS:
        read = {**everywhere(BEFORE)} if array in (".step", "ema_params") else {"train": BEFORE}
        act = functools.partial(_damage_sum, array)
        found.append(Damage(f"an array of the newest checkpoint changed: {array}", act, read, told="not as they were"))
    for how, act in {**DAMAGES, "emptied": empty, "appended to": append, "replaced by a loop": to_loop}.items():
        found.append(Damage(f"the newest checkpoint's seal {how}", functools.partial(_seal, act), uses=()))
    return found + _folders()


def _folders() -> list[Damage]:
    checkpoints = lambda workdir: workdir / "checkpoints"
    step = lambda act: functools.partial(_step, act)
    before, gone = everywhere(BEFORE), "there is no checkpoint in"
    copy = lambda name: lambda run: shutil.copytree(checkpoints(run) / "6", checkpoints(run) / name)
    rename = lambda name: lambda run: (checkpoints(run) / "6").rename(checkpoints(run) / name)
    return [
        Damage("all checkpoints damaged", _all_steps, everywhere("all checkpoints in")),
        Damage("the newest checkpoint's folder empty", step(_empty_folder), before, told="its folder state is missing"),
        Damage("the newest checkpoint's folder removed", step(shutil.rmtree), before),
        Damage("the newest checkpoint's folder a loop", step(to_loop), before),
        Damage(
            "the newest checkpoint without its state",
            lambda run: shutil.rmtree(checkpoints(run) / "6" / "state"),
            before,
        ),
        Damage(
            "the newest checkpoint without its sums", lambda run: shutil.rmtree(checkpoints(run) / "6" / "sums"), before
        ),
        Damage(
            "an empty folder of a later step", lambda run: (checkpoints(run) / "9").mkdir(), told="step 9 is damaged"
        ),
        Damage("a copy of the newest under a later step", copy("60"), told="step 60 is damaged (it is of step 6)"),
        Damage("a copy of the newest in a folder 06", copy("06")),
        Damage("a copy of the newest in a folder 6.bak", copy("6.bak")),
        Damage("a save that was cut off", copy("9.orbax-checkpoint-tmp")),
        Damage("the newest renamed to a later step", rename("7"), before, told="step 7 is damaged (it is of step 6)"),
        Damage("the newest renamed to 06", rename("06"), before),
        Damage("two checkpoints swapped", _swap_steps, everywhere("all checkpoints in")),
        Damage("a file in the place of a later step", lambda run: (checkpoints(run) / "9").write_text("")),
        Damage(
            "a loop in the place of a later step",
            lambda run: (checkpoints(run) / "9").symlink_to(checkpoints(run) / "9"),
        ),
        Damage(
            "files of the user's among the checkpoints", lambda run: (checkpoints(run) / "notes.txt").write_text("mine")
        ),
        Damage(
            "no checkpoints in their folder",
            lambda run: _empty_folder(checkpoints(run)),
            {**everywhere(gone), "train": "but no checkpoints"},
        ),
        Damage(
            "no folder of checkpoints",
            lambda run: shutil.rmtree(checkpoints(run)),
            {**everywhere("holds no checkpoints"), "train": "but no checkpoints"},
        ),
        Damage(
            "a file in the place of the checkpoints",
            lambda run: (shutil.rmtree(checkpoints(run)), checkpoints(run).write_text(""))[0],
            everywhere("checkpoints"),
        ),
        Damage(
            "a loop in the place of the checkpoints", lambda run: to_loop(checkpoints(run)), everywhere("checkpoints")
        ),
    ]
