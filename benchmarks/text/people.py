"""New people, places and numbers for notes: names of many cultures, names that are words, eponyms' surnames, and names in no list."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache

from faker import Faker

from benchmarks.text.grammar import banks

LOCALES = (
    "en_US en_GB en_IE en_IN en_NG en_KE es_MX es_CO pt_BR fr_FR fr_CA de_DE it_IT pl_PL nl_NL sv_SE fi_FI da_DK no_NO cs_CZ hr_HR hu_HU tr_TR "
    "ro_RO id_ID vi_VN yo_NG ha_NG tw_GH zu_ZA az_AZ lt_LT"
).split()
KINDS = "Street St St. Avenue Ave Ave. Road Rd Drive Dr Dr. Lane Ln Court Ct Blvd Place Way Terrace Circle Parkway Pkwy Highway".split()
MAIL = "gmail.com yahoo.com hotmail.com aol.com outlook.com icloud.com comcast.net protonmail.com verizon.net att.net mail.com".split()


@dataclass
class Person:
    """Somebody whom a note speaks of."""

    given: str
    family: str
    middle: str
    sex: str
    born: dt.date
    nick: str = ""


@dataclass
class Place:
    """A postal address. county and street stand without their kind."""

    number: str
    street: str
    kind: str
    unit: str
    city: str
    state: str
    state_name: str
    zip: str
    county: str


@dataclass
class Subject:
    """The person whom a note is about, with what a structured record holds of them."""

    person: Person
    relative: Person
    provider: Person
    place: Place
    phone: str
    email: str
    mrn: str
    insurance: str
    ssn: str
    extra: dict[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, str]:
        """The structured row, in the keys of a hospital's patient table."""
        place = self.place
        return {
            "given": self.person.given,
            "family": self.person.family,
            "dob": self.person.born.isoformat(),
            "mrn": self.mrn,
            "phone": f"({self.phone[:3]}) {self.phone[3:6]}-{self.phone[6:]}",
            "address": f"{place.number} {place.street} {place.kind}{' ' + place.unit if place.unit else ''}",
            "city": place.city,
            "state": place.state,
            "zip": place.zip,
            "email": self.email,
            "relative": f"{self.relative.given} {self.relative.family}",
            "insurance_id": self.insurance,
            "provider": f"{self.provider.given} {self.provider.family}",
        }


def plain(name: str) -> str:
    """A name as an address or a login holds it: small letters of ASCII alone."""
    return re.sub("[^a-z]", "", unicodedata.normalize("NFKD", name).lower()) or "user"


def for_split(value: str, split: str) -> bool:
    """Whether a name may be used: the two sets share no name."""
    return (hashlib.sha256(value.casefold().encode()).digest()[0] % 2 == 0) == (split == "dev")


@cache
def _listed(bank: str, split: str) -> tuple[str, ...]:
    return tuple(sorted({name for line in banks()[bank] for name in line.split(", ") if for_split(name, split)}))


@cache
def _fakers() -> tuple[Faker, ...]:
    return tuple(Faker(locale) for locale in LOCALES)


