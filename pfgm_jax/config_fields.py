"""Which fields a config can have, and of which types: checked once for all, for whatever is registered."""

import difflib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import ml_collections

from pfgm_jax import defaults, ranges
from pfgm_jax.errors import InputError, shown

log = logging.getLogger("pfgm_jax")

# Seeds are unsigned, and a size is one number or two.
_TYPED_BY_THEIR_RANGE = ("seed", "data.image_size")


def known_fields() -> dict[str, Any]:
    """Returns the default of every field, those of registered methods and samplers included, by "group.field"."""
    return dict(_items(defaults.get_config()))


def check_names(config: Any) -> None:
    """Checks that a config has no other fields than known ones, or such as the authors' release has.

    Raises:
      InputError: it has, or is no config.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        kind = type(config).__name__
        raise InputError(f"the config is of the type {kind}; give a ConfigDict, such as that of configs/digits.py")
    known = known_fields()
    groups = {path.split(".")[0] for path in known if "." in path}
    without_effect = []
    for path, value in _items(config):
        if path in groups:
            raise InputError(f"{path} is {shown(value)}; it is a group of fields, so set its fields one by one")
        if path in defaults.OF_THE_RELEASE:
            without_effect.append(path)
        elif path not in known:
            raise unknown_field(path, known)
    _tell_of(tuple(without_effect))


def check_types(config: ml_collections.ConfigDict) -> None:
    """Checks that every known field of a config has a value of its type.

    Raises:
      FieldError: one has another.
    """
    known = known_fields()
    for path, value in _items(config):
        if path in known:
            check_type(path, value, known[path])


def check_type(path: str, value: Any, default: Any) -> None:
    """Checks the type of a field's value.

    Raises:
      FieldError: it is of another type than the default, or a number that is none in float32.
    """
    if type(default) in ranges.TYPES and path not in _TYPED_BY_THEIR_RANGE:
        ranges.check_value(path, value, ranges.TYPES[type(default)])


def unknown_field(path: str, known: Any) -> InputError:
    """Creates the error of a field that does not exist, which names the one most like it."""
    near = difflib.get_close_matches(path, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return InputError(f"{path} is not a field of the config: {hint}pfgm_jax/defaults.py lists all")


def _items(config: ml_collections.ConfigDict) -> Iterator[tuple[str, Any]]:
    for name in config:
        value = _value(config, name, name)
        if isinstance(value, ml_collections.ConfigDict):
            yield from ((f"{name}.{field}", _value(value, field, f"{name}.{field}")) for field in value)
        else:
            yield name, value


def _value(group: ml_collections.ConfigDict, name: str, path: str) -> Any:
    try:
        return group[name]
    except Exception:  # a placeholder that must be filled in
        raise InputError(f"{path} has no value; set it with --config.{path}=VALUE") from None


@functools.cache
def _tell_of(fields: tuple[str, ...]) -> None:
    """Says once that fields of the authors' release are ignored."""
    if fields:
        log.info("Fields of the authors' release that have no effect here: %s", ", ".join(fields))
