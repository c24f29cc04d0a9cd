"""What belongs to what in a message: segments in a row become patients with their visits, orders, results, notes and documents.

The standard says it by a grammar for each of its hundreds of messages, and senders keep to it loosely. Here a segment belongs to the nearest
before it that it can belong to, in any message of any version: an OBX to its OBR, an NTE to what it follows, all to their PID. What stands
before the first PID (SCH in SIU, RF1 in REF) is that patient's. An element names what it belongs to (`patient`, `visit`, `order`,
`document`), so that a mapping can say a row's own parents.

    {MSH, EVN, id, encoding, mended, segments: [{name, count}],
     patients: [{PID, PD1, id, authority, merges, contacts, guarantors, insurances, visits, diagnoses, allergies, procedures, problems, roles,
                 orders, immunizations, medications, specimens, results, charges, appointments, notes, documents, identities}]}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from anonymize.policy.origins import HL7_ID_TYPES
from anonymize.sources.hl7.er7 import Message, NotHl7, Part, Segment
from anonymize.sources.hl7.identities import identities
from anonymize.sources.hl7.values import encapsulated, typed
from anonymize.sources.tree import Branch

Node = dict[str, Any]
#: Segments that make an element of one of the patient's lists, alone.
LISTS = {
    "NK1": "contacts",
    "GT1": "guarantors",
    "IN1": "insurances",
    "DG1": "diagnoses",
    "DRG": "diagnoses",
    "AL1": "allergies",
    "IAM": "allergies",
    "PR1": "procedures",
    "PRB": "problems",
    "ROL": "roles",
    "PRT": "roles",
    "PRD": "roles",
    "CTD": "roles",
    "SPM": "specimens",
    "FT1": "charges",
    "SCH": "appointments",
    "MRG": "merges",
}
#: Segments that go on with an element that another began: the list, and they lie beside its segment.
BESIDE = {"IN2": "insurances", "IN3": "insurances", "PV2": "visits", "IAR": "allergies", "AIS": "appointments", "AIP": "appointments"}
#: What an order is about; an order has one of each.
DETAILS = ("OBR", "RXA", "RXE", "RXO", "RXD", "RXG", "RQD", "ODS", "ODT")
EVERY = sorted({*LISTS.values(), "visits", "orders", "immunizations", "medications", "results", "notes", "documents"})
#: Messages that are about no patient: acknowledgements, master files, queries, application and device control. Table 0076.
ABOUT_NOBODY = tuple("ACK MCF MF NM Q SSU SSR ESU ESR EAC EAN EAR INU INR LSU LSR TCU TCR SRM SRR SQM SQR".split())
#: Events that make two records of a person one. MRG holds the number that is given up. Table 0003.
MERGES = frozenset(("A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47"))
#: Types of numbers that other registers than the hospital's give. Table 0203.
OTHERS_IDS = frozenset(("SS", "DL", "PPN", "MA", "MC", "NI", "NH", "AN", "VN", "BC", "CZ", "NIIP", "EN", "DFN"))
#: Types of OBX that hold a text which may run over several of them.
TEXTS = ("TX", "FT")


class Late(Branch):
    """A node some of whose fields are worked out when they are asked for."""

    def get(self, field: str, default: Any = None) -> Any:
        value = super().get(field, default)
        if callable(value):
            self[field] = value = value()
        return value


def is_about_nobody(message: Message) -> bool:
    """Whether the standard puts no patient into messages of this type."""
    kind = first(message.header.get("9"))
    return kind is not None and kind.upper().startswith(ABOUT_NOBODY)


def first(values: Any) -> str | None:
    """The first text of a field."""
    for value in values if isinstance(values, list) else [values]:
        text = value.text if isinstance(value, Branch) else value
        if text:
            return str(text)
    return None


@dataclass(frozen=True)
class Subject:
    """Which of a patient's numbers is the subject's key. types: of PID-3.5, the best first; authorities: of PID-3.4, those that count."""

    types: Sequence[str] = HL7_ID_TYPES
    authorities: Sequence[str] = ()
    merged: Mapping[str, str] = field(default_factory=dict)
    """A number that was given up -> the one that took its place."""

    def surviving(self, number: str | None) -> str | None:
        """The number under which a person is known after all merges."""
        seen = set()
        while number is not None and number in self.merged and number not in seen:
            seen.add(number)
            number = self.merged[number]
        return number

    def of(self, pid: Segment) -> tuple[str | None, str | None]:
        """The number and who gave it. PID-3; in old messages PID-2, then PID-4."""
        for number in ("3", "2", "4"):
            found = [one for one in map(self._number, pid.get(number) or ()) if one is not None]
            if found:
                _, value, authority = min(found, key=lambda one: one[0])
                return value, authority
        return None, None

    def retired(self, mrg: Segment) -> list[str]:
        """The numbers that a merge gives up: MRG-1, in old versions MRG-4."""
        numbers = mrg.get("1") or mrg.get("4") or ()
        return [found[1] for found in map(self._number, numbers) if found is not None]

    def _number(self, value: Any) -> tuple[int, str, str | None] | None:
        text = first(value)
        if text is None or not text.strip():
            return None
        part = value if isinstance(value, Part) else Part()
        kind, given_by = first(part.get("5")), part.get("4")
        names = {str(name) for name in (given_by.values() if isinstance(given_by, Part) else [given_by]) if name}
        if self.authorities and not names & set(self.authorities):
            return None
        rank = self.types.index(kind) if kind in self.types else len(self.types) + (2 if kind in OTHERS_IDS else kind is not None)
        return rank, text.strip(), first(given_by)


def record(message: Message, subject: Subject, number: int) -> Node:
    """A message as a nested record. number: names it where it has no control id.

    Raises NotHl7: `no-pid` where nobody is in it who should be, `no-subject` where one of its patients has no number.
    """
    header = message.header
    count = Counter(segment.name for segment in message.segments)
    found: Node = {
        "MSH": header,
        "id": first(header.get("10")) or f"message {number}",
        "encoding": message.encoding,
        "mended": str(message.mended),
    }
    found["segments"] = [{"name": name, "count": str(times)} for name, times in count.items()]
    if "PID" not in count:
        if not is_about_nobody(message):
            raise NotHl7("no-pid")
        return found
    walk = _Walk(found, subject)
    for segment in message.segments[1:]:
        walk.take(segment)
    found["patients"] = [patient for patient in walk.patients if "PID" in patient]
    if any(patient["id"] is None for patient in found["patients"]):
        raise NotHl7("no-subject")
    for patient in found["patients"]:
        patient["identities"] = partial(identities, patient)
    for row in found["segments"]:
        row["patient"] = found["patients"][0]
    return found


def _nobody_yet() -> Node:
    """A patient of whom nothing is known yet."""
    return Late({name: [] for name in EVERY})


@dataclass
class _Walk:
    """Where a walk along the segments stands."""

    record: Node
    subject: Subject
    patients: list[Node] = field(default_factory=list)
    visit: Node | None = None
    order: Node | None = None
    document: Node | None = None
    specimen: Node | None = None
    last: Node = field(default_factory=dict)
    """The element that an NTE would be about."""
    reports: dict[tuple[int, str], Node] = field(default_factory=dict)
    orders: int = 0

    def take(self, segment: Segment) -> None:
        if not self.patients:
            self.patients.append(_nobody_yet())
        name = segment.name
        special: Callable[[Segment], None] | None = getattr(self, f"_{name.lower()}", None)
        if special is not None:
            special(segment)
        elif name in DETAILS:
            self._detail(segment)
        elif name in LISTS:
            self._listed(segment)
        elif name in BESIDE and self.patient[BESIDE[name]]:
            self.patient[BESIDE[name]][-1].setdefault(name, segment)
        elif name in ("RXR", "RXC", "TQ1") and self.order is not None:
            self.order.setdefault(name, []).append(segment)
        else:
            # Z-segments, and whatever else there is, by their names: a site's own mapping can take them.
            self.patient.setdefault(name, []).append(segment)
            self.last = {"about": name, "patient": self.patient}

    @property
    def patient(self) -> Node:
        return self.patients[-1]

    def _element(self, segment: Segment, **more: Any) -> Node:
        links = {"patient": self.patient, "visit": self.visit, "order": self.order, "document": self.document, "specimen": self.specimen}
        element = Late(
            {segment.name: segment, "about": segment.name, **{name: link for name, link in links.items() if link is not None}, **more}
        )
        self.last = element
        return element

    def _evn(self, segment: Segment) -> None:
        self.record.setdefault("EVN", segment)

    def _pid(self, segment: Segment) -> None:
        if "PID" in self.patient:
            self.patients.append(_nobody_yet())
        patient = self.patient
        patient["PID"] = segment
        patient["number"], patient["authority"] = self.subject.of(segment)
        patient["id"] = self.subject.surviving(patient["number"])
        self.visit = self.order = self.document = self.specimen = None
        self.last = {"about": "PID", "patient": patient}

    def _pd1(self, segment: Segment) -> None:
        self.patient.setdefault("PD1", segment)
        self.last = {"about": "PD1", "patient": self.patient}

    def _pv1(self, segment: Segment) -> None:
        self.visit = self.order = self.document = self.specimen = None
        self.visit = self._element(segment)
        self.patient["visits"].append(self.visit)

    def _listed(self, segment: Segment) -> None:
        element = self._element(segment)
        self.patient[LISTS[segment.name]].append(element)
        if segment.name == "SPM":
            self.specimen = element
        elif segment.name == "FT1":
            self.order = None

    def _begin_order(self, segment: Segment) -> None:
        self.order = self.specimen = self.document = None
        self.orders += 1
        self.order = self._element(segment, key=f"{self.record['id']}-{self.orders}")
        self.patient["orders"].append(self.order)

    def _orc(self, segment: Segment) -> None:
        self._begin_order(segment)

    def _detail(self, segment: Segment) -> None:
        if self.order is None or segment.name in self.order or (segment.name == "OBR" and "RXA" in self.order):
            self._begin_order(segment)
        assert self.order is not None  # for the type checker
        self.order[segment.name], self.order["about"] = segment, segment.name
        self.last = self.order
        group = "immunizations" if segment.name == "RXA" else "medications" if segment.name.startswith("RX") else ""
        if group and not any(one is self.order for one in self.patient[group]):
            self.patient[group].append(self.order)

    def _txa(self, segment: Segment) -> None:
        self.document = None
        self.document = self._element(segment, key=f"{self.record['id']}-document")
        self.patient["documents"].append(self.document)
        lines: list[Segment] = []
        self.document["lines"] = lines
        self._note("document", lines, 5, about="TXA", document=self.document)

    def _nte(self, segment: Segment) -> None:
        owner = self.last
        lines = owner.get("comments")
        if lines is not None:
            lines.append(segment)
            return
        owner["comments"] = lines = [segment]
        links = {name: owner[name] for name in ("visit", "order", "document") if name in owner}
        if owner.get("about") in DETAILS:
            links["order"] = owner
        note = self._note("comment", lines, 3, **links)
        note["about"] = owner.get("about", "MSH")
        coded = owner.get("OBX") or owner.get("OBR") or owner.get("RXA")
        if coded is not None:
            asked = {"OBX": "3", "OBR": "4", "RXA": "5"}[coded.name]
            note["code"], note["title"] = (
                first(coded.get(asked)),
                first([value.get("2") for value in coded.get(asked) if isinstance(value, Part)]),
            )

    def _obx(self, segment: Segment) -> None:
        result = self._element(segment)
        result["value"] = lambda: typed(segment)
        self.patient["results"].append(result)
        kind = (first(segment.get("2")) or "").upper()
        if self.document is not None and kind in (*TEXTS, "ST"):
            self.document["lines"].append(segment)
            result["value"] = {"type": kind}
        elif kind in TEXTS:
            self._report(result, segment, kind)
        elif kind == "ED":
            note = self._note("attachment", [segment], 5)
            note["text"] = lambda: encapsulated(segment)
            self._entitle(note, segment)
            result["value"] = {"type": kind}

    def _report(self, result: Node, segment: Segment, kind: str) -> None:
        """Results that are text are joined by their code, within their order, to one text: senders give each line an OBX of its own."""
        # What is asked for (OBX-3) may stand in its text alone.
        key = (id(self.order), segment.raw(3))
        result["value"] = {"type": kind}
        known = self.reports.get(key)
        if known is None:
            lines: list[Segment] = []
            note = self._note("report", lines, 5, about="OBX")
            self._entitle(note, segment)
            self.reports[key] = known = {"lines": lines}
        known["lines"].append(segment)

    def _entitle(self, note: Node, segment: Segment, field: str = "3") -> None:
        """A note's code and title are those of what was asked for."""
        asked = [value if isinstance(value, Part) else Part({"1": value}) for value in segment.get(field)]
        note["code"], note["title"] = first([part.get("@code") for part in asked]), first([part.get("2") for part in asked])
        note["local_code"] = first([code for part in asked for code in part.get("@local") or ()])
        if segment.name == "OBX":
            note["time"] = segment.get("14")

    def _note(self, kind: str, lines: list[Segment], text: int, **more: Any) -> Node:
        """A text of the patient's. Its lines may come later."""
        links = {"visit": self.visit, "order": self.order, "document": self.document}
        note = Late(
            {"kind": kind, "about": lines[0].name if lines else "", "patient": self.patient, **{n: v for n, v in links.items() if v is not None}}
        )
        note |= more
        note["text"] = lambda: "\n".join(line.whole(text) or "" for line in lines).strip("\n") or None
        self.patient["notes"].append(note)
        return note
