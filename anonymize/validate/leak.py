"""The leak gate: every identifier value that was extracted is searched in everything that is about to be published.

It is the referee, so it shares no code with detection. Values and texts are cut into normalized tokens; runs of one to six tokens are
joined, and their keyed hashes are compared, so neither a separator, nor case, nor accents hide a value.

What counts as a hit
- in a subject's own rows: any identifier of that subject, each word of its names alone (words of the language only as written with a
  capital), numbers of five signs or more;
- in any row: identifiers that stand for one person wherever they stand: full names, numbers of seven digits or more, e-mail addresses.
What does not: a single name, or a bare number, that fills a cell which k or more subjects share is a category (race `White`, a code), for
it tells nobody apart. In free text there is no such excuse.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa

from anonymize.keys import Key
from anonymize.policy.model import Kind

LONGEST = 6
_TOKEN = re.compile(r"[^\W_]+")
_DROPPED = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad]")


@dataclass(frozen=True)
class Leak:
    """Hits of one kind in one column: how many rows, and the first few positions. Never the value."""

    table: str
    column: str
    kind: str
    rows: int
    first: tuple[int, ...]

    def words(self) -> str:
        """A sentence for a steward."""
        where = ", ".join(str(row) for row in self.first)
        return f"{self.table}.{self.column}: {self.rows:,} rows hold a {self.kind} that stands in the source (rows {where})"


def tokens(text: str) -> list[str]:
    """Normalized tokens, case kept: compatibility forms, no accents, no invisible signs, runs of letters and digits."""
    flat = unicodedata.normalize("NFKD", _DROPPED.sub("", text))
    return _TOKEN.findall("".join(sign for sign in flat if not unicodedata.combining(sign)))


@dataclass
class Needles:
    """Sorted keyed hashes (uint64). anywhere: hits in any row; own: of (subject, value), hits in the subject's rows; known: of all values,
    to rule out cheaply what is no value at all; kinds: hash of a value -> its kind."""

    anywhere: np.ndarray
    own: np.ndarray
    known: np.ndarray
    kinds: np.ndarray
    secret: bytes = field(repr=False)

    def hash(self, text: str, subject: str = "") -> int:
        """The keyed hash of a value, or of a subject's value."""
        digest = blake2b(f"{subject}\x00{text}".encode(), digest_size=8, key=self.secret).digest()
        return int.from_bytes(digest, "little")

    def save(self, folder: Path) -> None:
        """Put them into the private workspace."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("anywhere", "own", "known", "kinds"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, key: Key) -> Needles:
        """Memory-mapped, so that many subjects cost no memory."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("anywhere", "own", "known", "kinds")}
        return cls(**arrays, secret=key.derive("needle"))


KINDS = list(Kind)


def build_needles(identifiers: Iterable[pa.RecordBatch], key: Key, is_common: Callable[[str], bool]) -> Needles:
    """Hash every subject's identifiers.

    identifiers: batches of `__subject` and `__identifiers` (list<struct<kind, value, column>>); is_common: whether a word is one of the
    language, so that as a name it only counts with a capital.
    """
    needles = Needles(*(np.zeros(0, np.uint64),) * 3, np.zeros(0, np.uint8), key.derive("needle"))
    anywhere: set[int] = set()
    own: set[int] = set()
    known: dict[int, int] = {}
    for batch in identifiers:
        for subject, record in zip(batch["__subject"].to_pylist(), batch["__identifiers"].to_pylist(), strict=True):
            for kind, form, everywhere in _forms(record or [], is_common):
                value = needles.hash(form)
                known.setdefault(value, KINDS.index(kind))
                own.add(needles.hash(form, subject))
                if everywhere:
                    anywhere.add(value)
    order = sorted(known)
    needles.known = np.array(order, np.uint64)
    needles.kinds = np.array([known[value] for value in order], np.uint8)
    needles.own, needles.anywhere = np.array(sorted(own), np.uint64), np.array(sorted(anywhere), np.uint64)
    return needles


def _forms(record: Sequence[dict[str, str]], is_common: Callable[[str], bool]) -> Iterator[tuple[Kind, str, bool]]:
    """(kind, form, whether it counts in any row) of a subject's identifiers."""
    names: dict[str, list[str]] = {}
    for item in record:
        kind, words = Kind(item["kind"]), tokens(item["value"])
        joined = "".join(words).lower()
        if kind is Kind.NAME:
            names.setdefault(item["column"], []).extend(words)
            if len(words) > 1:
                yield kind, joined, len(joined) > 7
        elif kind is Kind.DATE:
            yield from ((kind, form, False) for form in _date_forms(item["value"]))
        elif any(sign.isdigit() for sign in joined):
            if len(joined) >= 5:
                yield kind, joined, len(joined) >= 7
        elif len(joined) >= 4 and not (len(words) == 1 and is_common(words[0])):
            yield kind, joined, kind is Kind.EMAIL
    yield from _name_forms(names, is_common)


