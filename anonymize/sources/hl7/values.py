"""What an OBX says (OBX-5), by the type that it says it has (OBX-2). A value that is not of its type is a text, and nothing is lost.

Source: HL7 v2.9 chapter 7.4.2 (OBX), table 0125 (types), chapter 2A (data types).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from anonymize.sources.hl7.er7 import Part, Segment, unescape
from anonymize.sources.mapping import decoded
from anonymize.sources.tree import iso_time
from anonymize.transform.markup import unreadable_tag
from anonymize.transform.markup.encoded import decoded_text, kind_of

NUMBER = re.compile(r"\s*([<>]=?|=)?\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")
CODED = frozenset(("CE", "CWE", "CNE", "CF", "CM", "IS", "ID", "CO"))
DATES = frozenset(("DT", "TS", "DTM"))
#: Types that say who or where somebody is, and no finding.
WHO = frozenset(
    ("XPN", "PPN", "XCN", "XAD", "XTN", "XON", "PN", "CN", "CNN", "AD", "TN", "CX", "CK", "SAD", "FN", "PL", "ELD", "NDL", "DLN", "HD")
)


def typed(segment: Segment) -> dict[str, Any]:
    """An OBX's value: `type`, and of `number`, `age`, `comparator`, `number_2`, `separator`, `code`, `system`, `local`, `display`, `time`,
    `text`, `who` and `pointer` those that it has."""
    kinds = segment.get("2") or [""]
    kind = str(kinds[0]).strip().upper()
    values = segment.get("5") or []
    found: dict[str, Any] = {"type": kind or None}
    if not values:
        return found
    asked, words = _asked(segment)
    if kind in WHO or asks_who(words) or (kind in CODED and _is_place(values)):
        return found | {"who": " ".join(value.words() if isinstance(value, Part) else value for value in values)}
    if kind in ("NM", "SN", "NR") and len(values) == 1 and (numbers := _numbers(kind, values[0])):
        if asks_age(asked, words):
            numbers["age"] = numbers.pop("number")
        return found | numbers
    if kind in CODED:
        return found | _coded(values)
    if kind in DATES and len(values) == 1 and _leaf(values[0]):
        time = iso_time(_leaf(values[0]))
        if time != _leaf(values[0]):
            return found | {"time": time}
    if kind == "RP":
        return found | {"pointer": _leaf(values[0])}
    return found | {"text": segment.whole(5)}


def encapsulated(segment: Segment) -> str | None:
    """An ED's data as text; a tag where they are none (a PDF, an image, broken base64)."""
    signs = segment.signs
    raw = segment.raw(5)
    parts = raw.split(signs.component) if signs.component else [raw]
    if len(parts) < 5:
        return segment.whole(5)
    encoding, data = parts[3].strip().lower(), signs.component.join(parts[4:])
    if encoding == "base64":
        # Repetitions are no part of base64; some senders write its line ends as \.br\ or \X0D0A\.
        text = unescape(data, signs, segment.encoding)
        return decoded(text) if text.strip() else None
    if encoding == "hex":
        try:
            found = bytes.fromhex(data)
        except ValueError:
            return unreadable_tag("binary")
        read = decoded_text(found)
        return read[0] if read is not None else unreadable_tag(kind_of(found) or "binary")
    return unescape(data, signs, segment.encoding) or None


@dataclass(frozen=True)
class _Rules:
    """`questions.yaml`."""

    who: re.Pattern[str]
    age: re.Pattern[str]
    age_codes: frozenset[str]
    places: frozenset[str]


@cache
def _rules() -> _Rules:
    data = YAML(typ="safe").load((files("anonymize.sources.hl7") / "questions.yaml").read_text(encoding="utf-8"))
    who = re.compile(re.sub(r"\s*\|\s*", "|", data["who"]))
    return _Rules(who, re.compile(data["age"]), frozenset(data["age_codes"]), frozenset(map(str, data["where_systems"])))


def _asked(segment: Segment) -> tuple[str, str]:
    """What an OBX asks for: its code, and all words beside it."""
    parts = segment.get("3") or []
    codes = [_leaf(part) for part in parts]
    return (codes or [""])[0], " ".join(part.words() if isinstance(part, Part) else part for part in parts)


def _is_place(values: list[Any]) -> bool:
    return any(isinstance(value, Part) and {value.get("3"), value.get("6")} & _rules().places for value in values)


def asks_who(words: str) -> bool:
    """Whether what is asked for is who or where somebody is, by the words of the question."""
    return _rules().who.search(words) is not None


def asks_age(code: str | None, words: str) -> bool:
    """Whether what is asked for is an age, by the question's code and words."""
    return code in _rules().age_codes or _rules().age.search(words) is not None


def is_place_system(system: str | None) -> bool:
    """Whether a system's codes are places smaller than a state."""
    return system in _rules().places


def _leaf(value: Any) -> str:
    return (value.text or "") if isinstance(value, Part) else value


def _numbers(kind: str, value: Any) -> dict[str, Any]:
    """`182`, `<5`; SN's `>^100`, `^1^:^128`. Empty where it is none."""
    if kind == "SN" and isinstance(value, Part):
        first, second = (NUMBER.fullmatch(str(value.get(part) or "")) for part in ("2", "4"))
        if first is None or (value.get("4") and second is None):
            return {}
        numbers = {"comparator": value.get("1"), "number": first[2], "separator": value.get("3"), "number_2": second[2] if second else None}
        return {name: part for name, part in numbers.items() if part}
    match = NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return {}
    return {"number": match[2]} | ({"comparator": match[1]} if match[1] else {})


def _coded(values: list[Any]) -> dict[str, Any]:
    """All repetitions' codes, names and systems. A CWE without a code has its words in 2 or 9."""
    parts = [value if isinstance(value, Part) else Part({"1": value}) for value in values]
    return {
        "code": [part.get("@code") for part in parts],
        "system": [part.get("@system") for part in parts],
        "local": [code for part in parts for code in part.get("@local") or ()],
        "display": [words for part in parts for number in ("2", "5", "9") if (words := part.get(number))],
    }
