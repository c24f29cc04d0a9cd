"""The notes of the sample hospital: full of PHI in awkward forms, with the truth of where it stands."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from anonymize.sample import bank
from anonymize.sample.people import Hospital, Person, Stay

DATE_FORMS = ("%m/%d/%Y", "%m/%d/%y", "%Y-%m-%d", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d-%b-%Y", "%A, %B %d, %Y", "%m-%d-%Y", "%m.%d.%Y")


@dataclass
class Note:
    """One note, built piece by piece, so that the truth cannot slip."""

    id: int
    person: Person
    stay: Stay
    kind: str
    written: date
    text: str = ""
    spans: list[tuple[int, int, str]] = field(default_factory=list)

    def say(self, *pieces: str | tuple[str, str]) -> Note:
        """Add plain words, and PHI as (kind, words)."""
        for piece in pieces:
            if isinstance(piece, tuple):
                self.spans.append((len(self.text), len(self.text) + len(piece[1]), piece[0]))
                self.text += piece[1]
            else:
                self.text += piece
        return self


class Writer:
    """Draws the forms in which a person's PHI is written."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd

    def day(self, day: date | datetime) -> tuple[str, str]:
        """A date, in one of ten forms."""
        return "date", day.strftime(self.rnd.choice(DATE_FORMS))

    def name(self, person: Person) -> tuple[str, str]:
        """The patient's name: as it is, turned round, in capitals, by initial, misspelt."""
        given, family = person.given, person.family
        forms = [
            f"{given} {family}",
            f"{family}, {given}",
            f"{given} {family}".upper(),
            f"{given[0]}. {family}",
            f"{family.upper()}, {given} M.",
        ]
        if len(family) > 7 and family.isalpha():
            at = len(family) // 2
            forms.append(f"{given} {family[:at]}{family[at + 1 :]}")
        return "name", self.rnd.choice(forms)

    def mrn(self, person: Person) -> tuple[str, str]:
        """With and without its dash and prefix."""
        digits = person.mrn.removeprefix("MRN-")
        return "mrn", self.rnd.choice([person.mrn, digits, f"{digits[:3]}-{digits[3:6]}-{digits[6:]}", f"{digits[:4]} {digits[4:]}"])

    def phone(self, person: Person) -> tuple[str, str]:
        """In several forms, one over a line's end."""
        digits = "".join(sign for sign in person.phone if sign.isdigit())
        a, b, c = digits[:3], digits[3:6], digits[6:]
        return "phone", self.rnd.choice([person.phone, f"{a}-{b}-{c}", f"{a}.{b}.{c}", f"{a}-{b}-\n{c}", digits])

    def title(self, person: Person) -> tuple[str, ...]:
        """`Mrs. Lee`, `Mr. Lee`."""
        return ("Mr. " if person.sex == "M" else "Mrs. "), person.family


def write_notes(hospital: Hospital) -> list[Note]:
    """A note for most stays, of six kinds."""
    notes: list[Note] = []
    writer = Writer(hospital.random)
    for person in hospital.patients:
        for stay in person.stays:
            if hospital.random.random() < 0.8:
                name, make = hospital.random.choice(KINDS)
                note = Note(len(notes) + 1, person, stay, name, stay.discharged.date())
                make(note, writer)
                notes.append(note)
    return notes


def write_truth(file: Path, hospital: Hospital) -> None:
    """`{"note_id", "patient_id", "spans": [{"start", "end", "kind"}]}` a line, offsets in code points."""
    with file.open("w", encoding="utf-8") as out:
        for note in hospital.notes:
            spans = [{"start": start, "end": end, "kind": kind} for start, end, kind in note.spans]
            out.write(json.dumps({"note_id": note.id, "patient_id": note.person.id, "spans": spans}) + "\n")


def _clinical(note: Note, writer: Writer, number: int) -> None:
    for sentence in writer.rnd.sample(bank.CLINICAL, number):
        note.say(sentence, writer.rnd.choice([" ", "\n"]))
    note.say("\n")


def _age(note: Note) -> tuple[str, str] | str:
    age = note.person.age(note.stay.admitted.date())
    return ("age", f"{age}") if age > 89 else f"{age}"