def _name_forms(names: dict[str, list[str]], is_common: Callable[[str], bool]) -> Iterator[tuple[Kind, str, bool]]:
    """Each word of the names, and each pair of words from two columns, in both orders (`Lee, Ann`)."""
    for column, words in names.items():
        for word in words:
            if len(word) >= 2 and not word.isdigit():
                yield from _single(word, is_common)
        for other, more in names.items():
            if other != column:
                pairs = {(a.lower(), b.lower()) for a in words[:4] for b in more[:4] if len(a) > 1 and len(b) > 1}
                yield from ((Kind.NAME, a + b, len(a + b) > 7) for a, b in sorted(pairs))


def _single(word: str, is_common: Callable[[str], bool]) -> Iterator[tuple[Kind, str, bool]]:
    if len(word) <= 3 or is_common(word):
        for written in {word, word.title(), word.upper()} - {word.lower()}:
            yield Kind.NAME, f"={written}", False
    else:
        yield Kind.NAME, word.lower(), False


def _date_forms(value: str) -> set[str]:
    parts = value[:10].split("-")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return set()
    year, month, day = parts
    m, d = str(int(month)), str(int(day))
    return {year + month + day, month + day + year, day + month + year, m + d + year, d + m + year}


@dataclass(frozen=True)
class _Hit:
    kind: Kind
    row: int
    cell: str
    single: bool


def search(
    table: str,
    column: str,
    cells: Iterator[tuple[pa.Array, pa.Array]],
    needles: Needles,
    *,
    is_text: bool,
    shared: Callable[[Sequence[str]], set[str]],
) -> list[Leak]:
    """Search one column.

    cells: pairs of the column and the rows' subjects (strings), batch by batch; shared: of some cells, those that k or more subjects hold.
    """
    hits: list[_Hit] = []
    counts: Counter[Kind] = Counter()
    first = 0
    for values, subjects in cells:
        for hit in _batch_hits(values, subjects, needles, first):
            counts[hit.kind] += 1
            if len(hits) < 10_000:
                hits.append(hit)
        first += len(values)
    if not is_text and hits:
        excused = shared(sorted({hit.cell for hit in hits if hit.single}))
        hits = [hit for hit in hits if not (hit.single and hit.cell in excused)]
        counts = Counter(hit.kind for hit in hits)
    rows = {kind: sorted(hit.row for hit in hits if hit.kind is kind) for kind in counts}
    return [Leak(table, column, kind.value, count, tuple(rows[kind][:3])) for kind, count in sorted(counts.items()) if count]


def _batch_hits(values: pa.Array, subjects: pa.Array, needles: Needles, first: int) -> Iterator[_Hit]:
    """At most one hit a row. Work is done once a distinct cell; the subject is asked only where a form is some subject's value."""
    encoded = values.cast(pa.string()).dictionary_encode()
    candidates = _candidates(encoded.dictionary.to_pylist(), needles)
    if not candidates:
        return
    cells = encoded.dictionary.to_pylist()
    for row, (index, subject) in enumerate(zip(encoded.indices.to_pylist(), subjects.to_pylist(), strict=True)):
        for form, kind in candidates.get(index, ()) if index is not None else ():
            if _in(needles.anywhere, needles.hash(form)) or (subject and _in(needles.own, needles.hash(form, subject))):
                single = form == "".join(tokens(cells[index])).lower() or form == f"={cells[index].strip()}"
                yield _Hit(kind, first + row, cells[index], single and (form.startswith("=") or form.isalpha() or form.isdigit()))
                break


def _candidates(cells: list[str | None], needles: Needles) -> dict[int, list[tuple[str, Kind]]]:
    """cell index -> the forms in it that are a value of some subject."""
    places: dict[str, list[int]] = {}
    for index, cell in enumerate(cells):
        for form in forms_of(cell) if cell else ():
            places.setdefault(form, []).append(index)
    if not places or not len(needles.known):
        return {}
    forms = list(places)
    hashes = np.array([needles.hash(form) for form in forms], np.uint64)
    at = np.minimum(np.searchsorted(needles.known, hashes), len(needles.known) - 1)
    found: dict[int, list[tuple[str, Kind]]] = {}
    for number in np.flatnonzero(needles.known[at] == hashes):
        for index in places[forms[number]]:
            found.setdefault(index, []).append((forms[number], KINDS[int(needles.kinds[at[number]])]))
    return found


def forms_of(text: str) -> set[str]:
    """Every run of one to six tokens of a text, joined; and each token as it is written."""
    words = tokens(text)
    lower = [word.lower() for word in words]
    forms = {f"={word}" for word in words if not word.islower() and not word.isdigit()}
    for start in range(len(lower)):
        joined = ""
        for word in lower[start : start + LONGEST]:
            joined += word
            if len(joined) > 80:
                break
            forms.add(joined)
    return forms


def _in(array: np.ndarray, value: int) -> bool:
    if not len(array):
        return False
    at = int(np.searchsorted(array, np.uint64(value)))
    return at < len(array) and int(array[at]) == value
