"""What a column is likely to be, by its name: `data/column-names.yaml` holds the conventions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from anonymize.policy.model import Kind, Policy, Role

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Guess:
    """What a name says: a kind of PHI, or that the column is free text, and the token that says so."""

    kind: Kind | None
    text: bool
    reason: str


@lru_cache(maxsize=2_000)
def guess(column: str) -> Guess | None:
    """What a column's name says; None where it says nothing."""
    tokens = set(_tokens(column))
    for rule in _rules():
        if tokens & set(rule.get("not", ())):
            continue
        any_of, all_of, exact = set(rule.get("any", ())), set(rule.get("all", ())), rule.get("exact", ())
        fits = column.lower() in exact if exact else (not any_of or bool(tokens & any_of)) and all_of <= tokens
        if fits:
            words = ", ".join(sorted(tokens & (any_of | all_of))) or column.lower()
            return Guess(Kind(rule["kind"]) if "kind" in rule else None, rule.get("role") == "text", f"its name says '{words}'")
    return None


def tells_birth(column: str) -> bool:
    """Whether a column's name says that it holds the day or year of birth."""
    tokens = set(_tokens(column))
    return bool(tokens & {"dob", "birthdate", "birthday", "birth", "born", "yob", "birthyear", "birthdatetime"}) and "place" not in tokens


def names_one_of(column: str, words: Iterable[str]) -> bool:
    """Whether one of the words is one of a column's name: `zip` of `zip_code` and of `homeZip`."""
    return not set(words).isdisjoint(_tokens(column))


def searched_kinds(policy: Policy, table: str) -> dict[str, Kind]:
    """The columns of a table whose values are looked up in the subject's texts and by the leak gate, with their kinds.

    They are: identifiers, dropped columns of which the policy or their name says what PHI they hold, and any column with a `kind`.
    Not the dates: the subject's shift moves them. A birth date counts where the policy gives it `kind: date`.
    """
    found: dict[str, Kind] = {}
    for name, rule in policy.tables[table].columns.items():
        if not rule.looked_up and name != policy.subject_column(table):
            continue
        kind = rule.kind
        if kind is None and rule.role in (Role.IDENTIFIER, Role.DROP):
            guessed = guess(name)
            kind = guessed.kind if guessed else None
            kind = None if kind in _VAGUE and rule.role is Role.DROP else kind
        if kind is None and rule.role is Role.IDENTIFIER:
            kind = Kind.ID
        if kind is not None and policy.subject_column(table) is not None:
            found[name] = kind
    return found


#: Kinds whose values are too common to be looked up unless the policy says so.
_VAGUE = frozenset({Kind.AGE, Kind.DATE})


def _tokens(column: str) -> list[str]:
    return [token for token in re.split(r"[^a-z0-9]+", _CAMEL.sub("_", column).lower()) if token]


@cache
def _rules() -> list[dict[str, Any]]:
    text = (files("anonymize.detect") / "data" / "column-names.yaml").read_text(encoding="utf-8")
    return list(YAML(typ="safe").load(text))
