"""Resources out of files: NDJSON, a Bundle, a list of resources, one resource; packed or not. What is none of these falls out with a reason."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anonymize.sources.base import Malformed
from anonymize.sources.json_lines import LIMIT, Written
from anonymize.sources.opening import open_bytes

LINES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
DOCUMENTS = (".json", ".json.gz")
#: Bytes of one JSON document, which is held in memory as a whole.
LARGEST = 512 << 20


@dataclass(frozen=True)
class Resource:
    """One resource, and the bytes that it was written in (of a Bundle's entry, written anew)."""

    record: dict[str, Any]
    raw: bytes

    @property
    def kind(self) -> str:
        kind = self.record.get("resourceType")
        return kind if isinstance(kind, str) else ""


def resources(file: Path) -> Iterator[Resource | Malformed]:
    """All resources of a file, those within Bundles among them. A file that breaks off, or cannot be opened, gives what it has and then one
    Malformed: `cut-off`, `no-permission`, `unreadable`; its `raw` is the file's name."""
    try:
        with open_bytes(file) as stream:
            if file.name.lower().endswith(DOCUMENTS):
                data = stream.read(LARGEST + 1)
                yield from _document(_utf8(data)) if len(data) <= LARGEST else [Malformed(0, "too-large", raw=file.name)]
                return
            while line := stream.readline(LIMIT):
                if len(line) == LIMIT and not line.endswith(b"\n"):
                    while (line := stream.readline(LIMIT)) and not line.endswith(b"\n"):
                        pass
                    yield Malformed(0, "too-large", raw=file.name)
                elif line.strip():
                    yield from _document(line)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield Malformed(0, "cut-off", raw=file.name)
    except PermissionError:
        yield Malformed(0, "no-permission", raw=file.name)
    except OSError:
        yield Malformed(0, "unreadable", raw=file.name)


def _utf8(data: bytes) -> bytes:
    """JSON in UTF-16 or with a byte order mark, as UTF-8."""
    encoding = json.detect_encoding(data)
    try:
        return data if encoding == "utf-8" else data.decode(encoding).encode()
    except UnicodeError:
        return data


def _document(raw: bytes) -> Iterator[Resource | Malformed]:
    value = _parsed(raw, Written)
    if isinstance(value, Malformed):
        yield value
    elif isinstance(value, dict) and value.get("resourceType") != "Bundle":
        yield Resource(value, raw)
    elif isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value)):
        again = _parsed(raw, _marked)
        for one in again if isinstance(again, list) else [again]:
            yield from _alone(one)
    else:
        yield Malformed(0, "not-object", raw=raw.decode("utf-8", "replace"))


def _parsed(raw: bytes, decimals: Callable[[str], Any]) -> Any:
    try:
        # NaN is no JSON, but Python and pandas write it for what is missing.
        return json.loads(raw, parse_float=decimals, parse_constant=lambda _: None)
    except UnicodeDecodeError:
        return Malformed(0, "bad-encoding", raw=raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return Malformed(0, "not-json", raw=raw.decode("utf-8", "replace"))


def _alone(value: Any) -> Iterator[Resource | Malformed]:
    if isinstance(value, dict) and value.get("resourceType") == "Bundle":
        yield from _entries(value)
        return
    raw = _written(value)
    yield Resource(json.loads(raw, parse_float=Written), raw) if isinstance(value, dict) else Malformed(0, "not-object", raw=raw.decode())


def _entries(bundle: dict[str, Any]) -> Iterator[Resource | Malformed]:
    """A Bundle's resources, whatever kind of Bundle it is; references to an entry's `fullUrl` become references to its id."""
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        yield Malformed(0, "not-bundle", raw=_written(bundle).decode())
        return
    ids = _named(entries)
    for entry in entries:
        given = entry if isinstance(entry, dict) else {}
        request = given.get("request")
        if isinstance(given.get("resource"), dict):
            _meet(given["resource"], ids)
            yield from _alone(given["resource"])
        elif isinstance(request, dict) and request.get("method") == "DELETE":
            yield Malformed(0, "deleted", raw=_written(entry).decode())
        elif "response" not in given:  # an answer to what was asked may have no resource
            yield Malformed(0, "no-resource", raw=_written(entry).decode())


def _named(entries: list[Any]) -> dict[str, str]:
    """fullUrl -> `Patient/17`; an entry without an id gets the one that its fullUrl has."""
    ids: dict[str, str] = {}
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        address = entry.get("fullUrl") if isinstance(resource, dict) else None
        if isinstance(resource, dict) and isinstance(address, str) and isinstance(resource.get("resourceType"), str):
            if not isinstance(resource.get("id"), str):
                resource["id"] = address.rstrip("/").rpartition("/")[2].rpartition(":")[2]
            ids[address] = f"{resource['resourceType']}/{resource['id']}"
    return ids


def _meet(node: Any, ids: dict[str, str]) -> None:
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict) and isinstance(node.get("reference"), str) and node["reference"] in ids:
            node["reference"] = ids[node["reference"]]
        stack.extend(value for value in (node.values() if isinstance(node, dict) else node) if isinstance(value, dict | list))


#: A decimal on its way through Python: its last zeros are part of it (`1.10`), and `json` writes no number as it was.
_MARK = re.compile(rb'"\\u0000n([-+.0-9eE]+)\\u0000"')


def _marked(text: str) -> str:
    return f"\0n{text}\0"


def _written(value: Any) -> bytes:
    """A value as one line of JSON."""
    return _MARK.sub(rb"\1", json.dumps(value, separators=(",", ":")).encode())
