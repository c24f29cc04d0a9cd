"""The notes of the sample hospital: full of PHI in awkward forms, with the truth of where it stands.

What is written stands in `data/notes.yaml`; here is how each slot of its templates is filled.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from anonymize.sample import bank
from anonymize.sample.people import Hospital, Person, Stay

DATE_FORMS = ("%m/%d/%Y", "%m/%d/%y", "%Y-%m-%d", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d-%b-%Y", "%A, %B %d, %Y", "%m-%d-%Y", "%m.%d.%Y")
#: The share of stays that somebody writes a note about.
NOTED = 0.9
_SLOT = re.compile(r"\{(\w+)(?::(\w+))?(?:\*(\d))?\}")
_UNACCENTED = str.maketrans("øØıłßÅå", "oOilsAa")


class Phi(NamedTuple):
    """A piece of PHI. kind: as in a policy; form: how it is written or whose it is (`misspelt`, `relative`)."""

    kind: str
    words: str
    form: str = ""


@dataclass
class Note:
    """One note, built piece by piece, so that the truth cannot slip. spans: start, end (code points), kind, form; told: its sentences."""

    id: int
    person: Person
    stay: Stay
    kind: str
    other: str
    nurse: str
    text: str = ""
    spans: list[tuple[int, int, str, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def written(self) -> date:
        """The day on which it was written."""
        return self.stay.discharged.date()

    def say(self, piece: str | Phi) -> None:
        """Add plain words, or PHI."""
        words = piece.words if isinstance(piece, Phi) else piece
        if isinstance(piece, Phi):
            self.spans.append((len(self.text), len(self.text) + len(words), piece.kind, piece.form))
        self.text += words

    def turn(self, text: str) -> None:
        """Write it all in another case; the truth stays where it is."""
        if len(text) == len(self.text):
            self.text = text


class Writer:
    """Fills templates, drawing the forms in which a person's PHI is written."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital, self.rnd, self.faker = hospital, hospital.random, hospital.faker

    def note(self, number: int, person: Person, stay: Stay) -> Note:
        """A note of some kind about a stay."""
        kinds = bank.notes()["kinds"]
        kind = bank.draw(self.rnd, {name: settings["weight"] for name, settings in kinds.items()})
        nurse = f"{self.faker.first_name()} {self.faker.last_name()}"
        note = Note(number, person, stay, kind, self.rnd.choice(self.hospital.providers), nurse)
        self.fill(note, self.rnd.choice(kinds[kind]["templates"]))
        drawn = self.rnd.random()
        caps, lower = kinds[kind].get("caps", 0.0), kinds[kind].get("lower", 0.0)
        if drawn < caps + lower:
            note.turn(note.text.upper() if drawn < caps else note.text.lower())
        return note

    def fill(self, note: Note, template: str) -> None:
        """Write a template into a note; a bank's sentences are templates too."""
        at = 0
        for slot in _SLOT.finditer(template):
            note.say(template[at : slot.start()])
            name, argument, number = slot.groups()
            if number:
                for index, sentence in enumerate(self.sentences(note, name, int(number))):
                    note.say(" " if index else "")
                    self.fill(note, sentence)
            else:
                note.say(SLOTS[name](self, note) if argument is None else DAYS[name](self, note, argument))
            at = slot.end()
        note.say(template[at:])

    def sentences(self, note: Note, name: str, number: int) -> list[str]:
        """Different sentences of a bank that fit the patient and do not stand in the note yet."""
        adult = note.person.age(note.written) >= 18
        fitting = [one if isinstance(one, str) else one["adult"] for one in bank.notes()["banks"][name] if adult or isinstance(one, str)]
        drawn = self.rnd.sample([one for one in fitting if one not in note.told], number)
        note.told.extend(drawn)
        return drawn

    # The patient's name.

    def patient(self, note: Note) -> Phi:
        """In one of the forms that people write."""
        return self.rnd.choice((_full, _turned, _caps, _formal, _initial, Writer.misspelt, _plain))(self, note)

    def misspelt(self, note: Note) -> Phi:
        """A letter is lost, doubled, or swapped with the next; a hyphen is lost."""
        given, family = note.person.given, note.person.family
        if "-" in family:
            return Phi("name", f"{given} {family.replace('-', ' ')}", "misspelt")
        if len(family) < 5 or not family.isalpha():
            return _full(self, note)
        at = self.rnd.randrange(1, len(family) - 2)
        lost, doubled = family[:at] + family[at + 1 :], family[:at] + family[at] + family[at:]
        swapped = family[:at] + family[at + 1] + family[at] + family[at + 2 :]
        wrong = self.rnd.choice([form for form in (lost, doubled, swapped) if form != family])
        return Phi("name", f"{given} {wrong}", "misspelt")

    # Numbers.

    def mrn(self, note: Note) -> Phi:
        """With and without its dash and prefix."""
        digits = note.person.mrn.removeprefix("MRN-")
        return Phi("mrn", self.rnd.choice([note.person.mrn, digits, f"{digits[:3]}-{digits[3:6]}-{digits[6:]}", f"{digits[:4]} {digits[4:]}"]))

    def telephone(self, number: str, kind: str = "phone", form: str = "") -> Phi:
        """In several forms, one over a line's end."""
        a, b, c = re.findall(r"\d+", number)
        forms = [(number, form), (f"{a}-{b}-{c}", form), (f"{a}.{b}.{c}", form), (f"{a}-{b}-\n{c}", "over a line's end"), (f"{a}{b}{c}", form)]
        words, form = self.rnd.choice(forms)
        return Phi(kind, words, form)

    # Days.

    def when(self, note: Note, what: str) -> date | datetime:
        """The day behind a slot's argument."""
        stay = note.stay
        if what == "follow":
            return stay.discharged + timedelta(days=self.rnd.randrange(7, 45))
        if what == "past":
            return max(note.person.birth, stay.admitted.date() - timedelta(days=self.rnd.randrange(20, 1500)))
        return {"admitted": stay.admitted, "discharged": stay.discharged, "written": note.written, "birth": note.person.birth}[what]

    def day(self, note: Note, what: str) -> Phi:
        """A date, in one of ten forms."""
        return Phi("date", self.when(note, what).strftime(self.rnd.choice(DATE_FORMS)), "birth" if what == "birth" else "")

    def short(self, note: Note, what: str) -> Phi:
        """Month and day: `3/14`, `14 Mar`."""
        day = self.when(note, what)
        return Phi("date", self.rnd.choice([f"{day.month}/{day.day}", f"{day:%m/%d}", f"{day:%b} {day.day}"]), "no year")

    def month(self, note: Note, what: str) -> Phi:
        """Month and year: `March 2024`."""
        return Phi("date", self.when(note, what).strftime(self.rnd.choice(("%B %Y", "%m/%Y", "%b %Y"))), "no day")


