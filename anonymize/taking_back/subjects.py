"""Whom it is about: subject keys as the source writes them, from a file or a table, and the pseudonyms that stand for them."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from anonymize.errors import AnonymizeError, SourceError, without_values
from anonymize.keys import Key
from anonymize.lasting import linkage
from anonymize.policy.model import Method, Policy
from anonymize.sources import open_source
from anonymize.sources.base import Malformed
from anonymize.sources.mapping import reference_id
from anonymize.transform.pseudonym import SUBJECT, canonical, pseudonymize

_ONE_ID = re.compile(r"[^\s,;]+")


@dataclass(frozen=True)
class KeyedIds:
    """Pseudonyms of some subjects: what is published of them, and nothing that leads back. by_namespace: text of 24 signs, one a subject."""

    by_namespace: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, keys: Sequence[str], key: Key, policy: Policy) -> KeyedIds:
        """The pseudonyms of subject keys, under every namespace that the policy gives to the subject."""
        texts = canonical(pa.array(sorted(set(keys)), pa.string()))
        return cls({name: tuple(pseudonymize(texts, key, namespace=name).to_pylist()) for name in namespaces(policy)})

    @property
    def subjects(self) -> tuple[str, ...]:
        """As in `__subject`, beside every record of a run."""
        return self.by_namespace.get(SUBJECT, ())

    def texts(self) -> list[str]:
        """Every form that a text column can hold."""
        return sorted({one for ids in self.by_namespace.values() for one in ids})

    def numbers(self) -> list[int]:
        """Every form that an int64 column can hold: the same digests, cut to 63 bits."""
        return sorted({int.from_bytes(base64.b32decode(one.upper())[:8], "big") >> 1 for one in self.texts()})

    def __or__(self, other: KeyedIds) -> KeyedIds:
        names = self.by_namespace.keys() | other.by_namespace.keys()
        both = {n: tuple(sorted({*self.by_namespace.get(n, ()), *other.by_namespace.get(n, ())})) for n in sorted(names)}
        return KeyedIds(both)

    def __len__(self) -> int:
        return len(self.subjects)


def namespaces(policy: Policy) -> list[str]:
    """The namespaces under which the policy publishes a subject's key; the one of `__subject` among them."""
    found = {SUBJECT}
    for table in policy.tables:
        rule = policy.tables[table].columns.get(policy.subject_column(table) or "")
        if rule is not None and rule.method is Method.PSEUDONYM:
            found.add(rule.namespace or SUBJECT)
    return sorted(found)


def from_source(policy: Policy, connections: Callable[[str], str] | None = None) -> list[str]:
    """The keys of the subjects that the policy's `optout` names; none where it names no source.

    Where systems are linked: the persons of these keys. Raises SourceError where the list cannot be read, or a record of it is malformed: a
    list that is half read is no list; AnonymizeError where a file's key is of several persons.
    """
    asked = policy.optout
    if asked is None:
        return []
    people = linkage.read(policy, connections)
    if asked.file is not None:
        keys_of_file = read_file(policy.path(asked.file), asked.column)
        return keys_of_file if people is None else people.anywhere(keys_of_file)
    name = asked.source or next(iter(policy.sources))
    source = open_source(name, policy.sources[name], policy, connections)
    keys: set[str] = set()
    where = f"opt-out of source '{name}', table '{asked.table}'"
    with without_values(where):
        for item in source.read(asked.table or "", [asked.column], query=asked.query):
            if isinstance(item, Malformed):
                raise SourceError(f"{where}: row {item.row} cannot be read ({item.reason}). Mend it: who opted out must be known")
            keys.update(one for one in canonical(item[asked.column]).drop_null().to_pylist() if one)
    if people is not None:
        return sorted(person for person in (people.person(name, key) for key in keys) if person is not None)
    return sorted(keys)


def persons(policy: Policy, keys: Sequence[str]) -> Sequence[str]:
    """The persons of keys that somebody gave, where the policy links systems; else the keys. Raises AnonymizeError where a key is of several."""
    people = linkage.read(policy)
    return keys if people is None else people.anywhere(keys)


