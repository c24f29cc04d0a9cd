"""Codes of known systems, and local ones: `code_systems.yaml` says which may be taken as they are."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files

from ruamel.yaml import YAML


@lru_cache(maxsize=65_536)
def is_known(code: str, system: str | None) -> bool:
    """Whether a code is of a known system, by the name or OID that stands beside it, and has the form of its codes."""
    if not system:
        return False
    system = system.strip()
    by_name, patterns = _systems()
    form = by_name.get(system.upper()) or next((form for pattern, form in patterns if pattern.fullmatch(system)), None)
    return form is not None and form.fullmatch(code.strip()) is not None


@cache
def _systems() -> tuple[dict[str, re.Pattern[str]], list[tuple[re.Pattern[str], re.Pattern[str]]]]:
    by_name: dict[str, re.Pattern[str]] = {}
    patterns: list[tuple[re.Pattern[str], re.Pattern[str]]] = []
    for entry in YAML(typ="safe").load((files("anonymize.sources") / "code_systems.yaml").read_text(encoding="utf-8")):
        form = re.compile(entry["form"])
        for name in entry["names"]:
            if entry.get("patterns"):
                patterns.append((re.compile(name), form))
            else:
                by_name[str(name).upper()] = form
    return by_name, patterns
