"""How a plain text lies in the source that it was unwrapped from: segments that lead back, and edits that are carried back.

An unwrapping is a chain of layers (base64 -> HTML -> plain text), each a text with its own map. An edit of the last text becomes edits of
the text before it, and so on to the source, which is then written once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from anonymize.detect.base import Identifier
from anonymize.policy.model import Kind

Edit = tuple[int, int, str]
"""start, end (code points, end exclusive), and what stands there instead."""


@dataclass(frozen=True, slots=True)
class Known:
    """PHI that the form itself tells (the `value` of a CDA date): it stands outside of the plain text. start, end: in the layer's source."""

    kind: Kind
    start: int
    end: int
    value: str


def apply(text: str, edits: Sequence[Edit]) -> str:
    """The text with its edits made. edits: sorted, not overlapping."""
    pieces: list[str] = []
    position = 0
    for start, end, instead in edits:
        pieces += (text[position:start], instead)
        position = end
    return "".join([*pieces, text[position:]])


@dataclass
class Layer:
    """One step of an unwrapping. `text` is made of segments; a segment as long as its source is a copy, another one stands for all of it
    (`&eacute;`), one of no length is sign of the source that a reader does not see (a soft hyphen), one of no source is a blank or a line end
    that only the form shows.
    """

    text: str = ""
    starts: list[int] = field(default_factory=list)
    """Where each segment begins in `text`, ascending."""
    sources: list[tuple[int, int]] = field(default_factory=list)
    """Each segment's start and end in the source."""
    cuts: list[Edit] = field(default_factory=list)
    """Edits of the source that are made in any case: what cannot be scrubbed goes. May lie within each other; the outermost counts."""
    known: list[Known] = field(default_factory=list)
    taken: list[tuple[int, int, str]] = field(default_factory=list)
    """What of the cuts is counted: start, end, and its kind (`url`, `email`, `unreadable-image` …)."""
    parts: list[Part] = field(default_factory=list)
    """Pieces of the source with an unwrapping of their own; their plain texts stand in `text`, in ascending order."""
    identifiers: list[Identifier] = field(default_factory=list)
    """Who stands in what the cuts took: looked up in the rest."""
    escape: Callable[[str, int], str] = field(default=lambda text, _: text)
    """A replacement as it is written at a position of the source."""

    def origins(self, start: int, end: int) -> list[tuple[int, int]]:
        """The pieces of the source that a span of the text stands for, in order, joined where they touch."""
        found: list[tuple[int, int]] = []
        for part, low, high in self._in_parts(start, end):
            found += part.origins(low, high) if part is not None else self._segments(low, high)
        joined: list[tuple[int, int]] = []
        for low, high in found:
            if joined and joined[-1][1] == low:
                joined[-1] = (joined[-1][0], high)
            elif low < high:
                joined.append((low, high))
        return joined

    def _segments(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        index = bisect_right(self.starts, start) - 1
        # Of several segments that begin at one place all but the last have no length; those before the span are not of it.
        while 0 <= index < len(self.starts) and self.starts[index] < end:
            begins = self.starts[index]
            ends = self.starts[index + 1] if index + 1 < len(self.starts) else len(self.text)
            low, high = self.sources[index]
            if ends - begins == high - low:
                yield low + max(start - begins, 0), low + min(end, ends) - begins
            elif low < high and (ends > begins or start < begins):
                yield low, high
            index += 1

    def _in_parts(self, start: int, end: int) -> Iterator[tuple[Part | None, int, int]]:
        """A span divided where parts begin and end. Spans of a part count from the part's begin."""
        position = start
        first = bisect_left(self.parts, start, key=lambda part: part.at + part.length)
        for part in self.parts[first:]:
            if part.at >= end:
                break
            if position < part.at:
                yield None, position, part.at
            low, high = max(position, part.at), min(end, part.at + part.length)
            if low < high:
                yield part, low - part.at, high - part.at
            position = max(position, part.at + part.length)
        if position < end:
            yield None, position, end

    def rewrite(self, edits: Sequence[Edit], known: Sequence[str]) -> list[Edit]:
        """Edits of the text as edits of the source, with the layer's own cuts. known: what stands in the place of each of `known`.

        An edit's first piece of source takes the replacement, its other pieces go: tags between them stay.
        """
        made: list[Edit] = [(one.start, one.end, self.escape(new, one.start)) for one, new in zip(self.known, known, strict=True)]
        within: dict[int, list[Edit]] = {}
        for start, end, instead in edits:
            for part, low, high in self._in_parts(start, end):
                if part is not None:
                    within.setdefault(part.at, []).append((low, high, instead))
                    instead = ""
                    continue
                for first, last in _joined(self._segments(low, high)):
                    made.append((first, last, self.escape(instead, first)))
                    instead = ""
        made += [(part.start, part.end, self.escape(part.unwrapped.wrap(within.get(part.at, [])), part.start)) for part in self.parts]
        return _settled([*self.cuts, *made])


@dataclass
class Part:
    """A piece of a layer's source with an unwrapping of its own. at, length: its place in the layer's text; start, end: in its source."""

    at: int
    length: int
    start: int
    end: int
    unwrapped: Unwrapped

    def origins(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The pieces of the layer's source for a span of the part's text."""
        for low, high in self.unwrapped.origins(start, end):
            yield self.start + low, self.start + high


@dataclass
class Unwrapped:
    """A source with its plain text, and the way back."""

    source: str
    layers: list[Layer] = field(default_factory=list)
    form: str = "plain"
    """What it was taken for: `plain`, `html`, `xml`, `cda`, `rtf`, `base64`; the outermost."""
    unreadable: str | None = None
    """Why it does not leave: `pdf`, `image`, `office` … None where it can be read."""

    @property
    def text(self) -> str:
        """The plain text, in which is searched; empty where it cannot be read."""
        if self.unreadable is not None:
            return ""
        return self.layers[-1].text if self.layers else self.source

    @property
    def known(self) -> list[Known]:
        """What the form itself tells; offsets are those of the layer that it stands in."""
        return [one for layer in self.layers for one in layer.known]

    @property
    def identifiers(self) -> list[Identifier]:
        """Names, numbers and addresses of a header, which goes: to be looked up in the text, beside the subject's own record."""
        return [one for layer in self.layers for one in layer.identifiers]

    @property
    def removed(self) -> Counter[str]:
        """What is taken out whatever is found, by kind, with what cannot be read as `unreadable-…`."""
        total: Counter[str] = Counter()
        for layer in self.layers:
            total.update(kind for _, _, kind in layer.taken)
            for part in layer.parts:
                total.update(part.unwrapped.removed)
        if self.unreadable is not None:
            total[f"unreadable-{self.unreadable}"] += 1
        return total

    def origins(self, start: int, end: int) -> list[tuple[int, int]]:
        """The pieces of the source that a span of the plain text stands for."""
        return self.through(len(self.layers), [(start, end)])

    def told(self) -> Iterator[tuple[Kind | None, int, int]]:
        """What the form itself tells and what is taken out and counted whatever is found, with its place in the source; None: unreadable."""
        kinds = {kind.value: kind for kind in Kind}
        for depth, layer in enumerate(self.layers):
            here: list[tuple[Kind | None, int, int]] = [(one.kind, one.start, one.end) for one in layer.known]
            here += [(kinds.get(kind), start, end) for start, end, kind in layer.taken]
            for kind, start, end in here:
                pieces = self.through(depth, [(start, end)])
                if pieces:
                    yield kind, pieces[0][0], pieces[-1][1]

    def through(self, depth: int, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Spans of a layer's source as spans of the first source."""
        for layer in reversed(self.layers[:depth]):
            spans = [origin for low, high in spans for origin in layer.origins(low, high)]
        return spans

    def wrap(self, edits: Sequence[Edit], known: Sequence[str] | None = None) -> str:
        """The source with edits of its plain text carried out, and without what must not leave.

        edits: sorted, not overlapping; known: what stands in the place of each of `known` (default: its tag).
        """
        if self.unreadable is not None:
            return unreadable_tag(self.unreadable)
        instead = list(known if known is not None else [one.kind.tag for one in self.known])
        made = list(edits)
        for layer in reversed(self.layers):
            split = len(instead) - len(layer.known)
            made, instead = layer.rewrite(made, instead[split:]), instead[:split]
        return apply(self.source, made)


def unreadable_tag(kind: str) -> str:
    """What stands in the place of what cannot be read: `[UNREADABLE: pdf]`."""
    return f"[UNREADABLE: {kind}]"


def _joined(pieces: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for low, high in pieces:
        if low == high:
            continue
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _settled(edits: Sequence[Edit]) -> list[Edit]:
    """In order, not overlapping: an edit inside of a longer one goes with it; two that cross become one that takes both out."""
    settled: list[Edit] = []
    for start, end, instead in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if settled and start < settled[-1][1]:
            last = settled[-1]
            if end > last[1]:
                settled[-1] = (last[0], end, last[2] + instead)
            continue
        settled.append((start, end, instead))
    return settled


class Builder:
    """Makes a layer, piece by piece, in the order of the plain text."""

    def __init__(self) -> None:
        self.layer = Layer()
        self._pieces: list[str] = []
        self._length = 0
        self.last = "\n"
        """The last sign of the text."""

    @property
    def length(self) -> int:
        """Of the text so far."""
        return self._length

    def copy(self, source: str, start: int, end: int) -> None:
        """Signs that stand in the source as they are."""
        if start == end:
            return
        layer = self.layer
        if layer.sources and layer.sources[-1][1] == start and self._is_copy():
            layer.sources[-1] = (layer.sources[-1][0], end)
        else:
            layer.starts.append(self._length)
            layer.sources.append((start, end))
        self._add(source[start:end])

    def stand(self, text: str, start: int, end: int) -> None:
        """Signs that stand for a piece of the source; none: a piece that no reader sees."""
        self.layer.starts.append(self._length)
        self.layer.sources.append((start, end))
        if text:
            self._add(text)

    def extend(self, at: int, end: int) -> None:
        """The last segment stands for more of the source, where it ends at this place."""
        if self.layer.sources and self.layer.sources[-1][1] == at:
            self.layer.sources[-1] = (self.layer.sources[-1][0], end)

    def shown(self, text: str, at: int) -> None:
        """A blank or a line end that only the form shows; none twice."""
        if not self.last.isspace() or (text == "\n" and self.last != "\n") or (text == "\t" and self.last == " "):
            self.stand(text, at, at)

    def part(self, unwrapped: Unwrapped, start: int, end: int) -> None:
        """A piece of the source with an unwrapping of its own, on lines of its own."""
        self.shown("\n", start)
        text = unwrapped.text
        self.layer.parts.append(Part(self._length, len(text), start, end, unwrapped))
        if text:
            self.stand(text, start, end)
        self.shown("\n", end)

    def cut(self, start: int, end: int, instead: str = "", *, kind: str | None = None) -> None:
        """A piece of the source that does not leave."""
        self.layer.cuts.append((start, end, instead))
        if kind is not None:
            self.layer.taken.append((start, end, kind))

    def done(self) -> Layer:
        """The layer."""
        self.layer.text = "".join(self._pieces)
        return self.layer

    def _is_copy(self) -> bool:
        low, high = self.layer.sources[-1]
        return self._length - self.layer.starts[-1] == high - low

    def _add(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)
        self.last = text[-1]