class Registry:
    """Draws people, places and numbers of one split from one random source."""

    def __init__(self, split: str, rng: random.Random) -> None:
        self.split, self.rng = split, rng

    def person(self, family: str | None = None, born: tuple[int, int] = (1917, 2019)) -> Person:
        """Somebody; with a family name of their own three times in four where one is given."""
        rng = self.rng
        sex = rng.choice("FM")
        own = family if family and rng.random() < 0.75 else self.family()
        given, nick = self.given(sex)
        day = dt.date(rng.randint(*born), 1, 1) + dt.timedelta(days=rng.randint(0, 364))
        return Person(given, own, self.given(sex)[0], sex, day, nick)

    def given(self, sex: str) -> tuple[str, str]:
        """A given name and its nickname (or none)."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.12:
            return rng.choice(_listed("names_given_words", self.split)), ""
        if chance < 0.5:
            return rng.choice(_listed("names_given_f" if sex == "F" else "names_given_m", self.split)), ""
        if chance < 0.6:
            return self._made(2), ""
        if chance < 0.72:
            pairs = [pair.split("/") for pair in _listed("names_nick_f" if sex == "F" else "names_nick_m", self.split)]
            given, nick = rng.choice(pairs)
            return given, nick
        return self._faked("first_name_female" if sex == "F" else "first_name_male"), ""

    def family(self) -> str:
        """A family name."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.1:
            return rng.choice(_listed("names_family_words", self.split))
        if chance < 0.16:
            return rng.choice(_listed("names_family_eponyms", self.split))
        if chance < 0.48:
            return rng.choice(_listed("names_family", self.split))
        if chance < 0.6:
            return self._made(rng.choice((2, 3)))
        if chance < 0.68:
            return f"{rng.choice(_listed('names_family', self.split))}-{self._faked('last_name')}"
        return self._faked("last_name")

    def _faked(self, what: str) -> str:
        for _ in range(200):
            faker = self.rng.choice(_fakers())
            faker.seed_instance(self.rng.getrandbits(32))
            provider = getattr(faker, what, faker.first_name)
            name = unicodedata.normalize("NFC", str(provider()))
            letters = re.sub("[ '-]", "", name)
            if len(letters) > 1 and letters.isalpha() and (name.isascii() or self.rng.random() < 0.4) and for_split(name, self.split):
                return name
        raise AssertionError("no locale has a name for this split")

    def _made(self, syllables: int) -> str:
        """A name that stands in no list: a person's name need not."""
        rng = self.rng
        known = _listed("names_syllables", "dev") + _listed("names_syllables", "holdout")
        while True:
            name = "".join(rng.choice(known) for _ in range(syllables)).capitalize()
            if for_split(name, self.split) and len(name) > 3:
                return name

    def place(self) -> Place:
        """A postal address."""
        rng = self.rng
        state, state_name = rng.choice(banks()["states"]).split(" ", 1)
        numbered = rng.choice(("12th", "3rd", "W 4th", "NE 82nd", "S. 7th", "East 41st"))
        street = rng.choice((rng.choice(_listed("streets", self.split)), self.family(), numbered))
        units = (
            f"Apt {rng.randint(1, 40)}{rng.choice('ABC')}",
            f"#{rng.randint(1, 999)}",
            f"Unit {rng.randint(1, 90)}",
            f"Suite {rng.randint(100, 900)}",
        )
        unit = rng.choice(("", "", "", *units))
        return Place(
            str(rng.randint(1, 19999)),
            street,
            rng.choice(KINDS),
            unit,
            self.city(),
            state,
            state_name,
            f"{rng.randint(1001, 99950):05d}",
            rng.choice(_listed("counties", self.split)),
        )

    def city(self) -> str:
        """A town: a real one's name, a made one, or one that is also a word."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.6:
            return rng.choice(_listed("cities", self.split))
        if chance < 0.75:
            return f"{rng.choice(('East', 'West', 'North', 'South', 'Port', 'Lake', 'New', 'Mount', 'Fort'))} {self.family()}"
        return self._made(2) + rng.choice(("ville", "ton", "burg", " Falls", " Springs", " Heights", "dale", " Creek", "field", " City"))

    def digits(self, n: int) -> str:
        """n digits, the first not 0."""
        return str(self.rng.randint(1, 9)) + "".join(str(self.rng.randint(0, 9)) for _ in range(n - 1))

    def phone(self) -> str:
        """Ten digits of a North American number."""
        return f"{self.rng.randint(2, 9)}{self.digits(9)}"

    def email(self, person: Person) -> str:
        """An address of a person, which may or may not tell the name."""
        rng = self.rng
        given, family = plain(person.given), plain(person.family)
        local = rng.choice(
            (
                f"{given}.{family}",
                f"{given[0]}{family}{rng.randint(1, 99)}",
                f"{family}_{given}",
                f"{given}{person.born.year}",
                f"{family}{self.digits(3)}",
                f"sunny{rng.choice(('daze', 'gal', 'fisher', 'trucker'))}{self.digits(2)}",
            )
        )
        return f"{local}@{rng.choice(MAIL)}"

    def subject(self, today: dt.date) -> Subject:
        """The person whom a note of today is about."""
        rng = self.rng
        years = rng.choice(((1, 17), (18, 45), (40, 70), (60, 89), (60, 89), (90, 104)))
        age = rng.randint(*years)
        person = self.person(born=(today.year - age - 1, today.year - age - 1))
        letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTWXYZ") for _ in range(3))
        return Subject(
            person,
            self.person(person.family),
            self.person(),
            self.place(),
            self.phone(),
            self.email(person),
            rng.choice((self.digits(7), self.digits(8), self.digits(6), f"E{self.digits(8)}", f"0{self.digits(8)}")),
            rng.choice(
                (letters + self.digits(9), letters[0] + self.digits(8), self.digits(11), f"{self.digits(4)}-{letters[:2]}-{self.digits(4)}")
            ),
            f"{rng.randint(100, 772):03d}{rng.randint(10, 99)}{rng.randint(1000, 9999)}",
        )