Slot = Callable[[Writer, Note], "str | Phi"]


def _full(_: Writer, note: Note) -> Phi:
    return Phi("name", f"{note.person.given} {note.person.family}")


def _turned(_: Writer, note: Note) -> Phi:
    return Phi("name", f"{note.person.family}, {note.person.given}")


def _caps(_: Writer, note: Note) -> Phi:
    return Phi("name", f"{note.person.family}, {note.person.given}".upper(), "capitals")


def _formal(_: Writer, note: Note) -> Phi:
    middle = f" {note.person.middle[0]}." if note.person.middle else ""
    return Phi("name", f"{note.person.family}, {note.person.given}{middle}")


def _initial(_: Writer, note: Note) -> Phi:
    return Phi("name", f"{note.person.given[0]}. {note.person.family}")


def _plain(_: Writer, note: Note) -> Phi:
    """Without accents, as a keyboard without them writes it."""
    return Phi("name", plain(f"{note.person.given} {note.person.family}"), "without accents" if not note.person.family.isascii() else "")


def plain(name: str) -> str:
    """A name without its accents."""
    return unicodedata.normalize("NFKD", name.translate(_UNACCENTED)).encode("ascii", "ignore").decode()


def _initials(_: Writer, note: Note) -> Phi:
    return Phi("name", f"{note.person.given[0]}.{note.person.family[0]}.", "initials")


def _stranger(writer: Writer, _: Note) -> Phi:
    return Phi("name", f"{writer.faker.first_name()} {writer.faker.last_name()}", "not on record")


def _age(_: Writer, note: Note) -> str | Phi:
    """Ages up to 89 are no PHI."""
    age = note.person.age(note.stay.admitted.date())
    return Phi("age", str(age)) if age > 89 else str(age)


def _short_provider(writer: Writer, name: str) -> Phi:
    given, family = name.split(" ", 1)
    return Phi("name", writer.rnd.choice([f"{given[0]}. {family}", f"{given} {family}", f"{family}, {given[0]}"]), "signature")


def _initials_of(name: str) -> Phi:
    return Phi("name", "".join(word[0] for word in name.split()), "initials")


def _of(kind: str, key: str) -> Slot:
    """One of the hospital's list."""
    return lambda writer, _: Phi(kind, writer.rnd.choice(bank.hospital()[key]))


def _sexed(female: str, male: str) -> Slot:
    return lambda _, note: female if note.person.sex == "F" else male


def _title(_: Writer, note: Note) -> str:
    adult = note.person.age(note.written) >= 18
    return "Mr." if note.person.sex == "M" else ("Mrs." if note.person.marital == "married" else "Ms.") if adult else "Miss"


def _diagnosis(_: Writer, note: Note) -> str:
    """As a clinician says it: without the codebook's afterthoughts, and small where no name begins it."""
    name = note.stay.diagnoses[0][1].split(",")[0].replace(" (primary)", "")
    return name if "'" in name.split()[0] else name[0].lower() + name[1:]


