"""One HL7 v2 message as segments, fields, repetitions, components and subcomponents: a walk along its own delimiters (ER7).

No table of the standard is asked, so every version from 2.1 to 2.9, and a message that keeps to none, gives the fields that it has. A field
is taken apart when it is asked for.

Source: HL7 v2.9 chapter 2 (2.5.3 fields, 2.5.4 delimiters, 2.7 escape sequences), table 0211 (character sets).
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any

from anonymize.sources.codings import is_known
from anonymize.sources.tree import Branch

#: HL7's names of character sets (table 0211) that Python calls otherwise; `8859/1` to `8859/15` are ISO-8859.
CHARSETS = {
    "ASCII": "ascii",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UNICODE UTF-16": "utf-16",
    "UNICODE UTF-32": "utf-32",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "ISO IR6": "ascii",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "CNS 11643-1992": "euc_tw",
    "BIG-5": "big5",
}
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_FORMATTING = re.compile(r"\.(br|sp|ce|in|ti|fi|nf|sk)\s*([+-]?[0-9]*)", re.IGNORECASE)
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


class NotHl7(Exception):
    """A message that cannot be read. Its only argument is the reason's code."""


@dataclass(frozen=True)
class Delimiters:
    """What a message says in MSH-1 and MSH-2; an empty sign is one that the message does not have."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str
    truncation: str = ""

    @classmethod
    def of(cls, header: str) -> Delimiters:
        """Those of an MSH, BHS or FHS segment. Raises NotHl7(`bad-delimiters`) where they are letters, blanks, or twice the same."""
        field = header[3:4]
        signs = header[4:].partition(field)[0] if field else ""
        every = field + signs
        if not 2 <= len(every) <= 6 or len(set(every)) < len(every) or any(sign.isalnum() or sign.isspace() or sign < " " for sign in every):
            raise NotHl7("bad-delimiters")
        return cls(field, *(signs[index : index + 1] for index in range(5)))


class Segment(Branch):
    """One segment: its fields by number, each a list of its repetitions. `MSH.9.1`, `PID.3[5=MR].1`: the standard's own numbers."""

    def __init__(self, name: str, fields: list[str], signs: Delimiters, encoding: str) -> None:
        super().__init__()
        self.name, self.fields, self.signs, self.encoding = name, fields, signs, encoding

    def get(self, field: str, default: Any = None) -> Any:
        """A field's repetitions that hold something; what a reader of messages has put beside the fields (`order`) by its name."""
        if field not in self:
            if not field.isdecimal():
                return default
            self[field] = self._parsed(int(field))
        return self[field]

    def raw(self, field: int) -> str:
        """A field as it stands; MSH-1 and MSH-2 are the delimiters."""
        if self.name in ("MSH", "BHS", "FHS"):
            field -= 1
            if field == 0:
                return self.signs.field
        return self.fields[field] if 0 < field < len(self.fields) else ""

    def _parsed(self, field: int) -> list[Any]:
        raw = self.raw(field)
        if not raw:
            return []
        if self.name == "MSH" and field <= 2:
            return [raw]
        parts = raw.split(self.signs.repetition) if self.signs.repetition else [raw]
        return [value for value in (self._part(part) for part in parts) if value is not None]

    def _part(self, raw: str) -> Any:
        signs = self.signs
        if signs.component and signs.component in raw:
            return Part.of([self._component(part) for part in raw.split(signs.component)])
        return self._component(raw)

    def _component(self, raw: str) -> Any:
        signs = self.signs
        if signs.subcomponent and signs.subcomponent in raw:
            return Part.of([self._leaf(part) for part in raw.split(signs.subcomponent)])
        return self._leaf(raw)

    def _leaf(self, raw: str) -> str | None:
        """None where there is nothing; an empty text where the sender says that the value is to be deleted (`""`)."""
        if not raw.strip():
            return None
        return "" if raw == '""' else unescape(raw, self.signs, self.encoding)

    def whole(self, field: int, *, between: str = "\n") -> str | None:
        """A text field's repetitions as one text. A sign of components in it, which a sender should have escaped, is part of the text."""
        raw = self.raw(field)
        if not raw.strip() or raw == '""':
            return None
        parts = raw.split(self.signs.repetition) if self.signs.repetition else [raw]
        return between.join("" if part == '""' else unescape(part, self.signs, self.encoding) for part in parts)


class Part(Branch):
    """A repetition's components, or a component's subcomponents, by number. As a text it is its first: what a receiver reads who expects
    no more (HL7 v2.9, 2.5.3.4)."""

    @classmethod
    def of(cls, values: list[Any]) -> Part | None:
        """None where nothing is in it."""
        found = cls({str(number): value for number, value in enumerate(values, 1) if value is not None})
        return found or None

    def get(self, field: str, default: Any = None) -> Any:
        """A part by its number; of a coded one (CE, CWE) also `@code`, the code of a known system, first or alternate, its `@system`, and
        `@local`, a code of any other."""
        if not field.startswith("@"):
            return super().get(field, default)
        known = [(code, self.get(system)) for code, system in (("1", "3"), ("4", "6")) if self._is_known(code, system)]
        if field == "@local":
            codes = [self._leaf(code) for code, system in (("1", "3"), ("4", "6")) if not self._is_known(code, system)]
            return [code for code in codes if code] or default
        found = known[0] if known else (None, None)
        return self._leaf(found[0]) if field == "@code" and found[0] else found[1] if field == "@system" else default

    def _is_known(self, code: str, system: str) -> bool:
        text, name = self._leaf(code), self._leaf(system)
        return text is not None and is_known(text, name)

    def _leaf(self, number: str) -> str | None:
        value = self.get(number)
        return value.text if isinstance(value, Branch) else value

    @property
    def text(self) -> str | None:
        first = self.get("1")
        return first.text if isinstance(first, Branch) else first

    def words(self) -> str:
        """All that stands in it, with blanks."""
        return " ".join(part.words() if isinstance(part, Part) else part for part in self.values() if part)


