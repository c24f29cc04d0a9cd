"""How HL7 v2 messages stand in files: one after the other, in batches (FHS, BHS … BTS, FTS), or as captured from the wire (MLLP).

A file is read in pieces: no more than one message is held. What stands before, between and after messages and is none of them is malformed;
a batch that ends without its trailer, or whose trailer counts other messages than came, is told.

Source: HL7 v2.9 chapter 2 (2.10.3 batch protocol); HL7 Transport Specification MLLP R1 (0x0B … 0x1C 0x0D).
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from anonymize.sources.base import Malformed
from anonymize.sources.opening import open_bytes

#: Bytes of one message: over any that carries a scanned document; a longer one is malformed, and is not held in memory.
LIMIT = 64 << 20
PIECE = 1 << 20
_ENDS = re.compile(rb"[\r\n\x0b\x1c]")
_SEPARATOR = re.compile(rb"[^A-Za-z0-9\s]")
_STARTS = (b"MSH", b"FHS", b"BHS", b"BTS", b"FTS")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"M\0S\0H\0", "utf-16-le"),
    (b"\0M\0S\0H", "utf-16-be"),
)


@dataclass
class _Open:
    """What has been read of a message, or of what is none, and of the batch that it stands in."""

    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    is_message: bool = False
    in_file: bool = False
    in_batch: bool = False
    counted: int = 0
    too_large: bool = False

    def add(self, line: bytes) -> None:
        self.size += len(line)
        if self.size > LIMIT:
            self.too_large, self.lines = True, []
        elif not self.too_large:
            self.lines.append(line)

    def end(self) -> Iterator[list[bytes] | Malformed]:
        """What was open is whole."""
        if self.too_large:
            yield Malformed(0, "too-large")
        elif self.lines and self.is_message:
            yield self.lines
        elif self.lines:
            yield Malformed(0, "no-msh", raw=b"\r".join(self.lines).decode("utf-8", "replace"))
        self.counted += self.is_message
        self.lines, self.size, self.is_message, self.too_large = [], 0, False, False


def messages(file: Path) -> Iterator[list[bytes] | Malformed]:
    """Each message of a file as its lines, in UTF-8 where the file is UTF-16 or UTF-32; a Malformed where there is none.

    Reasons: `no-msh`, `too-large`, `batch-cut` (a batch without its trailer), `batch-count` (its trailer counts others), `damaged-file` (a
    gzip file that was cut off), `unreadable-file` (no permission).
    """
    state = _Open()
    try:
        with open_bytes(file) as stream:
            for line, ended in _lines(stream):
                if line.strip():
                    yield from _line(state, line)
                if ended:
                    yield from state.end()
            yield from state.end()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        yield from state.end()
        yield Malformed(0, "damaged-file")
        return
    except OSError:
        yield from state.end()
        yield Malformed(0, "unreadable-file")
        return
    if state.in_batch or state.in_file:
        yield Malformed(0, "batch-cut")


def _line(state: _Open, line: bytes) -> Iterator[list[bytes] | Malformed]:
    line = line.removeprefix(codecs.BOM_UTF8).lstrip(b" \t")
    start = line[:3] if line[:3] in _STARTS and _SEPARATOR.match(line[3:4]) else b""
    if not start:
        state.add(line)
        return
    yield from state.end()
    if start == b"MSH":
        state.is_message = True
        state.add(line)
    elif start == b"BHS":
        if state.in_batch:
            yield Malformed(0, "batch-cut")
        state.in_batch, state.counted = True, 0
    elif start == b"BTS":
        said = line.split(line[3:4])[1].strip()
        if said.isdigit() and int(said) != state.counted:
            yield Malformed(0, "batch-count")
        state.in_batch, state.counted = False, 0
    else:
        state.in_file = start == b"FHS"


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """The lines that hold something, without their ends, and whether a frame begins or ends behind them; in UTF-8."""
    rest = b""
    for piece in _pieces(stream):
        start = 0
        piece = rest + piece
        for match in _ENDS.finditer(piece):
            line = piece[start : match.start()]
            framed = match.group() in b"\x0b\x1c"
            if line.strip() or framed:
                yield line, framed
            start = match.end()
        rest = piece[start:]
        if len(rest) > LIMIT:
            # A line without an end: it is counted once, and what follows of it is let go.
            yield rest, False
            rest = b""
    if rest.strip():
        yield rest, False


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    first = stream.read(PIECE)
    encoding = next((name for mark, name in _MARKS if first.startswith(mark)), None)
    if encoding is None:
        yield first.removeprefix(codecs.BOM_UTF8)
        while piece := stream.read(PIECE):
            yield piece
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first).lstrip("\ufeff").encode("utf-8", "replace")
    while piece := stream.read(PIECE):
        yield decoder.decode(piece).encode("utf-8", "replace")
