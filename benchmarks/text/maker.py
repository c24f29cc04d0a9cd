"""The maker of notes: from a seed, notes with new people, forms and text, each PHI span with its kind, and the subject's structured record."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterable
from typing import Any

from benchmarks.text.grammar import SPLITS, Piece, banks, pick, pick_many, tokens
from benchmarks.text.people import Person, Place, Registry, Subject, plain

ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth twentieth"
).split()


def make(split: str, n: int, seed: int, kinds: Iterable[str] = ()) -> list[dict[str, Any]]:
    """n notes of a split (`dev`, `holdout` or `natural`), the same for the same seed.

    kinds: the banks of notes to draw from (default: all). Each note has `id`, `kind`, `text`, `spans` (start, end in code points, label,
    form: the bank of forms that it was written by) and `record`. Raises ValueError for a split that is not known.
    """
    if split not in SPLITS:
        raise ValueError(f"no split '{split}'. Known: {', '.join(SPLITS)}")
    chosen = tuple(kinds) or tuple(sorted(name for name in banks() if name.startswith("note_")))
    # Each note has its own random source, so that a change of one form changes the notes that use it and no others.
    sources = (random.Random(f"{split} {seed} {number}") for number in range(n))
    return [Note(split, rng, chosen[number % len(chosen)]).made(f"{split}{seed}-{number:04d}") for number, rng in enumerate(sources)]


class Note:
    """One note while it is written: whom it is about, what day it is, how it is typed, and the pieces so far."""

    def __init__(self, split: str, rng: random.Random, kind: str) -> None:
        self.split, self.rng, self.kind = split, rng, kind
        self.registry = Registry(split, rng)
        self.today = dt.date(rng.randint(2008, 2025), 1, 1) + dt.timedelta(days=rng.randint(0, 364))
        self.subject: Subject = self.registry.subject(self.today)
        self.people: dict[str, Person] = {"pt": self.subject.person, "rel": self.subject.relative, "doc": self.subject.provider}
        self.person: Person = self.subject.person
        self.days: dict[str, dt.date] = {"visit": self.today, "dob": self.subject.person.born}
        self.days["admit"] = self.today - dt.timedelta(days=rng.randint(1, 12))
        self.day = self.today
        self.place: Place = self.subject.place
        self.number = self.subject.phone
        self.site: list[Piece] | None = None
        self.rate = rng.choice((0.01, 0.03, 0.08, 0.2))
        self.length = rng.choice((1, 2, 3, 5))
        self.case = rng.choices(("as it is", "upper", "lower"), (82, 9, 9))[0]
        self.used: set[str] = set()

    def made(self, name: str) -> dict[str, Any]:
        """The note, as evaluators read it."""
        return self.finished(self.expand(pick(self.kind, self.split, self.rng)), name)

    def finished(self, pieces: Iterable[Piece], name: str) -> dict[str, Any]:
        """A note of some pieces: typed as its author types, lines broken as the terminal breaks them."""
        text, spans = _joined([Piece(self._cased(piece), piece.label, piece.form) for piece in pieces])
        text = _wrapped(text, self.rng.choice((None, None, None, None, 72, 80)))
        return {"id": name, "kind": self.kind, "text": text, "spans": spans, "record": self.subject.record()}

    def expand(self, template: str, form: str = "") -> list[Piece]:
        """A template's pieces. form: the bank that it is of."""
        pieces: list[Piece] = []
        for what, head, inner in tokens(template):
            if what == "text":
                pieces.append(Piece(head))
            elif what == "label":
                text = "".join(piece.text for piece in self.expand(inner, form))
                pieces.append(Piece(text, head, form))
            else:
                pieces.extend(self.slot(head, form))
        return pieces

    def slot(self, name: str, form: str) -> list[Piece]:
        """What stands for a slot."""
        command, _, rest = name.partition(" ")
        if name.startswith(("%", "+%")):
            return [Piece(self._dated(name.lstrip("+"), self.day + dt.timedelta(days=3 if name[0] == "+" else 0)))]
        if command in ("para", "list"):
            return self._many(command, rest)
        if command == "n":
            low, high = rest.split()
            return [Piece(str(self.rng.randint(int(low), int(high))))]
        if command == "d":
            low, high = rest.split()
            return [Piece(f"{self.rng.uniform(float(low), float(high)):.1f}")]
        if "|" in name:
            return self.expand(self.rng.choice(name.split("|")).replace("«", "{").replace("»", "}"), form)
        if name[0] in "#@&":
            return [Piece(self._characters(name))]
        if ":" in name:
            role, bank = name.split(":")
            return self._of(role, bank)
        if name == "site":
            if self.site is None:
                self.site = self._bank("facility")
            return self.site
        if name == "age":
            return self._age(form)
        if name in banks():
            return self._bank(name)
        return [Piece(self._value(name))]

    def _bank(self, name: str) -> list[Piece]:
        return self.expand(pick(name, self.split, self.rng), name)

    def _of(self, role: str, bank: str) -> list[Piece]:
        """A form that speaks of a role's person, day, place or number; what was spoken of before is spoken of again after it."""
        before = self.person, self.day, self.place, self.number
        rng, registry = self.rng, self.registry
        ago = {"past": (1, 400), "recent": (1, 20), "old": (400, 9000), "soon": (-90, -1)}
        if role in ago:
            self.day = self.today - dt.timedelta(days=rng.randint(*ago[role]))
        elif role in self.days:
            self.day = self.days[role]
        elif role == "own":
            self.place, self.number = self.subject.place, self.subject.phone
        elif role == "new":
            self.place, self.number, self.person = registry.place(), registry.phone(), registry.person()
        else:
            self.person = self.people.setdefault(role, registry.person(self.subject.person.family if role.startswith("rel") else None))
        pieces = self._bank(bank)
        self.person, self.day, self.place, self.number = before
        return pieces

    def _many(self, command: str, rest: str) -> list[Piece]:
        bank, span, *bullet = rest.split(" ")
        low, high = (int(bound) * (1 if "phi" in bank else self.length) for bound in span.split("-"))
        lines = [line for line in pick_many(bank, self.split, high + 8, self.rng) if line not in self.used]
        lines = lines[: self.rng.randint(low, high)]
        self.used.update(lines)
        pieces: list[Piece] = []
        for number, line in enumerate(lines, 1):
            mark = f"{number}. " if bullet == ["1."] else " ".join([*bullet, ""]) if bullet else ""
            pieces += [Piece(mark), *self.expand(line, bank)]
            if command == "para" and bank != "phi" and self.rng.random() < self.rate:
                told = pick("phi", self.split, self.rng)
                if told not in self.used:
                    self.used.add(told)
                    pieces += [Piece(" "), *self.expand(told, "phi")]
            pieces.append(Piece("\n" if command == "list" else " "))
        return pieces[:-1]

    def _age(self, form: str) -> list[Piece]:
        years = self.today.year - self.subject.person.born.year - 1
        return [Piece(str(years), "AGE_OVER_89" if years > 89 else "AGE", form)]

    def _dated(self, codes: str, day: dt.date) -> str:
        ordinal = f"{day.day}{'th' if 10 < day.day < 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day.day % 10, 'th')}"
        tens = "twenty" if day.day < 30 else "thirty"
        word = ORDINALS[day.day] if day.day <= 20 else "thirtieth" if day.day == 30 else f"{tens}-{ORDINALS[day.day % 10]}"
        return day.strftime(codes.replace("%o", ordinal).replace("%E", word))

    def _characters(self, name: str) -> str:
        kinds = {"#": "0123456789", "@": "ABCDEFGHJKLMNPRSTUVWXYZ", "&": "0123456789ABCDEF"}
        low, _, high = name[1:].partition("-")
        count = self.rng.randint(int(low), int(high or low))
        text = "".join(self.rng.choice(kinds[name[0]]) for _ in range(count))
        return self.rng.choice("123456789") + text[1:] if name[0] == "#" else text

    def _value(self, name: str) -> str:
        for values in (_of_person(self.person), _of_place(self.place), _of_subject(self.subject)):
            if name in values:
                return values[name]
        if name in ("p1", "p2", "p3"):
            return {"p1": self.number[:3], "p2": self.number[3:6], "p3": self.number[6:]}[name]
        if name in ("typo_family", "typo_given"):
            return _mistyped(self.person.family if name == "typo_family" else self.person.given, self.rng)
        if name == "kin":
            return self._kin()
        if name == "year":
            return str(self.today.year - self.rng.randint(1, 30))
        if name == "mail_new":
            return self.registry.email(self.person)
        raise ValueError(f"no bank and no value '{name}'")

    def _kin(self) -> str:
        return self.rng.choice(
            ("daughter", "niece", "sister", "mother") if self.people["rel"].sex == "F" else ("son", "nephew", "brother", "father")
        )

    def _cased(self, piece: Piece) -> str:
        return piece.text if self.case == "as it is" else piece.text.upper() if self.case == "upper" else piece.text.lower()


