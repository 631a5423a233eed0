"""Ranges of values: whether a value lies in one, and what to say if it does not."""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from pfgm_jax.errors import FieldError

# The smallest positive number with all digits in float32, and the largest.
TINY, HUGE = 2.0**-126, (2 - 2.0**-23) * 2.0**127


class Range(NamedTuple):
    """The values that a field can have."""

    holds: Callable[[Any], bool]
    cure: str  # what to do about another value, as the rest of a sentence


def check(instance: Any, **ranges: Range) -> None:
    """Checks types and ranges of attributes of a dataclass.

    Args:
      instance: whose attributes they are.
      **ranges: range of each attribute, by its name.

    Raises:
      FieldError: an attribute is out of its range, or of another type than it is annotated with.
    """
    types = {field.name: field.type for field in dataclasses.fields(instance)}
    for name, allowed in ranges.items():
        value = getattr(instance, name)
        if types[name] in TYPES:
            check_value(name, value, TYPES[types[name]])
        check_value(name, value, allowed)


def check_value(name: str, value: Any, allowed: Range) -> None:
    """Checks one value.

    Raises:
      FieldError: the value is out of its range, or of another type.
    """
    try:
        holds = allowed.holds(value)
    except (TypeError, ValueError, OverflowError):
        holds = False
    if not holds:
        raise FieldError(name, value, allowed.cure)


def is_number(value: Any) -> bool:
    """Says whether a value is a number that float32 holds with all its digits, or infinite."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    size: Any = abs(value)
    return bool(size == 0 or TINY <= size <= HUGE or size == math.inf)


def is_integer(value: Any) -> bool:
    """Says whether a value is an integer that int32 holds."""
    return _is_integer(value) and abs(value) < 2**31


def is_seed(value: Any) -> bool:
    """Says whether a value is an integer that uint32 holds."""
    return _is_integer(value) and 0 <= value < 2**32


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Says whether a value is text of which files can be named."""
    return isinstance(value, str) and value.isprintable()


def at_least(bound: float) -> Range:
    """Returns the range of finite numbers from a bound on."""
    return Range(lambda v: is_number(v) and math.isfinite(v) and v >= bound, f"give a number of at least {bound}")


def above(bound: float) -> Range:
    """Returns the range of finite numbers above a bound."""
    return Range(lambda v: is_number(v) and math.isfinite(v) and v > bound, f"give a number above {bound}")


def share() -> Range:
    """Returns the range of numbers from 0 on and below 1."""
    return Range(
        lambda v: is_number(v) and v >= 0 and bool(np.float32(v) < 1),
        "give a number of at least 0 and below 1, also in float32",
    )


def one_of(names: Iterable[str]) -> Range:
    """Returns the range of some names."""
    names = tuple(names)
    return Range(lambda v: v in names, f"choose one of {', '.join(names)}")


def finite_numbers(values: Any) -> bool:
    """Says whether values are a tuple or list of finite numbers."""
    return isinstance(values, tuple | list) and all(is_number(v) and math.isfinite(v) for v in values)


def integers(values: Any) -> bool:
    """Says whether values are a tuple or list of integers."""
    return isinstance(values, tuple | list) and all(is_integer(v) for v in values)


def descending() -> Range:
    """Returns the range of tuples of positive numbers, each below the one before it."""
    return Range(
        lambda v: (
            isinstance(v, tuple) and finite_numbers(v) and all(a > b > 0 for a, b in itertools.pairwise((math.inf, *v)))
        ),
        "give positive numbers, each below the one before it, such as (10.0,1.0,0.1), or ()",
    )


# The values of each type of a field, beside which it has a range of its own.
TYPES: dict[Any, Range] = {
    bool: Range(lambda v: isinstance(v, bool), "give True or False"),
    int: Range(is_integer, "give an integer, of less than 2^31"),
    float: Range(is_number, "give a number, between 1.2e-38 and 3.4e38 unless it is 0"),
    str: Range(is_text, "give text without line breaks or control characters"),
    tuple: Range(lambda v: isinstance(v, tuple | list), "give a tuple, such as (1,2)"),
}
