"""DICOM's Basic Application Level Confidentiality Profile and its options: which attribute may stay, and how.

`dicom_profile.csv` holds table E.1-1 of PS3.15 (2026c): of each attribute its tag, its keyword, the action of the basic profile, and those of
the options. Actions: D a dummy, Z empty or a dummy, X removed, U a consistent UID, K kept, C cleaned. Attributes that the table does not name
may stay, private ones never do. The attributes that the table has had since 2025 have the options of their value representation (dates, UIDs).
Source: DICOM PS3.15, Annex E, https://dicom.nema.org/medical/dicom/current/output/chtml/part15/chapter_E.html
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from anonymize.policy.model import Method, Role, Rule

#: The policy's word for an option -> the table's column.
OPTIONS = {
    "retain-uids": "uids",
    "retain-device-identity": "device",
    "retain-institution-identity": "institution",
    "retain-patient-characteristics": "patient",
    "retain-longitudinal-full-dates": "full-dates",
    "retain-longitudinal-modified-dates": "modified-dates",
    "clean-descriptors": "descriptors",
    "clean-structured-content": "structured",
    "clean-graphics": "graphics",
}
#: What a method makes of an attribute, in the table's letters: any of these must be allowed.
_ACTS: dict[Method, str] = {
    Method.KEEP: "K",
    Method.ROUND: "K",
    Method.CODE: "K",
    Method.GENERALIZE: "KC",
    Method.SHIFT: "KC",
    Method.YEAR: "KC",
    Method.SCRUB: "KC",
    Method.PSEUDONYM: "KCUDZ",
    Method.SURROGATE: "KCDZX",
    Method.REDACT: "KCUDZX",
    Method.DROP: "KCUDZX",
}


@dataclass(frozen=True)
class Attribute:
    """One row of the table. basic: its letters (`XZD`); options: the table's column -> K or C."""

    keyword: str
    basic: str
    options: dict[str, str]

    def allowed(self, options: Collection[str]) -> str:
        """The letters that hold under some options, by the policy's words for them."""
        return self.basic + "".join(self.options.get(OPTIONS[option], "") for option in options)


@cache
def table() -> dict[str, Attribute]:
    """The attributes by keyword."""
    with (files("anonymize.sources") / "dicom_profile.csv").open(encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    found = {}
    for row in rows:
        options = {name: row[name] for name in OPTIONS.values() if row[name]}
        found[row["keyword"]] = Attribute(row["keyword"], "".join(sign for sign in row["basic"] if sign.isalpha()), options)
    found.pop("", None)
    return found


def objection(keywords: Iterable[str], rule: Rule, options: Collection[str]) -> str | None:
    """What the profile has against a rule for an attribute; None where it has nothing.

    keywords: of the attribute, after those of the sequences that it stands in. options: those that the policy claims.
    """
    path = [table()[keyword] for keyword in keywords if keyword in table()]
    for attribute in path[:-1]:
        if rule.leaves and not set(attribute.allowed(options)) & set("KC"):
            return _words(attribute, "what stands in this sequence", options)
    if not path or set(path[-1].allowed(options)) & set(_ACTS[rule.method]) or (rule.role is Role.DROP):
        return None
    return _words(path[-1], f"'{rule.method}'", options)


def _words(attribute: Attribute, what: str, options: Collection[str]) -> str:
    """Which action the profile asks for, and the options that would let more stay."""
    more = [option for option, name in OPTIONS.items() if name in attribute.options and option not in options]
    hint = f" The source's 'options' could claim: {', '.join(more)}" if more else ""
    actions = "/".join(attribute.basic)
    return f"DICOM's confidentiality profile (PS3.15 E.1) says {actions} of {attribute.keyword}: {what} is not that.{hint}"
