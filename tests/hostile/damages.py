"""Damaged checkpoints and workdirs."""

from tests.hostile.case import Case


def cases() -> list[Case]:
    """All of them."""
    return []
