"""What a source has that nobody has seen before: extensions that the mapping does not name, code systems and elements that are not known.

All of it stays out; it is counted by its path, so that somebody sees it. A name that may say more than a name (with digits in a row, blanks)
is not told: it is counted as `…`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from anonymize.sources.fhir.codings import Systems
from anonymize.sources.fhir.reading import Resource
from anonymize.sources.mapping import Mapped

#: So many different paths are told; the others as one number.
TOLD = 50
_URLS = re.compile(rb'"(?:url|system)"\s*:\s*"((?:[^"\\]|\\.)*)"')
_NAME = re.compile(r"[A-Za-z_][A-Za-z_]{0,63}")
_ADDRESS = re.compile(r"(https?://)?[A-Za-z0-9.-]{1,80}(:[0-9]{2,5})?(/[A-Za-z0-9._-]{1,80})*/?|urn:oid:[0-2](\.[0-9]{1,12}){1,20}")
_NUMBER = re.compile(r"[0-9]{4}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}|@")


@cache
def elements() -> dict[str, frozenset[str]]:
    """The elements of each kind of resource, in R4 or R5."""
    data = YAML(typ="safe").load((files("anonymize.sources.fhir") / "elements.yaml").read_text(encoding="utf-8"))
    return {str(kind): frozenset(str(names).split()) for kind, names in data.items()}


class Seen:
    """Counts, resource by resource. mapping: what is named there was seen."""

    def __init__(self, mapping: Mapping[str, Mapped]) -> None:
        self._extensions = {step.where[1] for table in mapping.values() for step in _steps(table) if step.where and step.where[0] == ("url",)}
        self._systems = next((column.systems for table in mapping.values() for column in table.columns.values()), Systems())
        self._fine: set[bytes] = set()
        self.counts: Counter[str] = Counter()

    def see(self, resource: Resource) -> None:
        """Look at one resource. A first look goes over its bytes; only what holds something unknown is walked."""
        known = elements().get(resource.kind)
        if known is not None and not resource.record.keys() <= known:
            for name in resource.record.keys() - known:
                # `_birthDate` holds the extensions of `birthDate`.
                if not (name.startswith("_") and name[1:] in known):
                    self.counts[f"{resource.kind}.{_told(name, _NAME)}"] += 1
        if not set(_URLS.findall(resource.raw)) <= self._fine:
            for path in self._unknown(resource.record, resource.kind):
                self.counts[path] += 1

    def told(self) -> dict[str, int]:
        """Path -> how often; the most frequent first, the rest as one number."""
        first = dict(self.counts.most_common(TOLD))
        rest = self.counts.total() - sum(first.values())
        return first | ({"others": rest} if rest else {})

    def _unknown(self, record: dict[str, Any], kind: str) -> Iterator[str]:
        stack: list[tuple[Any, str, str]] = [(record, kind, "")]
        while stack:
            node, path, field = stack.pop()
            if isinstance(node, list):
                stack.extend((one, path, field) for one in node)
                continue
            if not isinstance(node, dict):
                continue
            for word in ("url", "system"):
                value = node.get(word)
                if isinstance(value, str) and self._is_known(word, value, field, node):
                    self._fine.add(value.encode())
                elif isinstance(value, str):
                    yield f"{path}[{word}={_told(value, _ADDRESS)}]"
            stack.extend((value, f"{path}.{_told(name, _NAME)}", name) for name, value in node.items() if isinstance(value, dict | list))

    def _is_known(self, word: str, value: str, field: str, node: Mapping[str, Any]) -> bool:
        if word == "url":  # an address within an extension is part of it; that of an attachment is data
            return field not in ("extension", "modifierExtension") or ":" not in value or value in self._extensions
        if "code" not in node:  # of an identifier or a telephone: not a code's
            return True
        return self._systems.form(value) is not None


def _steps(table: Mapped) -> Iterable[Any]:
    yield from table.each
    for column in table.columns.values():
        for path in (column.path, *column.others):
            yield from path


def _told(name: str, form: re.Pattern[str]) -> str:
    return name if form.fullmatch(name) and (name.startswith("urn:oid:") or not _NUMBER.search(name)) else "…"
