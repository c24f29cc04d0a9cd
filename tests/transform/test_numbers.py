"""Numbers made less exact; tags in the place of values; which types a method takes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from anonymize.policy.model import Rule
from anonymize.transform import accepts, numbers, output_type


def test_round_and_code_keep_the_type_and_nulls() -> None:
    assert numbers.round_to(pa.array([1.25, None, 1.35]), 1).to_pylist() == [1.2, None, 1.4]
    assert numbers.round_to(pa.array([1234, None]), -2).to_pylist() == [1200, None]
    assert numbers.code(pa.array([95, 12, None, 3]), top=90, bottom=5).to_pylist() == [90, 12, None, 5]


def test_redact_leaves_a_tag() -> None:
    assert numbers.redact(pa.array(["Ann", None]), "[NAME]").to_pylist() == ["[NAME]", None]


@pytest.mark.parametrize(
    ("rule", "type"),
    [("date shift", pa.float64()), ("plain round 1", pa.string()), ("identifier pseudonym", pa.float64()), ("text", pa.int64())],
)
def test_a_method_says_which_types_it_takes(rule: str, type: pa.DataType) -> None:
    assert "takes" in (accepts(Rule.model_validate(rule), type) or "")


def test_output_types() -> None:
    assert output_type(Rule.model_validate("identifier"), pa.int32()) == pa.int64()
    assert output_type(Rule.model_validate("date year"), pa.string()) == pa.int32()
    assert output_type(Rule.model_validate("plain"), pa.float32()) == pa.float32()