SLOTS: dict[str, Slot] = {
    "patient": Writer.patient,
    "patient_full": _full,
    "patient_formal": _formal,
    "patient_caps": _caps,
    "patient_misspelt": Writer.misspelt,
    "given": lambda _, n: Phi("name", n.person.given),
    "family": lambda _, n: Phi("name", n.person.family),
    "nick": lambda _, n: Phi("name", n.person.nick or n.person.given, "nickname" if n.person.nick else ""),
    "initials": _initials,
    "relative": lambda _, n: Phi("name", n.person.relative, "relative"),
    "relative_given": lambda _, n: Phi("name", n.person.relative.split()[0], "relative"),
    "stranger": _stranger,
    "stranger_given": lambda w, _: Phi("name", w.faker.first_name(), "not on record"),
    "doctor": lambda _, n: Phi("name", n.stay.provider, "provider"),
    "doctor_family": lambda _, n: Phi("name", n.stay.provider.split(" ", 1)[1], "provider"),
    "doctor_short": lambda w, n: _short_provider(w, n.stay.provider),
    "doctor_initials": lambda _, n: _initials_of(n.stay.provider),
    "other": lambda _, n: Phi("name", n.other, "not on record"),
    "other_family": lambda _, n: Phi("name", n.other.split(" ", 1)[1], "not on record"),
    "other_initials": lambda _, n: _initials_of(n.other),
    "nurse_family": lambda _, n: Phi("name", n.nurse.split(" ", 1)[1], "not on record"),
    "nurse_short": lambda w, n: _short_provider(w, n.nurse),
    "mrn": Writer.mrn,
    "ssn": lambda w, n: Phi("ssn", w.rnd.choice([n.person.ssn, n.person.ssn.replace("-", " "), n.person.ssn.replace("-", "")])),
    "phone": lambda w, n: w.telephone(n.person.phone),
    "relative_phone": lambda w, n: w.telephone(n.person.relative_phone, form="relative"),
    "clinic_phone": lambda w, _: w.telephone(w.hospital.telephone(), form="not on record"),
    "fax": lambda w, _: w.telephone(w.hospital.telephone(), "fax", "not on record"),
    "pager": lambda w, _: Phi("phone", f"x{w.rnd.randrange(10_000, 100_000)}", "pager"),
    "email": lambda _, n: Phi("email", n.person.email),
    "street": lambda _, n: Phi("address", n.person.street),
    "city": lambda _, n: Phi("address", n.person.city),
    "city_state_zip": lambda _, n: Phi("address", f"{n.person.city}, {n.person.state} {n.person.zip}"),
    "plan_id": lambda _, n: Phi("health-plan", n.person.plan),
    "account": lambda _, n: Phi("account", f"V{n.stay.id:08}"),
    "accession": lambda _, n: Phi("account", f"RX{n.stay.id}77"),
    "portal": lambda w, _: Phi("id", f"{w.rnd.randrange(16**8):08x}", "in a link"),
    "domain": lambda _w, _n: "maplevalley.example",
    "room": lambda _, n: Phi("facility", n.stay.room, "room"),
    "hospital": _of("facility", "hospitals"),
    "home": _of("facility", "nursing-homes"),
    "pharmacy": _of("facility", "pharmacies"),
    "employer": _of("organization", "employers"),
    "age": _age,
    "sex": _sexed("female", "male"),
    "he": _sexed("she", "he"),
    "He": _sexed("She", "He"),
    "his": _sexed("her", "his"),
    "His": _sexed("Her", "His"),
    "title": _title,
    "relation": lambda _, n: n.person.relation,
    "ward": lambda _, n: n.stay.ward,
    "diagnosis": _diagnosis,
}
DAYS: dict[str, Callable[[Writer, Note, str], Phi]] = {"day": Writer.day, "short": Writer.short, "month": Writer.month}


def write_notes(hospital: Hospital) -> list[Note]:
    """A note about most stays, in the order of patients and stays."""
    writer = Writer(hospital)
    stays = ((person, stay) for person in hospital.patients for stay in person.stays)
    noted = ((person, stay) for person, stay in stays if hospital.random.random() < NOTED)
    return [writer.note(number, person, stay) for number, (person, stay) in enumerate(noted, start=1)]


def write_truth(file: Path, hospital: Hospital) -> None:
    """A line a note: `note_id`, `patient_id`, `note_type`, and `spans` of `start`, `end` (code points), `kind`, `form` and `value`."""
    with file.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in _truth(hospital.notes))


def _truth(notes: list[Note]) -> Iterator[dict[str, object]]:
    for note in notes:
        spans = [{"start": a, "end": b, "kind": kind, "form": form, "value": note.text[a:b]} for a, b, kind, form in note.spans]
        yield {"note_id": note.id, "patient_id": note.person.id, "note_type": note.kind, "spans": spans}
