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

# Fields of the authors' release that have no effect here.
IGNORED = defaults.OF_THE_RELEASE
# Seeds are unsigned; a size, and a scale, is one number or several.
_TYPED_BY_THEIR_RANGE = ("seed", "data.image_size", "data.scale", "sampling.label", "restore.mask", "restore.kernel")


def known_fields() -> dict[str, Any]:
    """Returns the default of every field, those of registered methods and samplers included, by "group.field"."""
    return dict(_items(defaults.get_config()))


def check(config: Any) -> None:
    """Checks that each field of a config is known, or such as the authors' release has, and has a value of its type.

    Fields that are missing are left to whoever reads them.

    Raises:
      InputError: a field is not, or it is no config.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        raise InputError(f"the config is {shown(config)}; give a ConfigDict, such as that of configs/digits.py")
    known = known_fields()
    groups = {path.split(".")[0] for path in known if "." in path}
    without_effect = []
    for path, value in _items(config):
        if path in groups:
            raise InputError(f"{path} is {shown(value)}; it is a group of fields, so set its fields one by one")
        if path in known:
            check_type(path, value, known[path])
        elif path in IGNORED:
            without_effect.append(path)
        else:
            raise unknown_field(path, known)
    _tell_of(tuple(without_effect))


def check_type(path: str, value: Any, default: Any) -> None:
    """Checks the type of a field's value.

    Raises:
      FieldError: it is of another type than the default, or a number that is none in float32.
    """
    if type(default) in ranges.TYPES and path not in _TYPED_BY_THEIR_RANGE:
        ranges.check_value(path, value, ranges.TYPES[type(default)])


def converted(path: str, value: Any, default: Any) -> Any:
    """Converts a field's value to the type of its default: an integer to a number, a list to a tuple.

    Raises:
      FieldError: it is of another type.
    """
    check_type(path, value, default)
    plain = type(default)(value) if type(default) in ranges.TYPES and path not in _TYPED_BY_THEIR_RANGE else value
    return tuple(plain) if isinstance(plain, list) else plain


def wanted(path: str) -> str:
    """Says what to give for a field, as the rest of a sentence."""
    default = known_fields().get(path)
    return ranges.TYPES[type(default)].cure if type(default) in ranges.TYPES else "give another value"


def unknown_field(path: str, known: Any) -> InputError:
    """Creates the error of a field that does not exist, which names the one most like it."""
    if path in IGNORED:
        return InputError(f"{path} is a field of the authors' release that has no effect here; leave it out")
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
