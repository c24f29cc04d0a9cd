"""NDJSON: one JSON object a line. A line that is none falls out, and reading goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from anonymize.sources.base import Malformed
from anonymize.sources.opening import open_bytes

#: Bytes of one line: far over any note; a longer one is malformed, and is not held in memory.
LIMIT = 256 << 20


class Written(float):
    """A number as it is written: a decimal's last zeros are part of it (`1.10`)."""

    text: str

    def __new__(cls, text: str) -> Written:
        number = super().__new__(cls, text)
        number.text = text
        return number


def json_lines(file: Path) -> Iterator[tuple[dict[str, Any], int] | Malformed]:
    """Each line's object with the line's size in bytes; a Malformed (its row is counted by the caller) where a line is no object."""
    with open_bytes(file) as stream:
        yield from json_lines_of(stream)


def json_lines_of(stream: BinaryIO) -> Iterator[tuple[dict[str, Any], int] | Malformed]:
    """As `json_lines`, of what a stream gives."""
    for raw in _lines(stream):
        if raw is None:
            yield Malformed(0, "too-large")
        elif raw.strip():
            yield parsed(raw)


def as_text(value: Any) -> str | None:
    """A JSON value as a column's text: scalars as they are written, objects and arrays as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Written):
        return value.text
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines; None for one over LIMIT."""
    while line := stream.readline(LIMIT):
        if len(line) < LIMIT or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(LIMIT)) and not rest.endswith(b"\n"):
            pass
        yield None


def parsed(raw: bytes) -> tuple[dict[str, Any], int] | Malformed:
    """The object that some bytes are, with their number; a Malformed where they are none."""
    try:
        # NaN is no JSON, but Python and pandas write it for what is missing.
        value = json.loads(raw, parse_float=Written, parse_constant=lambda _: None)
    except UnicodeDecodeError:
        return Malformed(0, "bad-encoding", raw=raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return Malformed(0, "not-json", raw=raw.decode("utf-8", "replace"))
    return (value, len(raw)) if isinstance(value, dict) else Malformed(0, "not-object", raw=raw.decode("utf-8", "replace"))
