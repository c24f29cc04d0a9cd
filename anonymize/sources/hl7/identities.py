"""Who a patient and the people around are, piece by piece: each name, number, address and telephone of PID, NK1, GT1, IN1 and their kin
in a row of its own, so that each can be looked up in the patient's texts.

Source: HL7 v2.9 chapters 3 (PID, NK1, MRG), 6 (GT1, IN1, IN2); data types XPN, XAD, XTN, CX (chapter 2A).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anonymize.sources.hl7.er7 import Part, Segment

Node = dict[str, Any]
NAMES = {
    "PID": "5 6 9",
    "NK1": "2 26 30",
    "GT1": "3 4 42 45",
    "IN1": "16",
    "IN2": "7 9 40 49 52",
    "MRG": "7",
}
NUMBERS = {
    "PID": "2 3 4 18 20 21",
    "NK1": "12 33",
    "GT1": "2 19",
    "IN1": "36 49",
    "IN2": "1 6 8 10 61",
    "MRG": "1 2 3 4 5 6",
    "PV1": "5 19 50",
}
SSNS = {"PID": "19", "NK1": "37", "GT1": "12", "IN2": "2"}
ADDRESSES = {"PID": "11", "NK1": "4 32", "GT1": "5", "IN1": "19"}
TELECOMS = {"PID": "13 14 40", "NK1": "5 6 31 40 41", "GT1": "6 7 46", "IN2": "53 63 64"}
EMPLOYERS = {"NK1": "13", "GT1": "16 21 51", "IN1": "11", "IN2": "3"}
#: The patient's lists that hold these segments.
IN_LISTS = (("contacts", ("NK1",)), ("guarantors", ("GT1",)), ("insurances", ("IN1", "IN2")), ("merges", ("MRG",)), ("visits", ("PV1",)))


def identities(patient: Node) -> list[Node]:
    """Rows with `of` (the segment), `patient`, and of `family`, `given`, `name`, `number`, `ssn`, `street`, `city`, `county`, `postal_code`,
    `phone`, `email`, `organization` those that it holds; no row twice."""
    found: dict[tuple[tuple[str, str], ...], Node] = {}
    for segment in _segments(patient):
        for piece in _pieces(segment):
            said = {name: text.strip() for name, text in piece.items() if text and text.strip()}
            if said:
                found.setdefault(tuple(sorted(said.items())), {"of": segment.name, "patient": patient, **said})
    return list(found.values())


def _segments(patient: Node) -> Iterator[Segment]:
    yield patient["PID"]
    for name, kinds in IN_LISTS:
        for element in patient[name]:
            for kind in kinds:
                if kind in element:
                    yield element[kind]


def _pieces(segment: Segment) -> Iterator[dict[str, str | None]]:
    for value in _values(segment, NAMES):
        family = value.get("1")
        # A family name has its parts in subcomponents: own, prefix, and the partner's.
        for word in family.values() if isinstance(family, Part) else [family]:
            yield {"family": word, "given": _text(value, "2")}
        yield {"name": _text(value, "3")}
    for value in _values(segment, NUMBERS):
        yield {"number": _text(value, "1")}
    for value in _values(segment, SSNS):
        yield {"ssn": _text(value, "1")}
    for value in _values(segment, ADDRESSES):
        street = value.get("1")
        parts = [street] if not isinstance(street, Part) else [street.get("1"), " ".join(p for p in (street.get("3"), street.get("2")) if p)]
        yield from ({"street": part} for part in (*parts, _text(value, "2"), _text(value, "8")))
        yield {"city": _text(value, "3"), "postal_code": _text(value, "5")}
    if segment.name == "PID":
        yield from ({"county": text} for text in (_text(value, "9") for value in _values(segment, ADDRESSES)))
        yield {"city": next((text for text in segment.get("23") if isinstance(text, str)), None)}
    for value in _values(segment, TELECOMS):
        yield {"phone": _text(value, "1"), "email": _text(value, "4")}
        yield {"phone": _text(value, "12")}
        yield {"phone": "".join(_text(value, part) or "" for part in ("6", "7"))}
    for value in _values(segment, EMPLOYERS):
        yield {"organization": _text(value, "1")}


def _values(segment: Segment, fields: dict[str, str]) -> Iterator[Part]:
    for number in fields.get(segment.name, "").split():
        for value in segment.get(number):
            yield value if isinstance(value, Part) else Part({"1": value})


def _text(value: Part, part: str) -> str | None:
    found = value.get(part)
    return found.text if isinstance(found, Part) else found
