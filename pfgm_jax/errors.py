"""Errors that are addressed to the user: the command line prints their one sentence, without a traceback."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class PfgmError(Exception):
    """Base class of all errors that are addressed to the user."""


class InputError(PfgmError, ValueError):
    """The user gave something wrong; the text names the field or file, its value, and what to do."""


def shown(value: Any) -> str:
    """Returns a value as a user wrote it, as one short printable line."""
    try:
        text = repr(value)
    except Exception:  # of an integer of thousands of digits, or of an object of the user's own
        text = f"a value of the type {type(value).__name__}"
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:300]).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def listed(names: Iterable[str]) -> str:
    """Returns names of a user's or a file's, as one short printable line; "none" if there are none."""
    return shown(", ".join(names))[1:-1] or "none"


class FieldError(InputError):
    """An attribute of an object has a value that it cannot have.

    Attributes:
      field: name of the attribute.
      value: what it is.
      cure: what to do, as the rest of a sentence.
    """

    def __init__(self, field: str, value: Any, cure: str):
        super().__init__(f"{field} is {shown(value)}; {cure}")
        self.field, self.value, self.cure = field, value, cure


class TrainingError(PfgmError, RuntimeError):
    """Training cannot go on; what is on disk is good."""


class SolveError(PfgmError, RuntimeError):
    """An ODE solve did not reach its end."""


class StorageError(PfgmError, RuntimeError):
    """Something cannot be written; what is on disk is good."""


class WorkdirInUseError(InputError):
    """Another run is writing in the workdir."""


@contextlib.contextmanager
def named_by(paths: Mapping[str, str]) -> Iterator[None]:
    """Names attributes by their config fields in the errors raised inside.

    Args:
      paths: the config field of each attribute; a `cure` names others in backticks.

    Raises:
      FieldError: of the config field, instead of one of the attribute.
    """
    try:
        yield
    except FieldError as error:
        cure = re.sub("`([^`]+)`", lambda name: paths.get(name[1], name[1]), error.cure)
        raise FieldError(paths.get(error.field, error.field), error.value, cure) from None