def _of_person(person: Person) -> dict[str, str]:
    given, family, middle = person.given, person.family, person.middle
    titles = ("Ms.", "Mrs.", "Ms", "mrs") if person.sex == "F" else ("Mr.", "Mr.", "Mr", "mr")
    return {
        **{"given": given, "family": family, "middle": middle, "nick": person.nick or middle},
        **{"g": given[0].upper(), "m": middle[0].upper(), "f": family[0].upper(), "g_l": given[0].lower(), "f_l": family[0].lower()},
        **{"GIVEN": given.upper(), "FAMILY": family.upper(), "MIDDLE": middle.upper(), "given_l": given.lower(), "family_l": family.lower()},
        **{"given_s": plain(given), "family_s": plain(family), "g_s": plain(given)[:1]},
        **dict(zip(("mr", "mrs", "mr_bare", "mr_l"), titles, strict=True)),
    }


def _of_place(place: Place) -> dict[str, str]:
    return {
        **{"number": place.number, "street": place.street, "street_kind": place.kind, "city": place.city, "county": place.county},
        **{"unit": f" {place.unit}" if place.unit else "", "unit_comma": f", {place.unit}" if place.unit else ""},
        **{"st": place.state, "state": place.state_name, "zip": place.zip},
    }


def _of_subject(subject: Subject) -> dict[str, str]:
    words = (
        ("she", "her", "her", "woman", "female", "F", "husband")
        if subject.person.sex == "F"
        else ("he", "his", "him", "man", "male", "M", "wife")
    )
    told = dict(zip(("he", "his", "him", "man", "male", "M", "husband"), words, strict=True))
    return {
        **told,
        **{"He": told["he"].capitalize(), "His": told["his"].capitalize()},
        **{"own_mrn": subject.mrn, "own_email": subject.email, "own_insurance": subject.insurance},
        **{"ssn1": subject.ssn[:3], "ssn2": subject.ssn[3:5], "ssn3": subject.ssn[5:]},
    }


def _mistyped(name: str, rng: random.Random) -> str:
    """One slip of a typist inside a name: two letters swapped, one left out, one doubled."""
    at = rng.randint(1, max(1, len(name) - 2))
    slips = (name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :], name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:])
    return rng.choice([slip for slip in slips if slip != name] or [name])


def _joined(pieces: Iterable[Piece]) -> tuple[str, list[dict[str, Any]]]:
    texts, spans, position = [], [], 0
    for piece in pieces:
        if piece.label and piece.text.strip():
            start = position + len(piece.text) - len(piece.text.lstrip())
            spans.append({"start": start, "end": position + len(piece.text.rstrip()), "label": piece.label, "form": piece.form})
        texts.append(piece.text)
        position += len(piece.text)
    return "".join(texts), spans


def _wrapped(text: str, width: int | None) -> str:
    """Break lines as a terminal does: a blank becomes a line's end, so that no offset moves; names are broken as they fall."""
    if width is None:
        return text
    lines = []
    for line in text.split("\n"):
        while len(line) > width and (at := line.rfind(" ", 20, width)) > 0:
            lines.append(line[:at])
            line = line[at + 1 :]
        lines.append(line)
    return "\n".join(lines)