@dataclass
class Message:
    """A message's segments in order. encoding: what it was read as; size: its bytes; mended: lines that belonged to the field before them."""

    segments: list[Segment]
    encoding: str
    size: int
    mended: int = 0

    @property
    def header(self) -> Segment:
        return self.segments[0]


def parse(lines: list[bytes], encoding: str | None = None) -> Message:
    """A message from its lines, the first of which is MSH.

    encoding: what the policy says; without it MSH-18, then what its bytes are. A line that begins with no segment's name is a part of the
    field before it: senders forget to escape the line ends of their texts.
    Raises NotHl7: `bad-delimiters`, `binary` (there are zero bytes), `bad-encoding` (the policy's encoding does not fit).
    """
    raw = b"\r".join(lines)
    if b"\0" in raw:
        raise NotHl7("binary")
    text, read_as = decoded(raw, encoding)
    written = text.split("\r")
    signs = Delimiters.of(written[0])
    segments: list[Segment] = []
    mended = 0
    for line in written:
        name = line[:3]
        if _NAME.fullmatch(name) and (len(line.rstrip()) == 3 or line[3:4] == signs.field):
            segments.append(Segment(name, line.split(signs.field), signs, read_as))
        elif line.strip():
            segments[-1].fields[-1] += f"\n{line}"
            mended += 1
    return Message(segments, read_as, len(raw), mended)


def decoded(raw: bytes, encoding: str | None) -> tuple[str, str]:
    """A message's text and the name of the encoding: the policy's; else the one of MSH-18; else UTF-8, and where it is none, what its bytes
    look like. Raises NotHl7(`bad-encoding`) where the policy's does not fit."""
    if encoding is not None:
        try:
            return raw.decode(encoding), encoding
        except UnicodeDecodeError:
            raise NotHl7("bad-encoding") from None
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii"), "ascii"
    for name in (*declared(raw), "utf-8"):
        try:
            return raw.decode(name), name
        except (UnicodeDecodeError, LookupError):
            continue
    return _guessed(raw)


def declared(raw: bytes) -> list[str]:
    """Python's names of the character sets in MSH-18; those of several bytes a unit cannot be those of a message that begins with `MSH`."""
    header = raw.partition(b"\r")[0]
    fields = header.split(header[3:4]) if len(header) > 3 else []
    found = []
    for name in fields[17].decode("ascii", "replace").split("~") if len(fields) > 17 else []:
        name = name.strip().upper()
        python = CHARSETS.get(name) or (f"iso8859-{name[5:]}" if name.startswith("8859/") else name)
        try:
            codec = codecs.lookup(python).name
        except (LookupError, ValueError):
            continue
        if not codec.startswith(("utf-16", "utf-32")) and codec != "ascii":
            found.append(codec)
    return found


def _guessed(raw: bytes) -> tuple[str, str]:
    """Few letters over ASCII are a Western name: cp1252. Many are a script of their own, which charset-normalizer knows by its statistics."""
    if sum(byte > 0x7F for byte in raw[:20_000]) > 0.08 * len(raw[:20_000]):
        from charset_normalizer import from_bytes

        best = from_bytes(raw).best()
        if best is not None:
            return str(best), best.encoding
    try:
        return raw.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "latin-1"


def unescape(text: str, signs: Delimiters, encoding: str) -> str:
    r"""A leaf's text: `\F\ \S\ \T\ \R\ \E\ \P\` are delimiters, `\X0D0A\` is bytes, `\.br\` a line's end; emphasis and a site's own `\Z…\` go.

    A lone escape sign, and a sequence that the standard does not have, stay as they stand.
    """
    sign = signs.escape
    if not sign or sign not in text:
        return text
    pieces = text.split(sign)
    out = [pieces[0]]
    index = 1
    while index < len(pieces):
        known = _escaped(pieces[index], signs, encoding) if index + 1 < len(pieces) else None
        if known is None:
            out.append(sign + pieces[index])
            index += 1
        else:
            out += [known, pieces[index + 1]]
            index += 2
    return "".join(out)


def _escaped(code: str, signs: Delimiters, encoding: str) -> str | None:
    """What a sequence between two escape signs stands for; None where it is none."""
    one = {
        "F": signs.field,
        "S": signs.component,
        "T": signs.subcomponent,
        "R": signs.repetition,
        "E": signs.escape,
        "P": signs.truncation or "#",
        "H": "",
        "N": "",
    }.get(code)
    if one is not None:
        return one
    found = _HEX.fullmatch(code)
    if found is not None:
        return bytes.fromhex(found[1]).decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    formatting = _FORMATTING.fullmatch(code)
    if formatting is not None:
        return _formatted(formatting[1].lower(), formatting[2])
    # Sets of signs in the middle of a text (\C2842\, \M…\) and a site's own sequences say nothing that can be read.
    return "" if re.fullmatch(r"[CM][0-9A-Fa-f]{4,6}|Z[^ ]{0,20}", code) else None


def _formatted(command: str, number: str) -> str:
    count = min(int(number), 20) if number.isdecimal() else 1
    if command in ("br", "ce"):
        return "\n"
    return "\n" * count if command == "sp" else " " * count if command == "sk" else ""