def _discharge(note: Note, writer: Writer) -> None:
    person, stay = note.person, note.stay
    note.say("DISCHARGE SUMMARY\n", ("facility", writer.rnd.choice(bank.HOSPITALS)), "\n")
    note.say("NAME: ", writer.name(person), "\nMEDICAL RECORD #: ", writer.mrn(person), "\nDOB: ", writer.day(person.birth))
    note.say("\nADMITTED: ", writer.day(stay.admitted), "\nDISCHARGED: ", writer.day(stay.discharged))
    note.say("\nATTENDING: ", ("name", stay.provider), ", M.D.\n\nHOSPITAL COURSE\n")
    note.say("This is a ", _age(note), "-year-old ", "female" if person.sex == "F" else "male", " with ", stay.diagnoses[0][1].lower(), ". ")
    _clinical(note, writer, 4)
    prefix, family = writer.title(person)
    note.say(prefix, ("name", family), " was discharged home with her family.\n" if person.sex == "F" else " was discharged home.\n")
    note.say("Follow up on ", writer.day(stay.discharged + timedelta(days=14)), ". Questions: call ", writer.phone(person), ".\n")
    note.say("Electronically signed by ", ("name", stay.provider), " MD\n")


def _progress(note: Note, writer: Writer) -> None:
    note.say("PROGRESS NOTE ", writer.day(note.written), "\nPatient: ", writer.name(note.person), "  MRN: ", writer.mrn(note.person), "\n")
    note.say("Room ", ("facility", note.stay.room), "\n\nS: ")
    _clinical(note, writer, 2)
    prefix, family = writer.title(note.person)
    note.say("O: ", prefix, ("name", family), " is resting. ")
    _clinical(note, writer, 2)
    note.say("P: discussed with ", ("name", note.person.relative), ", the patient's ", note.person.relation, ".\n")


def _nursing(note: Note, writer: Writer) -> None:
    note.say("nursing note: pt ", ("name", note.person.given), " up in chair, ", note.person.relation, " ", ("name", note.person.relative))
    note.say(" at bedside. ")
    _clinical(note, writer, 3)
    note.say("SSN on file ", ("ssn", note.person.ssn), ". Report given to Nurse ", ("name", writer.rnd.choice(bank.CELTIC)), ".\n")


def _radiology(note: Note, writer: Writer) -> None:
    note.say("RADIOLOGY REPORT\nPatient: ", ("name", f"{note.person.family.upper()}, {note.person.given.upper()}"), "\nExam date: ")
    note.say(writer.day(note.stay.admitted), "\nAccession #: ", ("account", f"RX{note.stay.id}77"), "\n\nFINDINGS: ")
    _clinical(note, writer, 3)
    note.say("Dictated by: ", ("name", note.stay.provider), ", MD\n")


def _telephone(note: Note, writer: Writer) -> None:
    person = note.person
    note.say("TELEPHONE ENCOUNTER ", writer.day(note.written), "\n", ("name", person.relative), " (", person.relation, ") called about ")
    note.say(
        ("name", f"{person.given} {person.family}"), ". Callback number ", writer.phone(person), ", e-mail ", ("email", person.email), ".\n"
    )
    _clinical(note, writer, 2)
    note.say("Member ID ", ("health-plan", person.plan), ".\n")


def _letter(note: Note, writer: Writer) -> None:
    person = note.person
    note.say(
        ("facility", writer.rnd.choice(bank.HOSPITALS)),
        "\n",
        writer.day(note.written),
        "\n\n",
        ("name", f"{person.given} {person.family}"),
        "\n",
    )
    note.say(("address", person.street), "\n", ("address", f"{person.city}, {person.state} {person.zip}"), "\n\nDear ")
    prefix, family = writer.title(person)
    note.say(prefix, ("name", family), ",\n\nThank you for your visit on ", writer.day(note.stay.admitted), ". ")
    _clinical(note, writer, 3)
    note.say("Sincerely,\n", ("name", note.stay.provider), ", MD\n")


KINDS: list[tuple[str, Callable[[Note, Writer], None]]] = [
    ("discharge summary", _discharge),
    ("progress note", _progress),
    ("nursing note", _nursing),
    ("radiology report", _radiology),
    ("telephone encounter", _telephone),
    ("letter", _letter),
]
