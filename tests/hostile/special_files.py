"""Links, pipes, devices and folders in the place of files, and names that lead elsewhere, for whatever is opened."""

import os
from pathlib import Path

from configs import digits
from pfgm_jax import build, config
from tests.hostile import readers
from tests.hostile.case import Case, assert_refused
from tests.hostile.readers import harmless, watched


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


# What stands in the place of a file.
KINDS = {
    "a pipe that nobody writes": _pipe,
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a folder": lambda path: path.symlink_to(path.parent),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to a password": lambda path: path.symlink_to("/etc/passwd"),
    "a link to its memory": lambda path: path.symlink_to("/proc/self/mem"),
    "nothing to read": lambda path: path.write_bytes(b""),
}


def _attempt(make, name, read):
    def attempt(folder):
        with watched(folder) as inner:
            make(inner / name)
            harmless(read, inner / name)

    return attempt


def _name(field, value):
    def attempt(folder):
        with watched(folder):
            made = digits.get_config()
            made.update_from_flattened_dict({field: value})

            def act():
                config.validate(made)
                build.load_dataset(made)

            assert_refused(act)

    return attempt


# Names that would be imported, or be read elsewhere, if they were more than names.
NAMES = (
    ("model.name", "os:system"),
    ("model.name", "pfgm_jax.models.mlp:MLP"),
    ("training.sde", "subprocess:Popen"),
    ("sampling.ode_solver", "builtins:eval"),
    ("sampling.method", "os:abort"),
    ("eval.features", "os:system"),
    ("model.nonlinearity", "__import__('os').system('touch executed')"),
    ("data.dataset", "os:system"),
    ("data.dataset", "arrays:|touch executed"),
    ("data.dataset", "arrays:/etc/passwd"),
    ("data.dataset", "arrays:~nobody-like-this/x.npy"),
    ("data.dataset", "arrays:" + "../" * 60 + "etc/passwd"),
    ("data.dataset", "arrays:" + "a" * 5000),
    ("data.dataset", "folder:/proc/self/fd"),
    ("data.dataset", "folder:" + "a" * 5000),
    ("data.dataset", "tfds:../../etc"),
    ("data.dataset", "tfds:os.system('touch executed')"),
)


def _link_out_of_folder(folder):
    """Links in a folder of pictures to a picture elsewhere are read, and to folders are not followed."""
    with watched(folder) as inner:
        (inner / "up.png").symlink_to("/etc/passwd")
        (inner / "round").symlink_to(inner)
        (inner / "root").symlink_to("/")
        for _, read in readers.PICTURES.values():
            harmless(read, inner / "up.png")


def cases() -> list[Case]:
    """All of them."""
    groups = (readers.ARRAYS, readers.TORCH, readers.JSON, readers.CONFIGS, readers.PICTURES)
    opened = {what: entry for group in groups for what, entry in group.items()}
    made = []
    for i, (kind, make) in enumerate(KINDS.items()):
        for j, (what, (name, read)) in enumerate(opened.items()):
            if (i + j) % 3 == 0 or what == "arrays:" or kind == "a pipe that nobody writes":
                made.append(Case(f"{kind}, read as {what}", _attempt(make, name, read)))
    made.append(
        Case(
            "a sparse file of a terabyte as JSON", _attempt(_sparse, "config.json", readers.JSON["configs of runs"][1])
        )
    )
    sparse = (("config.json", readers.JSON["configs of runs"]), ("x.pth", readers.TORCH["checkpoints"]))
    for name, (_, read) in (*sparse, ("data.npy", readers.ARRAYS["arrays:"])):
        made.append(Case(f"a sparse file of a terabyte named {name}", _attempt(_sparse, name, read)))
    made.append(Case("links in a folder of pictures", _link_out_of_folder))
    return [*made, *(Case(f"{field} = {value[:40]}", _name(field, value)) for field, value in NAMES)]
