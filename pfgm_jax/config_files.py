"""Configs as files: reading, writing and comparing them, and finding those of the paper by name."""

import json
import sys
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from pfgm_jax import config_fields, defaults
from pfgm_jax.errors import InputError, shown
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
    if not path.is_file():
        raise InputError(f"the config is {shown(name)}; choose one of {', '.join(experiments())}")
    return load_file(path)


def load_file(path: Path, *arguments: str) -> ml_collections.ConfigDict:
    """Runs a config file and returns what its function get_config returns.

    Args:
      path: of the file.
      *arguments: of get_config.

    Raises:
      InputError: there is no such file, it fails in any way, or its config has unknown fields or values of other types.
    """
    where = f"--config is {path}"
    if not path.is_file():
        names = ", ".join(experiments())
        raise InputError(f"{where}, and there is no such file; give the path of one, or one of {names}")
    module = types.ModuleType(f"pfgm_jax_config_{path.stem}")
    module.__file__, sys.modules[module.__name__] = str(path), module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        get_config = getattr(module, "get_config", None)
        config = get_config(*arguments) if callable(get_config) else None
    except (Exception, SystemExit) as error:  # it is the user's program
        raise InputError(f"{where}, which fails {_failure(error, path)}; mend the file") from None
    if not callable(get_config):
        raise InputError(f"{where}, a file without a function get_config; see configs/digits.py for one")
    if not isinstance(config, ml_collections.ConfigDict):
        kind = "nothing" if config is None else f"a value of the type {type(config).__name__}"
        raise InputError(f"{where}, whose get_config returns {kind}; return a ConfigDict, as configs/digits.py does")
    if config.is_locked and type(config) is not ml_collections.ConfigDict:
        config = ml_collections.ConfigDict(config.to_dict())  # which can be overridden
    try:
        config_fields.check(config)
    except InputError as error:
        raise InputError(f"{error}, in {path}") from None
    return config


def _failure(error: BaseException, path: Path) -> str:
    """Says in which line of a config file, and with what, it fails."""
    if isinstance(error, SyntaxError):
        return f"in line {error.lineno or 1} with a mistake in its Python"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"in line {frames[-1].lineno} ({shown(frames[-1].line)[1:-1]}) " if frames else ""
    if isinstance(error, SystemExit):
        return f"{place}by leaving Python"
    # What other errors say is often in the words of a library.
    text = f": {shown(str(error))[1:-1]}" if isinstance(error, InputError | OSError | ImportError) else ""
    return f"{place}with {type(error).__name__}{text}"


def override(config: ml_collections.ConfigDict, overrides: Mapping[str, Any]) -> None:
    """Sets fields of a config.

    Args:
      config: of a run.
      overrides: values by "group.field".

    Raises:
      InputError: there is no such field, or its value is of another type.
    """
    known = config_fields.known_fields()
    for path, value in overrides.items():
        if path not in known:
            raise config_fields.unknown_field(path, known)
        put(config, path, config_fields.converted(path, value, known[path]))


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
    tuples = lambda v: tuple(map(tuples, v)) if isinstance(v, list) else v
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

    Fields that are younger than the run get their defaults; those that are unknown here are left out, as of a method
    that was registered then, and is not now.

    Raises:
      InputError: there is no run, or its config.json is damaged.
    """
    path = workdir / "config.json"
    cure = "restore it, or choose another --workdir"
    try:
        saved = read_json(path, cure)
    except FileNotFoundError:
        raise InputError(f"--workdir is {workdir}, which holds no run; train first, with --mode train") from None
    return completed(saved, str(path), cure)


def completed(saved: Any, where: str, cure: str) -> ml_collections.ConfigDict:
    """Converts the saved values of a run's config, of this version or an earlier one, see `read`.

    Args:
      saved: what `to_dict` returned.
      where: they are from, for messages.
      cure: what to do about damage, as the rest of a sentence.

    Raises:
      InputError: they are damaged.
    """
    try:
        for group in ("data", "training", "sampling", "model", "optim"):
            saved[group]  # every run has them
        read = {}
        for group, fields in to_dict(defaults.get_config()).items():
            if isinstance(fields, dict):
                values = saved.get(group, {})
                read[group] = {name: values.get(name, default) for name, default in fields.items()}
            else:
                read[group] = saved.get(group, fields)
        config = from_dict(read)
        config_fields.check(config)
        return config
    except InputError as error:
        raise InputError(f"{where} is damaged ({error}); {cure}") from None
    except (ValueError, AttributeError, KeyError, TypeError):
        raise InputError(f"{where} is damaged; {cure}") from None
