"""The sieve spares searches and changes nothing: what it lets through is what every expression finds by itself."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from anonymize.detect.patterns import patterns
from anonymize.detect.required import Required, requirements
from anonymize.detect.sieve import Sieve, folded

Spans = list[tuple[int, int, int]]


def searched(expressions: list[regex.Pattern[str]], text: str) -> Spans:
    return [(number, *match.span()) for number, expression in enumerate(expressions) for match in expression.finditer(text)]


def sieved(sieve: Sieve, text: str) -> Spans:
    return [(number, *match.span()) for number, match in sieve.matches(text)]


@cache
def rules() -> tuple[list[regex.Pattern[str]], Sieve]:
    expressions = [pattern.regex for pattern in patterns()]
    return expressions, Sieve(expressions)


@cache
def fragments() -> list[str]:
    """What the rules look for, in any case, and what could be taken for it."""
    asked = [requirements(e.pattern, ignore_case=bool(e.flags & regex.IGNORECASE)) for e in rules()[0]]
    literals = {text for one in asked for some in (one.starts, *one.literals) for text, _, _ in some}
    odd = [
        "İ",
        "ſ",
        "\u212a",
        "ß",
        "é",
        "É",
        "ﬁ",
        "\u0661",
        "²",
        "\u0301",
        "😀",
        "_",
        "\t",
        "\n",
        "  ",
        "Anna",
        "Rosé",
        "K. Lee",
        "12",
        "3/4",
        "2019",
        "90",
    ]
    forms = {form for text in literals for form in (text, text.upper(), text.title(), text.replace("s", "ſ").replace("k", "\u212a"))}
    return [*sorted(forms), *odd, *"0123456789 .,:;-/()|@#'\"=&^~"]


def test_every_rule_can_be_read() -> None:
    unread = [p.name for p in patterns() if requirements(p.regex.pattern, ignore_case=True) == Required()]
    assert len(unread) < len(patterns()) / 10, unread


def test_the_rules_find_in_the_spec_cases_what_they_find_by_themselves() -> None:
    expressions, sieve = rules()
    cases = YAML(typ="safe").load(Path(__file__).with_name("cases.yaml"))["found"]
    texts = [case[0] for kind in cases.values() for case in kind]
    texts += [(files("anonymize.detect") / "data" / "rules" / "README.md").read_text(encoding="utf-8"), "\n".join(texts)]
    for text in texts:
        for written in (text, text.upper(), text.lower()):
            assert sieved(sieve, written) == searched(expressions, written)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_the_rules_find_in_any_text_what_they_find_by_themselves(data: st.DataObject) -> None:
    expressions, sieve = rules()
    pieces = st.lists(st.one_of(st.sampled_from(fragments()), st.text(max_size=4)), max_size=25)
    text = data.draw(st.sampled_from(["", " "])).join(data.draw(pieces))
    assert sieved(sieve, text) == searched(expressions, text)


TRICKY = (
    r"\b(?:ab?c|d)+\d{2,}",
    r"(?:the )?(?:first|last)(?= day)\b",
    r"(?i:Dear|hi),? \b(?:Ms|Mr)\.?",
    r"(?<!x)(?:foo|foobar|fo)\b[ab]?",
    r"(a|b)\1c(?:d|)e",
    r"(?>ab|a)c|x*+yz",
    r"(?:12|3\d)?-(?:\d\d){2}",
    r"(?=[a-z]*\d)[a-z\d]{4,}",
    r"[^a]b|\Wcd|\w+e",
    r"(?m)^(?:-|)[ ]*end$",
    r"ni[ñn]os?\b(?:x|(?i:Y)z)?",
    r"(?:abcdefghij){2}|k{3}",
    r"(?:as|K)s(?-i:K)",
    r"(?:St|Mt)\b\.? ?x",
)


@pytest.mark.parametrize("expression", TRICKY)
@pytest.mark.parametrize("flags", [0, regex.IGNORECASE])
def test_what_matches_is_never_sieved_out(expression: str, flags: int) -> None:
    compiled = regex.compile(expression, regex.VERSION0 | flags)
    sieve = Sieve([compiled])

    @settings(deadline=None, max_examples=40, database=None)
    @given(st.lists(st.one_of(st.from_regex(re.compile(expression, re.IGNORECASE if flags else 0)), st.text(max_size=3)), max_size=4))
    def agree(pieces: list[str]) -> None:
        for text in ("".join(pieces), " ".join(pieces)):
            assert sieved(sieve, text) == searched([compiled], text)

    agree()


@pytest.mark.parametrize(
    ("expression", "starts", "digits", "run"),
    [
        (r"\b(?:room|rm)\b[ ]\d{2,}", {("room", True, True), ("rm", True, True)}, 2, 2),
        (r"\b(?:rooms?|bed) ?\d-\d", {("room", True, False), ("bed", True, False)}, 2, 1),
        (r"\w+ \d{3}[- ]\d{4}", set(), 7, 4),
        (r"(?:\d{3}|x)-?", set(), 0, 0),
        (r"(?-i:Ab)c", {("abc", True, False)}, 0, 0),
    ],
)
def test_what_every_match_holds_is_read_out_of_the_expression(
    expression: str, starts: set[tuple[str, bool, bool]], digits: int, run: int
) -> None:
    read = requirements(expression, ignore_case=True)
    assert (set(read.starts), read.digits, read.run) == (starts, digits, run)


def test_an_expression_that_cannot_be_read_is_searched_everywhere() -> None:
    expression = regex.compile(r"x\b?y(?P<phi>z)|(?P<phi>a)")
    assert requirements(expression.pattern) == Required()
    assert sieved(Sieve([expression]), "a xyz") == searched([expression], "a xyz")


def test_folding_keeps_the_length_and_brings_together_whatever_case_makes_the_same() -> None:
    every = "".join(chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) != "Cs")
    assert len(folded(every)) == len(every)
    signs = [*"abcdefghijklmnopqrstuvwxyz", *map(chr, range(0xE0, 0x100))]
    for sign in signs:
        assert {folded(found) for found in regex.findall(f"(?i){sign}", every)} == {sign}
