"""Bad inputs of the command line and the library."""

from tests.hostile.case import Case


def cases() -> list[Case]:
    """All of them."""
    return []
