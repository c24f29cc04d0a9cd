"""The people of the sample hospital, their stays, diagnoses and labs. No wall clock: everything follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from faker import Faker

from anonymize.sample import bank

TODAY = date(2026, 6, 30)


@dataclass
class Person:
    """One patient as the registration desk knows her."""

    id: int
    mrn: str
    given: str
    family: str
    sex: str
    birth: date
    race: str
    ethnicity: str
    marital: str
    ssn: str
    phone: str
    email: str
    street: str
    city: str
    state: str
    zip: str
    plan: str
    relative: str
    relation: str
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
    labs: list[tuple[str, str, float | None, str, str | None]]


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
    def notes(self) -> list[Any]:
        """Every note, with where its PHI stands."""
        from anonymize.sample.notes import write_notes

        return write_notes(self)

    def _person(self, number: int) -> Person:
        rnd, fake = self.random, self.faker
        sex = rnd.choice("FM")
        given = rnd.choice(bank.WORD_GIVEN) if rnd.random() < 0.06 else fake.first_name_female() if sex == "F" else fake.first_name_male()
        zip_code, city, state = rnd.choices(bank.PLACES, bank.PLACE_WEIGHTS)[0]
        family = self._family()
        birth = TODAY - timedelta(days=int(365.25 * min(101, max(0, rnd.gauss(52, 24)))) + rnd.randrange(365))
        person = Person(
            id=20_000 + number,
            mrn=f"MRN-{rnd.randrange(10**7, 10**8)}" if number % 3 else f"{rnd.randrange(10**7, 10**8)}",
            given=given,
            family=family,
            sex=sex,
            birth=birth,
            race=rnd.choices(bank.RACES, (62, 13, 7, 1, 17))[0],
            ethnicity=rnd.choices(bank.ETHNICITIES, (82, 18))[0],
            marital=rnd.choice(bank.MARITAL),
            ssn=f"{rnd.randrange(100, 665)}-{rnd.randrange(1, 100):02}-{rnd.randrange(1, 10_000):04}",
            phone=f"({rnd.randrange(201, 990)}) {rnd.randrange(200, 1000)}-{rnd.randrange(10_000):04}",
            email=f"{given}.{family}{rnd.randrange(100)}@{fake.free_email_domain()}".lower().replace(" ", "").replace("'", ""),
            street=f"{rnd.randrange(1, 9900)} {fake.last_name()} {rnd.choice(bank.STREETS)}",
            city=city,
            state=state,
            zip=zip_code,
            plan=f"{rnd.choice('ABCDEFGH')}{rnd.randrange(10**8, 10**9)}",
            relative=f"{fake.first_name()} {family if rnd.random() < 0.6 else fake.last_name()}",
            relation=rnd.choice(bank.RELATIONS),
        )
        person.stays = [self._new_stay(person) for _ in range(rnd.choices((1, 2, 3), (70, 22, 8))[0])]
        person.stays.sort(key=lambda stay: stay.admitted)
        if rnd.random() < 0.03:
            person.died = person.stays[-1].discharged.date() + timedelta(days=rnd.randrange(1, 60))
        return person

    def _family(self) -> str:
        drawn = self.random.random()
        if drawn < 0.08:
            return self.random.choice(bank.WORD_FAMILY)
        if drawn < 0.13:
            return f"{self.faker.last_name()}-{self.faker.last_name()}"
        return self.random.choice(("O'", "Mc")) + self.random.choice(bank.CELTIC) if drawn < 0.16 else self.faker.last_name()

    def _new_stay(self, person: Person) -> Stay:
        rnd = self.random
        self._stay += rnd.randrange(1, 5)
        latest = (TODAY - max(person.birth, date(2022, 1, 1))).days
        admitted = datetime.combine(TODAY - timedelta(days=rnd.randrange(1, max(2, latest))), datetime.min.time())
        admitted += timedelta(minutes=rnd.randrange(24 * 60))
        diagnoses = rnd.sample(bank.DIAGNOSES, rnd.randrange(1, 4))
        return Stay(
            id=self._stay,
            admitted=admitted,
            discharged=admitted + timedelta(hours=rnd.randrange(3, 240)),
            kind=rnd.choice(("inpatient", "emergency", "outpatient")),
            ward=rnd.choice(bank.WARDS),
            room=f"{rnd.randrange(1, 9)}{rnd.randrange(10, 60)}-{rnd.choice('AB')}",
            provider=rnd.choice(self.providers),
            charge=round(rnd.lognormvariate(8, 1), 2),
            diagnoses=diagnoses,
            labs=[self._lab() for _ in range(rnd.randrange(1, 5))],
        )

    def _lab(self) -> tuple[str, str, float | None, str, str | None]:
        code, name, middle, spread, unit = self.random.choice(bank.LABS)
        if self.random.random() < 0.03:
            return code, name, None, unit, self.random.choice(("hemolyzed", "see comment", "negative", "trace"))
        return code, name, round(self.random.gauss(middle, spread), 1), unit, None
