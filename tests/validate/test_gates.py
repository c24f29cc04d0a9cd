"""Gates fail closed, all are judged, and a steward is told what failed."""

from __future__ import annotations

import pytest

from anonymize.errors import GateFailed
from anonymize.validate.gates import judge, require

SECRET = "Kowalczyk"


def broken() -> tuple[bool, list[str]]:
    raise ValueError(SECRET)


def test_all_are_judged_and_one_that_breaks_has_failed_without_its_message() -> None:
    verdicts = judge({"a": lambda: (True, ["fine"]), "b": broken, "c": lambda: (False, ["too many"]), "d": lambda: (True, [])})
    assert [(v.gate, v.passed) for v in verdicts] == [("a", True), ("b", False), ("c", False), ("d", True)]
    with pytest.raises(GateFailed) as error:
        require(verdicts)
    said = str(error.value)
    assert "b: could not be judged (ValueError), so it counts as failed" in said
    assert "c: too many" in said
    assert "a: " not in said
    assert SECRET not in said
    assert error.value.__cause__ is None


def test_a_gate_that_fails_without_a_word_is_named_all_the_same() -> None:
    with pytest.raises(GateFailed, match="silent"):
        require(judge({"silent": lambda: (False, [])}))


def test_all_passed() -> None:
    require(judge({"a": lambda: (True, ["fine"])}))
