"""Tries everything hostile that we know, and prints a table: python -m tests.hostile [--share 0.1] [--kind KIND]."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from tests import hostile
from tests.hostile.kinds import KINDS, cases_of, every


def attempt(case):
    """The error with which a case fails; None if the project holds."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            case.attempt(Path(folder))
        except Exception as error:
            return error
    return None


def main():
    parser = argparse.ArgumentParser(description=hostile.__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="try so large a share of each kind, evenly spread")
    parser.add_argument("--kind", choices=KINDS, action="append", help="one kind only")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    total = failed = 0
    print(f"{'kind':16}{'tried':>8}{'held':>8}")
    for kind in arguments.kind or KINDS:
        cases = every(cases_of(kind), arguments.share)
        errors = {case.name: error for case in cases if (error := attempt(case)) is not None}
        print(f"{kind:16}{len(cases):8}{len(cases) - len(errors):8}", flush=True)
        for name, error in errors.items():
            print(f"    {name}: {type(error).__name__}: {error}"[:500], file=sys.stderr)
        total, failed = total + len(cases), failed + len(errors)
    print(f"{'all':16}{total:8}{total - failed:8}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
