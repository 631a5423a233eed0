"""Ranges of values: whether a value lies in one, and what to say if it does not."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pfgm_jax.errors import FieldError


class Range(NamedTuple):
    """The values that a field can have."""

    holds: Callable[[Any], bool]
    cure: str  # what to do about another value, as the rest of a sentence


def check(instance: Any, **ranges: Range) -> None:
    """Checks attributes of an object.

    Args:
      instance: whose attributes they are.
      **ranges: range of each attribute, by its name.

    Raises:
      FieldError: an attribute is out of its range.
    """
    for name, allowed in ranges.items():
        check_value(name, getattr(instance, name), allowed)


def check_value(name: str, value: Any, allowed: Range) -> None:
    """Checks one value.

    Raises:
      FieldError: the value is out of its range, or of another type.
    """
    try:
        holds = allowed.holds(value)
    except TypeError:
        holds = False
    if not holds:
        raise FieldError(name, value, allowed.cure)


def at_least(bound: float) -> Range:
    """Returns the range of finite numbers from a bound on."""
    return Range(lambda v: math.isfinite(v) and v >= bound, f"give a number of at least {bound}")


def above(bound: float) -> Range:
    """Returns the range of finite numbers above a bound."""
    return Range(lambda v: math.isfinite(v) and v > bound, f"give a number above {bound}")


def share() -> Range:
    """Returns the range of numbers from 0 on and below 1."""
    return Range(lambda v: 0 <= v < 1, "give a number of at least 0 and below 1")


def one_of(names: Iterable[str]) -> Range:
    """Returns the range of some names."""
    names = tuple(names)
    return Range(lambda v: v in names, f"choose one of {', '.join(names)}")


def all_are(types: type | tuple[type, ...], values: Any) -> bool:
    """Says whether values are a tuple of these types."""
    return isinstance(values, tuple) and all(isinstance(v, types) for v in values)


def descending() -> Range:
    """Returns the range of tuples of positive numbers, each below the one before it."""
    return Range(
        lambda v: all_are((int, float), v) and all(a > b > 0 for a, b in itertools.pairwise((math.inf, *v))),
        "give positive numbers, each below the one before it, such as (10.0,1.0,0.1), or ()",
    )
