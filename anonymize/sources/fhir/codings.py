"""Codings: which code systems are known, and what a coding of one gives. What is of no known system gives nothing: a hospital's local codes,
and their displays, hold names and numbers as easily as a text does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

#: The words of a mapping that take something of a coding.
TAKES = ("code", "display", "system")


@dataclass(frozen=True)
class Systems:
    """Known code systems. exact: URL -> the form of its codes; below: what a URL begins with -> the form."""

    exact: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    below: tuple[tuple[str, re.Pattern[str]], ...] = ()

    def form(self, system: Any) -> re.Pattern[str] | None:
        """The form of a system's codes; None where the system is not known."""
        if not isinstance(system, str):
            return None
        found = self.exact.get(system.split("|")[0])
        # Numbers of people and of organizations (`sid/us-ssn`, `sid/us-npi`) are no codes.
        if found is None and not system.startswith("http://hl7.org/fhir/sid/"):
            found = next((form for start, form in self.below if system.startswith(start)), None)
        return found

    def known(self, coding: Any) -> bool:
        """Whether a coding is of a known system and its code of the system's form."""
        if not isinstance(coding, dict) or not isinstance(coding.get("code"), str):
            return False
        form = self.form(coding.get("system"))
        return form is not None and form.fullmatch(coding["code"]) is not None

    def take(self, what: str, nodes: Iterable[Any]) -> str | None:
        """The `code`, `display` or `system` of the first known coding. nodes: codings, quantities, or concepts that hold codings."""
        for coding in _codings(nodes):
            if self.known(coding):
                found = coding.get(what)
                return found if isinstance(found, str) else None
        return None

    def also(self, more: Mapping[str, str]) -> Systems:
        """With a site's own. Raises ValueError(system) where a form is no regular expression."""
        exact, below = dict(self.exact), list(self.below)
        for system, form in more.items():
            try:
                compiled = re.compile(form)
            except (re.error, TypeError):
                raise ValueError(system) from None
            if system.endswith("/"):
                below.insert(0, (system, compiled))
            else:
                exact[system] = compiled
        return Systems(exact, tuple(below))


@cache
def known_systems() -> Systems:
    """The systems that everybody knows (`code_systems.yaml`)."""
    return Systems().also(YAML(typ="safe").load((files("anonymize.sources.fhir") / "code_systems.yaml").read_text(encoding="utf-8")))


def _codings(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        if isinstance(node, dict) and isinstance(node.get("coding"), list):
            yield from node["coding"]
        else:
            yield node
