"""What a hostile test is."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pfgm_jax.errors import PfgmError

# What a sentence for users does not contain.
INTERNALS = ("Traceback", "invalid literal", "NoneType", "object has no attribute", "object is not", "pickle.load")


class Case(NamedTuple):
    """One thing that a clumsy user or an attacker would do.

    Attributes:
      name: says what is tried.
      attempt: tries it, in an empty folder of its own; raises an error where the project does not hold.
    """

    name: str
    attempt: Callable[[Path], None]


def assert_sentence(text: str, *named: str) -> None:
    """Asserts that a message is one sentence that names what it must, without the words of a library."""
    assert text.strip() and "\n" not in text.strip(), text
    assert len(text) < 1000, text
    assert not [word for word in INTERNALS if word in text], text
    assert all(name in text for name in named), (named, text)


def assert_refused(act: Callable[[], object], *named: str) -> None:
    """Asserts that an act raises one of the project's own errors, whose sentence names what it must."""
    try:
        act()
    except PfgmError as error:
        assert_sentence(str(error), *named)
    else:
        raise AssertionError("accepted without a word")


def plainly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Calls a function as users have it: while tests run, annotations would be checked before it."""
    return inspect.unwrap(function)(*arguments, **options)
