"""Damaged checkpoints and workdirs."""

from tests.hostile import damaged_checkpoints, damaged_workdirs
from tests.hostile.case import Case
from tests.hostile.damaged_run import case_of


def cases() -> list[Case]:
    """All of them."""
    return [case_of(damage) for damage in (*damaged_checkpoints.damages(), *damaged_workdirs.damages())]
