"""Configs as files: reading, writing and comparing them, and finding those of the paper by name."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections

from pfgm_jax import defaults
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.reading import read_json


def folder_of_experiments() -> Path:
    """Returns the folder of the paper's configs: in the package if it was installed from a wheel, else beside it."""
    package = Path(__file__).parent
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def experiments() -> list[str]:
    """Lists the names of the paper's configs."""
    return sorted(path.stem for path in folder_of_experiments().glob("[!_]*.py"))


def load_experiment(name: str) -> ml_collections.ConfigDict:
    """Returns the config of a name such as "celeba": that of configs/celeba.py.

    Raises:
      InputError: there is no such config.
    """
    path = folder_of_experiments() / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"pfgm_jax_config_{name}", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError(f"the config is {name!r}; choose one of {', '.join(experiments())}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def get(config: ml_collections.ConfigDict, path: str) -> Any:
    """Returns the value of a field.

    Raises:
      InputError: the config has no such field.
    """
    value: Any = config
    for name in path.split("."):
        if name not in value:
            raise InputError(f"{path} is missing from the config; begin with pfgm_jax/defaults.py")
        value = value[name]
    return value


def put(config: ml_collections.ConfigDict, path: str, value: Any) -> None:
    """Sets a field, whatever type its value had."""
    *groups, name = path.split(".")
    with config.ignore_type():
        (get(config, groups[0]) if groups else config)[name] = value


def differences(
    config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict, paths: Sequence[str] | None = None
) -> list[str]:
    """Lists the fields in which two configs differ, each as "field is this, and was that".

    Args:
      config, saved: now, and before.
      paths: the fields to look at; None for all.
    """
    now, before = (flat(to_dict(c)) for c in (config, saved))
    paths = paths or sorted(now)
    return [f"{p} is {now[p]!r}, and was {before.get(p)!r}" for p in paths if now[p] != before.get(p)]


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Flattens groups of fields: "group.field" -> value."""
    groups = {k: v if isinstance(v, dict) else {"": v} for k, v in values.items()}
    return {f"{group}.{name}".rstrip("."): value for group, fields in groups.items() for name, value in fields.items()}


def to_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Converts a config to plain JSON values."""
    return json.loads(json.dumps(config.to_dict()))


def from_dict(values: dict[str, Any]) -> ml_collections.ConfigDict:
    """Converts the values of `to_dict` back to a config; lists become tuples."""
    tuples = lambda v: tuple(v) if isinstance(v, list) else v
    return ml_collections.ConfigDict(
        {k: {n: tuples(w) for n, w in v.items()} if isinstance(v, dict) else v for k, v in values.items()}
    )


def write(config: ml_collections.ConfigDict, workdir: Folder) -> None:
    """Saves a config as config.json of a workdir, atomically."""
    content = json.dumps(to_dict(config), indent=1) + "\n"
    write_whole(workdir / "config.json", content.encode())


def make_folder(path: Folder) -> None:
    """Creates the folder of a run.

    Raises:
      InputError: it cannot be made there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"--workdir is {path}, which is a file or lies in one; name a folder") from None
    except OSError as error:
        raise InputError(f"--workdir is {path}, which cannot be made ({error.strerror}); name another") from None


def read(workdir: Folder) -> ml_collections.ConfigDict:
    """Reads the config that the run in a workdir was started with, filled in.

    Fields that are younger than the run get their defaults.

    Raises:
      InputError: there is no run, or its config.json is damaged.
    """
    path = workdir / "config.json"
    try:
        saved = read_json(path, "restore it, or choose another --workdir")
        for group in ("data", "training", "sampling", "model", "optim"):
            saved[group]  # every run has them
        for group, fields in to_dict(defaults.get_config()).items():
            saved[group] = {**fields, **saved.get(group, {})} if isinstance(fields, dict) else saved.get(group, fields)
        return from_dict(saved)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"--workdir is {workdir}, which holds no run; train first, with --mode train") from None
    except (ValueError, AttributeError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; restore it, or choose another --workdir") from None
