"""Bad inputs of the command line and the library."""

from tests.hostile import bad_calls, bad_config, bad_flags
from tests.hostile.case import Case


def cases() -> list[Case]:
    """All of them."""
    return [*bad_config.cases(), *bad_flags.cases(), *bad_calls.cases()]
