"""CSV as it really is: quoted line breaks, stray quotes, ragged rows. A record that cannot be read falls out, and reading goes on."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import TextIO

from anonymize.sources.base import Malformed
from anonymize.sources.places import Unreadable

#: Characters of one line or field: far over any note, and what a stray quote can swallow before it is found out.
LIMIT = 64 << 20
csv.field_size_limit(LIMIT)


class _TooLarge(Exception):
    """A line is longer than LIMIT."""


class _Lines:
    """The lines of a text, as csv.reader takes them. Remembers those of the record that is being read, so that they can be given back."""

    def __init__(self, text: TextIO) -> None:
        self._read = text.readline
        self._back: deque[str] = deque()
        self.record: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._read(LIMIT)
        if not line:
            raise StopIteration
        if len(line) >= LIMIT and not line.endswith(("\n", "\r")):
            self._skip_line()
            raise _TooLarge
        self.record.append(line)
        return line

    def give_back(self, lines: list[str]) -> None:
        self._back.extendleft(reversed(lines))

    def _skip_line(self) -> None:
        while (rest := self._read(LIMIT)) and not rest.endswith(("\n", "\r")):
            pass


class Delimited:
    """The records of one CSV text after its header, each with its size in characters.

    header: the column names; one without a name is `column_<n>`. quote: the sign around fields that hold a delimiter, empty where none does.
    names: the columns of a text without a header. skip: lines above the header. Raises Unreadable (`bad-header`) where the header is none or
    names a column twice, (`empty`) where there is not even that.
    """

    def __init__(self, text: TextIO, delimiter: str, *, quote: str = '"', names: Sequence[str] = (), skip: int = 0) -> None:
        for _ in range(skip):
            text.readline(LIMIT)
        self._lines, self._quote = _Lines(text), quote
        # Strict: what stands behind a closing quote, and a quote that is never closed, are mistakes. Read leniently, a stray quote would
        # join the records after it, another patient's among them, into one field.
        if quote:
            self._reader = csv.reader(self._lines, delimiter=delimiter, quotechar=quote, strict=True)
        else:
            self._reader = csv.reader(self._lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
        self.header = list(names) or column_names(self._first())

    def _first(self) -> list[str]:
        try:
            found = next(self._reader, [])
        except (csv.Error, _TooLarge):
            raise Unreadable("bad-header", "Its first line is no header of a CSV file. Is 'delimiter' right?") from None
        if not found:
            raise Unreadable("empty", "It has not even a header")
        return found

    def __iter__(self) -> Iterator[tuple[list[str], int] | Malformed]:
        lines, reader, width, doubtful = self._lines, self._reader, len(self.header), False
        while True:
            lines.record = []
            try:
                fields = next(reader)
            except StopIteration:
                return
            except _TooLarge:
                yield from self._broken()
                yield Malformed(0, "too-large")
                doubtful = True
            except csv.Error:
                yield from self._broken()
                doubtful = True
            else:
                if not fields:
                    continue
                raw = "".join(lines.record)
                # Behind a broken record a line can be the rest of it: such a line closes a quote that it did not open.
                if len(fields) != width or (doubtful and self._quote and raw.count(self._quote) % 2):
                    yield Malformed(0, "bad-quoting" if doubtful else "ragged-row", raw=raw)
                else:
                    doubtful = False
                    yield fields, len(raw)

    def _broken(self) -> Iterator[Malformed]:
        """The first line of a record with a stray quote is malformed; the lines that it swallowed are read again, each for itself."""
        record = self._lines.record
        if record:
            self._lines.give_back(record[1:])
            yield Malformed(0, "bad-quoting", raw=record[0])


def column_names(fields: Sequence[str]) -> list[str]:
    """A header's names. Raises Unreadable (`bad-header`) where two columns have one name, or a name is no text."""
    names = [name.strip() or f"column_{number}" for number, name in enumerate(fields, 1)]
    if any("\udc80" <= sign <= "\udcff" for name in names for sign in name):
        raise Unreadable("bad-header", "Its header is not in the encoding that the policy says. Set 'encoding' of the source")
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise Unreadable("bad-header", f"Its header names column '{twice[0]}' twice. Rename one at the source")
    return names
