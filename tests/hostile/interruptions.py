"""Signals in every mode and command, and what else can happen to a process and its files."""

from tests.hostile import disturbances, moments
from tests.hostile.case import Case


def cases() -> list[Case]:
    """All of them."""
    return [*moments.cases(), *disturbances.cases()]
