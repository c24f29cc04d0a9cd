"""A policy as text: values written as YAML that reads back as the same values, each column with its reason beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from anonymize.policy.reading import Path_

#: Words that YAML, in one of its versions, reads as something else than text.
_NO_TEXTS = frozenset("null true false yes no on off y n nan inf".split())
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
#: Short forms and sentences: plain where nothing in them is a sign of YAML's.
_PLAIN_WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*( [A-Za-z0-9_.:/<-]+)*")
WIDTH = 140


def quoted(text: str) -> str:
    """A word as YAML reads it back: a name with a line break, a quote or a control character stays on its line."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _NO_TEXTS
    # JSON's escapes are YAML's, but for the few signs that YAML breaks lines at.
    written = json.dumps(text, ensure_ascii=False)
    return text if plain else re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff]", lambda match: f"\\u{ord(match[0]):04x}", written)


def in_words(text: str) -> str:
    """The same for a short form (`quasi us-zip3`), which needs no quotes where its words hold no sign of YAML's."""
    plain = _PLAIN_WORDS.fullmatch(text) and not re.search(r":( |$)", text) and text.lower() not in _NO_TEXTS
    return text if plain else quoted(text)


def flow(value: Any) -> str:
    """Any value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    return str(value) if isinstance(value, int) else quoted(str(value))


def written(values: Mapping[str, Any], reasons: Mapping[Path_, str], head: str = "") -> str:
    """The text of a policy: a block a table, a line a column with its reason beside it. head: plain lines that become comments."""
    lines = [f"# {line}".rstrip() for line in head.splitlines()]
    for key, value in values.items():
        if key == "tables" and isinstance(value, Mapping):
            lines.append("tables:")
            for table, spec in value.items():
                lines += _table(str(table), spec, reasons)
        else:
            lines += _block(quoted(str(key)), value, "")
    return "\n".join(lines) + "\n"


def _table(name: str, spec: Any, reasons: Mapping[Path_, str]) -> Iterator[str]:
    why = reasons.get(("tables", name))
    yield f"  {quoted(name)}:" + (f"   # {why}" if why else "")
    for key, value in spec.items() if isinstance(spec, Mapping) else ():
        if key != "columns" or not isinstance(value, Mapping) or not value:
            yield from _block(quoted(str(key)), value, "    ")
            continue
        yield "    columns:"
        for column, rule in value.items():
            why = reasons.get(("tables", name, "columns", str(column)))
            yield column_line(str(column), rule, why or "")


def column_line(column: str, rule: Any, why: str, indent: str = "      ") -> str:
    """One column's line, its reason beside it."""
    said = in_words(rule) if isinstance(rule, str) else flow(rule)
    return f"{indent}{quoted(column)}: {said}" + (f"   # {' '.join(why.split())}" if why else "")


def _block(name: str, value: Any, indent: str) -> Iterator[str]:
    """On one line where it fits."""
    line = f"{indent}{name}: {flow(value)}"
    if not isinstance(value, Mapping) or not value or len(line) <= WIDTH:
        yield line
        return
    yield f"{indent}{name}:"
    for key, item in value.items():
        yield from _block(quoted(str(key)), item, f"{indent}  ")
