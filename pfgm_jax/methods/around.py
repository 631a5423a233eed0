"""Methods around a method: of its own type, so that the same samplers take them, but with other answers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pfgm_jax.methods.base import Method


def around(method: Method, name: str, members: Mapping[str, Any]) -> Method:
    """Returns a method with some members of its own, and everything else as the method has it.

    Args:
      method: what it is around.
      name: what the name of its type begins with.
      members: functions, properties and class attributes, by name.
    """
    return as_kind(method, type_around(type(method), name, members))


def type_around(kind: type[Method], name: str, members: Mapping[str, Any]) -> type[Method]:
    """Returns the type of methods around those of a type; for the arguments see `around`."""
    return type(f"{name}{kind.__name__}", (kind,), dict(members))


def as_kind(method: Method, kind: type[Method]) -> Method:
    """Returns the method of another type with the same attributes, such as the one that a method is around.

    One of a method's functions may call another; called on the inner one, they do not get back to those around it.
    """
    return kind(**{field.name: getattr(method, field.name) for field in dataclasses.fields(method)})