def read_file(file: Path, column: str | None = None) -> list[str]:
    """Subject keys from a file: one a line; a CSV's column; or what a FHIR bulk export says was deleted (its manifest, whose `deleted`
    files stand beside it, or such a file: NDJSON of Bundles with DELETE requests).

    Raises SourceError, which names the file and the line, never what stands there.
    """
    if not file.is_file():
        raise SourceError(f"{file} is no file. Give one subject key a line, a CSV, or the manifest of a FHIR bulk export")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file} cannot be read as UTF-8 text ({type(error).__name__})") from None
    start = text.lstrip()[:1]
    found = _fhir(file, text) if start == "{" else _table(file, text, column)
    keys = sorted({one.strip() for one in found if one.strip()})
    if not keys and start != "{":
        raise SourceError(f"{file} names no subject. Give one subject key a line")
    return keys


def _table(file: Path, text: str, column: str | None) -> Iterable[str]:
    lines = text.splitlines()
    if not any("," in line or "\t" in line or ";" in line for line in lines):
        return lines[1:] if lines and column is not None and lines[0].strip() == column else lines
    separator = max(",;\t", key=lines[0].count)
    rows = list(csv.reader(lines, delimiter=separator))
    head = [name.strip() for name in rows[0]]
    if column is None or column not in head:
        raise SourceError(
            f"{file} has several columns; which holds the subject key? Give --column" + (f"; '{column}' is none of them" if column else "")
        )
    at = head.index(column)
    short = next((number for number, row in enumerate(rows, 1) if row and len(row) <= at), None)
    if short is not None:
        raise SourceError(f"{file}:{short}: the line has too few columns")
    return [row[at] for row in rows[1:] if row]


def _fhir(file: Path, text: str) -> Iterator[str]:
    """Source: FHIR Bulk Data Access IG 2.0, Complete Status, `deleted`: NDJSON of transaction Bundles of DELETE entries."""
    whole = _json(text)
    if isinstance(whole, dict) and "deleted" in whole:
        for item in whole["deleted"] or []:
            part = file.parent / str(_get(item, "url", file)).rpartition("/")[2].partition("?")[0]
            if not part.is_file():
                raise SourceError(f"{file} names a file of deleted records that does not stand beside it: {part.name}")
            yield from _bundles(part, part.read_text(encoding="utf-8"))
        return
    if isinstance(whole, dict) and "output" in whole and "resourceType" not in whole:
        return  # a manifest of an export from which nothing was deleted
    yield from _bundles(file, text)


def _bundles(file: Path, text: str) -> Iterator[str]:
    """Of each Bundle the Patients that are deleted; other resources are not persons, and leave with the next full export."""
    for number, line in enumerate(text.splitlines(), 1):
        bundle = _json(line) if line.strip() else {"resourceType": "Bundle"}
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise SourceError(f"{file}:{number}: is no FHIR Bundle")
        for entry in bundle.get("entry") or []:
            request = _get(entry, "request", file)
            url = re.sub(r"/_history/.*$", "", str(_get(request, "url", file)))
            if str(_get(request, "method", file)).upper() == "DELETE" and url.split("/")[-2:-1] == ["Patient"]:
                yield reference_id(url)


def _get(value: Any, name: str, file: Path) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise SourceError(f"{file}: a deleted record lacks its '{name}'")
    return value[name]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def no_value_in(text: str, keys: Iterable[str]) -> None:
    """Raises AnonymizeError where a reason repeats a subject's key: it will stand where everybody reads it."""
    said = {word.strip(".,:;()[]'\"") for word in _ONE_ID.findall(text)} | set(_ONE_ID.findall(text))
    if said & {key for key in keys if len(key) > 4}:  # shorter ones are words and numbers that stand in any reason
        raise AnonymizeError("the reason names a subject's key, and everybody reads it. Say why without saying who")
