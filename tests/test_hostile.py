"""A tenth of `python -m tests.hostile`, evenly spread over each kind."""

import pytest

from tests.hostile.kinds import KINDS, cases_of, every


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind in KINDS for case in every(cases_of(kind), 0.1)],
    ids=lambda v: v if isinstance(v, str) else v.name,
)
def test_a_hostile_case_is_held(kind, case, tmp_path):
    case.attempt(tmp_path)
