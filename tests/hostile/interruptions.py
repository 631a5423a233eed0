"""Signals in every mode, and processes that die."""

from tests.hostile.case import Case


def cases() -> list[Case]:
    """All of them."""
    return []
