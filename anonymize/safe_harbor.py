"""HIPAA's Safe Harbor and limited data set, held against a policy: each of the law's identifiers is covered, or named.

Source: 45 CFR 164.514(b)(2)(i)(A)-(R), in `policy/profiles.yaml`; 164.514(e)(2)(i)-(xvi), in `policy/limited.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from anonymize.detect.columns import guess, names_one_of, tells_birth
from anonymize.policy.model import Kind, Method, Policy, Role, Rule


@dataclass(frozen=True)
class Coverage:
    """One identifier's standing. covered: `table.column` (method) that hold it and are treated as the law asks; held_back: columns of the
    sources that the policy does not name; violated: (table, column, what is wrong). With none of them no column of the kind is known."""

    letter: str
    name: str
    covered: tuple[str, ...]
    held_back: tuple[str, ...]
    violated: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        if self.violated:
            state = "VIOLATED by " + ", ".join(f"{table}.{column}" for table, column, _ in self.violated)
        elif self.covered or self.held_back:
            state = "covered: " + ", ".join([*self.covered, *(f"{column} (stays out)" for column in self.held_back)])
        else:
            state = "no column of this kind is known: confirm that the sources hold none"
        return f"({self.letter}) {self.name}: {state}"


#: The law that a profile asks for, and the file with its identifiers. An expert looks at what Safe Harbor would not take.
LAWS = {"hipaa-limited-data-set": ("a limited data set", "limited.yaml")}
SAFE_HARBOR = ("Safe Harbor", "profiles.yaml")


def coverage(policy: Policy, left_out: Mapping[str, Sequence[str]]) -> list[Coverage]:
    """All identifiers of the law that the policy's profile asks for, in order: Safe Harbor's 18, or a limited data set's 16.

    left_out: table -> columns of the live source that the policy does not name.
    """
    found, now = [], datetime.now(UTC).year
    law, file = LAWS.get(policy.profile, SAFE_HARBOR)
    for entry in _identifiers(file):
        kinds = {Kind(kind) for kind in entry["kinds"]}
        rules = [(table, column, rule) for table, spec in policy.tables.items() for column, rule in spec.columns.items()]
        about = [(table, column, rule) for table, column, rule in rules if _kind(column, rule) in kinds]
        held = [f"{table}.{column}" for table, columns in left_out.items() for column in columns if (g := guess(column)) and g.kind in kinds]
        wrong = [(table, column, what) for table, column, rule in about if (what := _wrong(entry, column, rule, now, law))]
        if Kind.DATE in kinds:
            wrong += [(table, column, what) for table, column, rule in rules if (what := _wrong_within(policy, table, rule, now))]
        bad = {(table, column) for table, column, _ in wrong}
        right = [f"{table}.{column} ({rule.method})" for table, column, rule in about if (table, column) not in bad]
        found.append(Coverage(entry["letter"], entry["name"], tuple(right), tuple(held), tuple(wrong)))
    return found


def _kind(column: str, rule: Rule) -> Kind | None:
    """What PHI a column holds: as the policy says, as its role says, or as its name says."""
    if rule.kind is not None:
        return rule.kind
    if rule.role is Role.DATE or (rule.hierarchy or "").split(":")[0] in ("date", "week", "birth-year", "age"):
        return Kind.DATE
    if (rule.hierarchy or "").startswith("us-zip"):
        return Kind.ADDRESS
    guessed = guess(column)
    return guessed.kind if guessed else Kind.ID if rule.role is Role.IDENTIFIER else None


#: Hierarchies that the law takes from a level on: the calendar's year, the state of a ZIP; and the word of the profile that says so.
_COARSE_ENOUGH = {"date": ("year", 3), "us-zip-state": ("generalize us-state", 2)}
_SHIFTED = "dates within its texts are shifted, and Safe Harbor takes years alone: say 'text: {dates: year}' or 'text: {dates: tag}'"
_BIRTH = "a year of birth tells an age over 89: take 'quasi birth-year', which codes these years, or drop it"
_PAST = (
    "counts ages in a year that is past, so that years which tell an age over 89 today would leave: say '{word}', for the year of the run, "
    "or '{word}:{now}'"
)


def _wrong_within(policy: Policy, table: str, rule: Rule, now: int) -> str | None:
    """What the law has against the dates within a column's texts. Those of a table about no subject never move: they become tags."""
    if rule.method is not Method.SCRUB:
        return None
    if policy.text.dates == "shift" and policy.subject_column(table) is not None:
        return _SHIFTED
    return _past("year", policy.text.ages_in, now)


def _wrong(entry: Mapping[str, Any], column: str, rule: Rule, now: int, law: str) -> str | None:
    """What the law has against a column's rule; None where it has nothing."""
    if names_one_of(column, entry.get("places", ())):
        return None
    if not _allowed(entry, rule):
        return _words(entry, rule, law)
    word, _, argument = (rule.hierarchy or "").partition(":")
    if tells_birth(column) and (rule.method is Method.YEAR or word == "date"):
        return _BIRTH
    return _past(word, int(argument), now) if word == "birth-year" and argument.isdecimal() else None


def _past(word: str, ages_in: int | None, now: int) -> str | None:
    return _PAST.format(word=word, now=now) if ages_in is not None and ages_in < now else None


def _allowed(entry: Mapping[str, Any], rule: Rule) -> bool:
    if rule.method is Method.GENERALIZE:
        word = (rule.hierarchy or "").partition(":")[0]
        if word in _COARSE_ENOUGH:
            allowed, level = _COARSE_ENOUGH[word]
            return allowed in entry["allowed"] and rule.min_level >= level
        return f"generalize {word}" in entry["allowed"]
    if rule.method is Method.CODE:
        return "code 90" in entry["allowed"] and rule.top is not None and rule.top <= 90
    return rule.method.value in entry["allowed"]


def _words(entry: Mapping[str, Any], rule: Rule, law: str) -> str:
    how = f"{rule.method}{' ' + rule.hierarchy if rule.hierarchy else ''}"
    return f"'{how}' is not {law} for ({entry['letter']}) {entry['name'].lower()}. It takes: {', '.join(entry['allowed'])}"


@cache
def _identifiers(file: str) -> list[dict[str, Any]]:
    text = (files("anonymize.policy") / file).read_text(encoding="utf-8")
    return list(YAML(typ="safe").load(text))
