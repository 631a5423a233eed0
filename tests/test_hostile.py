"""A twentieth of `python -m tests.hostile`, evenly spread over each kind."""

import pickle

import pytest

from tests.hostile.kinds import KINDS, cases_of, every
from tests.hostile.malicious_pickles import payloads
from tests.hostile.readers import watched


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind in KINDS for case in every(cases_of(kind), 0.05)],
    ids=lambda v: v if isinstance(v, str) else v.name,
)
def test_a_hostile_case_is_held(kind, case, tmp_path):
    case.attempt(tmp_path)


@pytest.mark.parametrize("kind", ["os.system", "eval", "exec", "touch", "subprocess"])
def test_the_canary_of_malicious_files_notices_what_is_executed(kind, tmp_path):
    with pytest.raises(AssertionError, match="it was executed"), watched(tmp_path):
        pickle.loads(pickle.dumps(payloads(tmp_path / "executed")[kind]))


def test_the_canary_notices_what_is_written_outside(tmp_path):
    with pytest.raises(AssertionError, match="it wrote"), watched(tmp_path) as inner:
        (inner.parent / "outside").write_text("x")
