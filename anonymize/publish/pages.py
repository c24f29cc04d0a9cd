"""HTML that a release and the catalogue are read in: self-contained, nothing is asked of a network, every value is escaped."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from anonymize.publish.dictionary import Line
from anonymize.publish.manifest import ReleaseFacts
from anonymize.publish.parquet import SHIFTED
from anonymize.publish.readme import made, title

_FOLDER = Path(__file__).parent


def render(template: str, *, script: str = "", **known: Any) -> bytes:
    """A page of a template that extends `page.html.j2`, the same bytes for the same facts.

    script: the name of the file whose text is the page's only script; the page's policy (CSP) names its hash, so that no other one runs.
    """
    style, code = _text("page.css.j2"), _text(script) if script else ""
    shared = {"style": style, "style_hash": _hash(style), "script": code, "script_hash": _hash(code), "day": _day, "made": made, "many": _many}
    return str(_environment().get_template(template).render({**shared, **known})).encode()


def dictionary_page(facts: ReleaseFacts, lines: list[Line], *, version: str) -> bytes:
    """`dictionary.html`: the dictionary for people."""
    by_table = {name: list(group) for name, group in groupby(lines, key=lambda line: line.table)}
    shifted = next((line.column.shifted for line in lines if line.column.shifted), None)
    return render(
        "dictionary.html.j2",
        facts=facts,
        version=version,
        title=title(facts),
        shifted=SHIFTED.format(days=shifted) if shifted else "",
        tables=[(table, by_table.get(table.name, [])) for table in facts.tables],
    )


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(_FOLDER), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters["prose"] = _prose
    return made


@functools.cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8").strip()


def _prose(text: str) -> Markup:
    """A policy's words, which may name code as Markdown does, between backticks."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _many(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"
