"""Our replacements in an AnonymizerEngine of Presidio."""

from __future__ import annotations

import pytest
from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import OperatorConfig, RecognizerResult

from anonymize.policy.model import Kind
from anonymize.transform.presidio import SurrogateOperator, TagOperator

TEXT = "Anna Weber came on March 4, 2024."
FOUND = [RecognizerResult("NAME", 0, 10, 0.9), RecognizerResult("DATE", 19, 32, 0.9)]


def anonymized(name: dict[str, object], date: dict[str, object], operator: str) -> str:
    engine = AnonymizerEngine()
    engine.add_anonymizer(TagOperator)
    engine.add_anonymizer(SurrogateOperator)
    operators = {"NAME": OperatorConfig(operator, name), "DATE": OperatorConfig(operator, date)}
    return str(engine.anonymize(text=TEXT, analyzer_results=FOUND, operators=operators).text)


def test_tags_and_dates_that_move() -> None:
    assert anonymized({"kind": Kind.NAME}, {"kind": Kind.DATE, "days": 3}, "anonymize_tag") == "[NAME] came on March 7, 2024."


def test_surrogates_are_the_same_for_the_same_value() -> None:
    given = {"kind": Kind.NAME, "secret": b"s" * 32, "subject": "7"}
    once, again = (anonymized(given, {"kind": Kind.DATE}, "anonymize_surrogate") for _ in range(2))
    assert once == again
    assert "Weber" not in once
    assert "[NAME]" not in once


def test_a_kind_is_needed() -> None:
    with pytest.raises(ValueError, match="kind"):
        TagOperator().validate({})
