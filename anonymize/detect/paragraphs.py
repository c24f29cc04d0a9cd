"""The unit of detection is the paragraph: what is found in one depends on nothing outside of it, so that one seen before costs a lookup.

Clinical notes repeat themselves: templates, copied-forward sections, discharge instructions. As a paragraph's findings are a function of the
paragraph alone, they are the same with and without the memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import regex

from anonymize.detect.base import Finding

_BREAK = regex.compile(r"\n[ \t\r]*\n\s*")
_LINE_END = regex.compile(r"\n|(?<=[.;])\s")
#: A paragraph longer than this is cut, at a line's or a sentence's end where there is one: bounds memory and time. In characters.
LONGEST = 8_000
#: What the memory holds at most, in characters of paragraphs.
REMEMBERED = 4_000_000


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Each paragraph with where it starts. Together they hold every character of the text that is no blank line."""
    start = 0
    for match in _BREAK.finditer(text):
        yield from _cut(text, start, match.start())
        start = match.end()
    yield from _cut(text, start, len(text))


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    while end - start > LONGEST:
        ends = [match.end() for match in _LINE_END.finditer(text, start + LONGEST // 2, start + LONGEST)]
        blank = text.rfind(" ", start + LONGEST // 2, start + LONGEST)
        stop = ends[-1] if ends else blank + 1 if blank > 0 else start + LONGEST
        yield start, text[start:stop]
        start = stop
    if start < end:
        yield start, text[start:end]


class Memory:
    """What was found in the paragraphs seen last. Lives in its process alone; nothing of it is written anywhere."""

    def __init__(self, characters: int = REMEMBERED) -> None:
        self._limit, self._held = characters, 0
        self._found: OrderedDict[str, tuple[Finding, ...]] = OrderedDict()

    def get(self, paragraph: str) -> tuple[Finding, ...] | None:
        """The findings in a paragraph, if it is remembered."""
        found = self._found.get(paragraph)
        if found is not None:
            self._found.move_to_end(paragraph)
        return found

    def put(self, paragraph: str, found: tuple[Finding, ...]) -> None:
        """Remember; what was seen longest ago is forgotten."""
        if paragraph not in self._found:
            self._held += len(paragraph)
        self._found[paragraph] = found
        while self._held > self._limit:
            forgotten, _ = self._found.popitem(last=False)
            self._held -= len(forgotten)
