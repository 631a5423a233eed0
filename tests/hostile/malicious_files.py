"""Files that an attacker made, for everything that opens files: nothing in them is executed or fills the memory."""

from tests.hostile import malicious_archives, malicious_pickles, malicious_pictures, special_files
from tests.hostile.case import Case


def cases() -> list[Case]:
    """All of them."""
    parts = (malicious_pickles, malicious_archives, malicious_pictures, special_files)
    return [case for part in parts for case in part.cases()]
