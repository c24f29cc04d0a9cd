"""JSON files that are one document: an array of records, or an object with a list of them. Read element by element, in flat memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from anonymize.sources.base import Malformed
from anonymize.sources.json_lines import LIMIT, parsed
from anonymize.sources.places import Unreadable

_CHUNK = 1 << 20
_BLANK = re.compile(rb"[ \t\r\n]*")
#: What opens, closes or hides brackets: whole strings are stepped over; one that the buffer cuts waits for more.
_MARK = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*("|\\?\Z)|[{}\[\]]', re.DOTALL)
_SCALAR_END = re.compile(rb"[,\]}]")


def json_document(stream: BinaryIO, path: str = "") -> Iterator[tuple[dict[str, Any], int] | Malformed]:
    """Each element of the document's list of records with its size in bytes; a Malformed where one is no object.

    path: where the list stands (`data.items`); empty: the document itself, or its first list of objects. Raises Unreadable: `not-json`,
    `cut-off` where the document ends before it is closed, `no-records` where there is no such list.
    """
    text = _Text(stream)
    found = False
    for start, end in _elements(text, [part for part in path.split(".") if part]):
        found = True
        if start < 0:
            continue
        yield parsed(text.between(start, end))
    text.blank()
    if text.sign() not in (b"", b"\0"):
        raise Unreadable("not-json", "Something stands behind its end. Is it NDJSON?")
    if not found:
        raise Unreadable("no-records", "It has no list of objects there. Set 'records' of the source")


class _Text:
    """The bytes of a stream, of which no more are held than are asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.held, self.at, self.ended = stream, b"", 0, False
        self.more()
        if self.held.startswith(b"\xef\xbb\xbf"):
            self.at = 3

    def more(self) -> bool:
        """Read on; False at the stream's end."""
        chunk = self._stream.read(_CHUNK)
        self.ended = not chunk
        self.held += chunk
        return bool(chunk)

    def blank(self) -> None:
        """Step over blanks, and let go of what was read."""
        while True:
            match = _BLANK.match(self.held, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.held) or not self.more():
                break
        if self.at > 4 * _CHUNK:
            self.held, self.at = self.held[self.at :], 0

    def sign(self) -> bytes:
        """The next byte; empty at the end."""
        return self.held[self.at : self.at + 1]

    def take(self, sign: bytes) -> None:
        """Step over one sign. Raises Unreadable where another stands there."""
        self.blank()
        if self.sign() != sign:
            raise Unreadable("not-json" if self.sign() else "cut-off", "Export it again")
        self.at += 1

    def between(self, start: int, end: int) -> bytes:
        return self.held[start:end]

    def value(self) -> tuple[int, int]:
        """Step over a value; where it begins and ends in what is held. Raises Unreadable (`cut-off`, `not-json`, `too-large`)."""
        self.blank()
        start = self.at
        if self.sign() in (b"{", b"["):
            end = self._closed(start)
        elif self.sign() == b'"':
            end = self._string(start)
        else:
            end = self._scalar(start)
        self.at = end
        return start, end

    def key(self) -> str:
        start, end = self.value()
        try:
            name = json.loads(self.between(start, end))
        except ValueError:
            raise Unreadable("not-json", "Export it again") from None
        return str(name)

    def _closed(self, start: int) -> int:
        depth, at = 0, start
        while True:
            match = _MARK.search(self.held, at)
            if match is None or (match[0][:1] == b'"' and match[1] != b'"'):
                at = match.start() if match else len(self.held)
                self._grow(start)
                continue
            at = match.end()
            if match[0] in (b"{", b"["):
                depth += 1
            elif match[0] in (b"}", b"]"):
                depth -= 1
                if depth == 0:
                    return at

    def _string(self, start: int) -> int:
        while (match := _MARK.match(self.held, start)) is None or match[1] != b'"':
            self._grow(start)
        return match.end()

    def _scalar(self, start: int) -> int:
        while (match := _SCALAR_END.search(self.held, start)) is None:
            if not self.more():
                return len(self.held)
        if match.start() == start:
            raise Unreadable("not-json", "Export it again")
        return match.start()

    def _grow(self, start: int) -> None:
        if len(self.held) - start > LIMIT:
            raise Unreadable("too-large", "One of its values is larger than any record")
        if not self.more():
            raise Unreadable("cut-off", "Export it again")


def _elements(text: _Text, path: list[str]) -> Iterator[tuple[int, int]]:
    """Where each element of the list begins and ends; (-1, -1) for a list that is there and has none."""
    text.blank()
    if text.sign() == b"[" and not path:
        yield from _list(text)
    elif text.sign() == b"{":
        yield from _object(text, path)
    else:
        raise Unreadable("not-json" if text.sign() else "empty", "Export it again")


def _list(text: _Text) -> Iterator[tuple[int, int]]:
    text.take(b"[")
    text.blank()
    yield -1, -1
    if text.sign() == b"]":
        text.at += 1
        return
    while True:
        yield text.value()
        text.blank()
        if text.sign() != b",":
            break
        text.at += 1
    text.take(b"]")


def _object(text: _Text, path: list[str]) -> Iterator[tuple[int, int]]:
    """The list within an object: at the path, else the first of its lists that begins with an object."""
    text.take(b"{")
    text.blank()
    found = False
    if text.sign() == b"}":
        text.at += 1
        return
    while True:
        name = text.key()
        text.take(b":")
        text.blank()
        if not found and path and name == path[0] and (text.sign() == b"{" if len(path) > 1 else text.sign() == b"["):
            found = True
            yield from _elements(text, path[1:])
        elif not found and not path and text.sign() == b"[" and _of_objects(text):
            found = True
            yield from _list(text)
        else:
            text.value()
        text.blank()
        if text.sign() != b",":
            break
        text.at += 1
    text.take(b"}")


def _of_objects(text: _Text) -> bool:
    """Whether the list that begins here begins with an object."""
    at = text.at + 1
    while (match := _BLANK.match(text.held, at)) and match.end() >= len(text.held) and text.more():
        continue
    return text.held[match.end() : match.end() + 1] == b"{" if match else False
