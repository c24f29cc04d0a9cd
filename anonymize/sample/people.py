"""The people of the sample hospital, their stays, diagnoses and labs. No wall clock: everything follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from faker import Faker

from anonymize.sample import bank

if TYPE_CHECKING:
    from anonymize.sample.notes import Note

TODAY = date(2026, 6, 30)
#: Ages in whole years, from and to, and how many of a hundred patients have them.
AGES = {(0, 17): 16, (18, 44): 24, (45, 64): 29, (65, 89): 28, (90, 100): 3}


@dataclass
class Person:
    """One patient as the registration desk knows her. `nick` is what she is called; `contact` her emergency contact."""

    id: int
    mrn: str
    given: str
    middle: str | None
    family: str
    nick: str | None
    sex: str
    birth: date
    race: str | None
    ethnicity: str | None
    marital: str | None
    ssn: str
    phone: str
    email: str
    street: str
    city: str
    state: str
    zip: str
    insurer: str
    plan: str
    relative: str
    relation: str
    relative_phone: str
    died: date | None = None
    stays: list[Stay] = field(default_factory=list)

    def age(self, on: date) -> int:
        """Whole years on a day."""
        return on.year - self.birth.year - ((on.month, on.day) < (self.birth.month, self.birth.day))


@dataclass
class Stay:
    """One encounter with what was found and measured."""

    id: int
    admitted: datetime
    discharged: datetime
    kind: str
    ward: str
    room: str
    provider: str
    charge: float
    diagnoses: list[tuple[str, str]]
    labs: list[tuple[str, str, float | None, str | None, str | None]]


class Hospital:
    """patients: how many; seed: what all chance follows from."""

    def __init__(self, patients: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.faker = Faker("en_US")
        self.faker.seed_instance(seed)
        self.providers = [f"{self.faker.first_name()} {self.faker.last_name()}" for _ in range(40)]
        self._stay = 100_000
        self.patients = [self._person(number) for number in range(1, patients + 1)]

    @cached_property
    def notes(self) -> list[Note]:
        """Every note, with where its PHI stands."""
        from anonymize.sample.notes import write_notes

        return write_notes(self)

    def _person(self, number: int) -> Person:
        rnd, fake, facts = self.random, self.faker, bank.hospital()
        sex, birth = rnd.choice("FM"), self._birth()
        given, family = self._given(sex), self._family()
        child = (TODAY - birth).days < 18 * 365
        relation, relative_sex = rnd.choice(list(facts["relations-child" if child else "relations-adult"].items()))
        place = rnd.choices(facts["places"], [place["weight"] for place in facts["places"]])[0]
        mrn = f"{rnd.randrange(10**7, 10**8)}"
        person = Person(
            id=20_000 + number,
            mrn=f"MRN-{mrn}" if number % 3 else mrn,
            given=given,
            middle=fake.first_name() if rnd.random() < 0.6 else rnd.choice("ABCDEJLMRST") if rnd.random() < 0.4 else None,
            family=family,
            nick=facts["nicknames"].get(given),
            sex=sex,
            birth=birth,
            race=bank.draw(rnd, facts["races"]),
            ethnicity=bank.draw(rnd, facts["ethnicities"]),
            marital="single" if child else bank.draw(rnd, facts["marital"]),
            ssn=f"{rnd.randrange(100, 665)}-{rnd.randrange(1, 100):02}-{rnd.randrange(1, 10_000):04}",
            phone=self.telephone(),
            email=self._email(given, family),
            street=f"{rnd.randrange(1, 9900)} {fake.last_name()} {rnd.choice(facts['streets'])}" + self._unit(),
            city=place["city"],
            state=place["state"],
            zip=place["zip"],
            insurer=rnd.choice(facts["insurers"]),
            plan=f"{rnd.choice('ABCDEFGH')}{rnd.randrange(10**8, 10**9)}",
            relative=f"{self._given(relative_sex)} {family if rnd.random() < 0.6 else fake.last_name()}",
            relation=relation,
            relative_phone=self.telephone(),
        )
        person.stays = sorted((self._new_stay(person) for _ in range(rnd.choices((1, 2, 3), (70, 22, 8))[0])), key=lambda stay: stay.admitted)
        if rnd.random() < 0.03 and not child:
            person.died = min(TODAY, person.stays[-1].discharged.date() + timedelta(days=rnd.randrange(1, 60)))
        return person

    def _birth(self) -> date:
        youngest, oldest = bank.draw(self.random, AGES)
        return TODAY - timedelta(days=int(365.25 * self.random.uniform(youngest, oldest)) + 1)

    def _given(self, sex: str) -> str:
        facts, drawn = bank.hospital(), self.random.random()
        if drawn < 0.06:
            return str(self.random.choice(facts["word-given"]))
        if drawn < 0.08:
            return str(self.random.choice(facts["accented-given"]))
        return str(self.faker.first_name_female() if sex == "F" else self.faker.first_name_male())

    def _family(self) -> str:
        facts, drawn = bank.hospital(), self.random.random()
        if drawn < 0.08:
            return str(self.random.choice(facts["word-family"]))
        if drawn < 0.13:
            return f"{self.faker.last_name()}-{self.faker.last_name()}"
        if drawn < 0.16:
            return self.random.choice(("O'", "Mc")) + str(self.random.choice(facts["celtic"]))
        return str(self.random.choice(facts["accented-family"])) if drawn < 0.18 else str(self.faker.last_name())

    def telephone(self) -> str:
        """A number of the area; 555 is nobody's exchange."""
        return f"({self.random.choice(bank.hospital()['area-codes'])}) 555-{self.random.randrange(10_000):04}"

    def _email(self, given: str, family: str) -> str:
        local = f"{given}.{family}{self.random.randrange(100)}".lower()
        return "".join(sign for sign in local if sign.isascii() and sign not in " '") + f"@{self.faker.free_email_domain()}"

    def _unit(self) -> str:
        return f", Apt {self.random.randrange(1, 40)}{self.random.choice('ABC')}" if self.random.random() < 0.2 else ""

    def _new_stay(self, person: Person) -> Stay:
        rnd, facts = self.random, bank.hospital()
        self._stay += rnd.randrange(1, 5)
        latest = (TODAY - max(person.birth, date(2022, 1, 1))).days
        admitted = datetime.combine(TODAY - timedelta(days=rnd.randrange(1, max(2, latest))), datetime.min.time())
        admitted += timedelta(minutes=rnd.randrange(24 * 60))
        return Stay(
            id=self._stay,
            admitted=admitted,
            discharged=admitted + timedelta(hours=rnd.randrange(3, 240)),
            kind=rnd.choice(("inpatient", "emergency", "outpatient")),
            ward=rnd.choice(facts["wards"]),
            room=f"{rnd.randrange(1, 9)}{rnd.randrange(10, 60)}-{rnd.choice('AB')}",
            provider=rnd.choice(self.providers),
            charge=round(rnd.lognormvariate(8, 1), 2),
            diagnoses=self._diagnoses(person, person.age(admitted.date())),
            labs=[self._lab() for _ in range(rnd.randrange(1, 5))],
        )

    def _diagnoses(self, person: Person, age: int) -> list[tuple[str, str]]:
        """One to three that a person of this age and sex can have."""
        of_age = [d for d in bank.hospital()["diagnoses"] if d.get("from", 0) <= age <= d.get("to", 200)]
        able = [d for d in of_age if d.get("sex", person.sex) == person.sex]
        drawn = self.random.choices(able, [d["weight"] for d in able], k=self.random.randrange(1, 4))
        return list(dict.fromkeys((d["code"], d["name"]) for d in drawn))

    def _lab(self) -> tuple[str, str, float | None, str | None, str | None]:
        lab: dict[str, Any] = self.random.choice(bank.hospital()["labs"])
        if "mean" not in lab or self.random.random() < 0.03:
            return lab["code"], lab["name"], None, lab["unit"], self.random.choice(lab["text"])
        drawn = self.random.gauss(lab["mean"], lab["spread"])
        digits = 3 if lab["mean"] < 1.1 else 1
        return lab["code"], lab["name"], round(max(drawn, lab["mean"] / 4), digits), lab["unit"], None
