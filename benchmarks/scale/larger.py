"""A FHIR export made larger: each resource again for further people, under ids, names, numbers and days of their own."""

from __future__ import annotations

import random
import re
import uuid
from datetime import date, timedelta
from pathlib import Path

from benchmarks.scale.stays import FIRST_NAMES, LAST_NAMES

#: Ids and references; Synthea's names (`Marine542`); social security numbers; days.
_VARIED = re.compile(
    r"(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|(?P<name>\b[A-Z][a-zà-ÿ]+\d{1,3}\b)|(?P<ssn>\b999-\d\d-\d{4}\b)"
    r"|(?P<day>\b(?:19|20)\d\d-(?:0\d|1[0-2])-(?:[0-2]\d|3[01]))"
)


def copy(files: list[Path], folder: Path, copies: int, *, seed: int = 7) -> int:
    """Write the NDJSON files so many times over into files of the same names; returns the number of resources. The first copy is as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    resources, names = 0, _names(files)
    copied = [_Copy(number, seed, names) for number in range(1, copies)]
    for file in files:
        text = file.read_text(encoding="utf-8").rstrip("\n") + "\n"
        with (folder / file.name).open("w", encoding="utf-8") as out:
            out.write(text)
            for one in copied:
                out.write(one.of(text))
        resources += copies * text.count("\n")
    return resources


def _names(files: list[Path]) -> list[str]:
    """Names that are no word of the export: of a patient named Fish, `Allergy to fish` is a leak, and the leak gate says so."""
    words = {word.lower() for file in files for word in re.findall(r"[^\W\d_]+", file.read_text(encoding="utf-8"))}
    return sorted({name for name in (*FIRST_NAMES["F"], *FIRST_NAMES["M"], *LAST_NAMES) if name.lower() not in words})


class _Copy:
    """What stands for what in one copy: the same in all files."""

    def __init__(self, number: int, seed: int, names: list[str]) -> None:
        self.name, self.names = f"{seed} {number}", names
        self.off = timedelta(days=random.Random(self.name).randint(-3_000, -1))
        self.known: dict[str, str] = {}

    def of(self, text: str) -> str:
        return _VARIED.sub(self._other, text)

    def _other(self, match: re.Match[str]) -> str:
        what = match.group()
        if what not in self.known:
            self.known[what] = self._made(match.lastgroup or "", what)
        return self.known[what]

    def _made(self, kind: str, what: str) -> str:
        drawn = random.Random(f"{self.name} {what}")
        if kind == "id":
            return str(uuid.UUID(int=drawn.getrandbits(128), version=4))
        if kind == "name":
            return f"{drawn.choice(self.names)}{drawn.randint(1, 999)}"
        if kind == "ssn":
            return f"999-{drawn.randint(10, 99)}-{drawn.randint(1_000, 9_999)}"
        try:
            return (date.fromisoformat(what) + self.off).isoformat()
        except ValueError:  # a number that looks like a day
            return what
