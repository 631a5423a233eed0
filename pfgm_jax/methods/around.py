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
    kind = type(method)
    return type(f"{name}{kind.__name__}", (kind,), dict(members))(**_attributes(method))


def within(method: Method, kind: type[Method]) -> Method:
    """Returns the method of a type `kind` that a method is around.

    One of a method's functions may call another; called on this one, they do not get back to those around it.
    """
    return kind(**_attributes(method))


def _attributes(method: Method) -> dict[str, Any]:
    return {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
