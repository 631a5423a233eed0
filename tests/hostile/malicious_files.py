"""Files that would run code, exhaust memory, or are not what their name says."""

from tests.hostile.case import Case


def cases() -> list[Case]:
    """All of them."""
    return []
