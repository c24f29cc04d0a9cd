r"""RTF as a layer: the text that a reader sees, and where it stands between the control words.

A reader of our own: packages that strip RTF give the text alone and no way back. It knows groups, destinations, `\'hh` in the font's code page,
`\uN` with its fallback, hidden and deleted text. Groups that hold no text of the note (who wrote it, pictures, embedded objects, revision
authors, every `\*` destination) go; an unknown control word stays and says nothing.

Source: Microsoft, Rich Text Format Specification 1.9.1 (2008).
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left
from dataclasses import dataclass, replace

from anonymize.transform.markup.fonts import is_font
from anonymize.transform.markup.layer import Builder, Layer, unreadable_tag

_TOKEN = re.compile(
    r"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})?(?P<space> ?)|\\'(?P<hex>[0-9a-fA-F]{2})|\\(?P<sign>[^a-zA-Z])|(?P<group>[{}])"
    r"|(?P<line>[\r\n]+)|(?P<text>[^\\{}\r\n]+)|(?P<stray>\\)",
    re.DOTALL,
)
#: Destinations that go; `{\*\…}` go all.
_GONE = frozenset(
    "info stylesheet filetbl revtbl rsidtbl listtable listoverridetable generator themedata colorschememapping datastore latentstyles xmlnstbl "
    "userprops private comment annotation atnid atnauthor atnref atndate atnicn atntime bkmkstart bkmkend fldinst template operator author "
    "manager company category keywords doccomm hlinkbase pict shppict nonshppict object objdata objclass objname objalias "
    "xe tc rxe txe docvar fchars lchars ftnsep ftnsepc aftnsep aftnsepc pgptbl mailmerge protusertbl passwordhash factoidname shpinst do".split()
)
_SEEN = {
    "par": "\n", "line": "\n", "sect": "\n", "page": "\n", "row": "\n", "nestrow": "\n", "column": "\n", "softline": "\n", "softpage": "\n",
    "lbr": "\n", "tab": "\t", "cell": "\t", "nestcell": "\t", "emdash": "—", "endash": "–", "bullet": "•", "lquote": "‘", "rquote": "’",
    "ldblquote": "“", "rdblquote": "”", "emspace": " ", "enspace": " ", "qmspace": " ",
}  # fmt: skip
_NOT_SEEN = frozenset(["zwj", "zwnj", "zwbo", "zwnbo", "ltrmark", "rtlmark"])
_SIGNS = {"~": "\u00a0", "_": "\u2011", "-": "", "\n": "\n", "\r": "\n", "\t": "\t", "\\": "\\", "{": "{", "}": "}", "|": "", ":": ""}
_CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gbk", 136: "big5", 161: "cp1253", 162: "cp1254", 163: "cp1258",
    177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
_PAGES = {65001: "utf-8", 10000: "mac_roman", 932: "cp932", 936: "gbk", 949: "cp949", 950: "big5"}


@dataclass(frozen=True)
class _State:
    """What a group inherits and gives back at its end."""

    codec: str = "cp1252"
    fallback: int = 1
    """How many signs after `\\uN` are its fallback."""
    hidden: bool = False
    where: str = "text"
    """`text`, `fonts` or `colors`."""


def is_rtf(source: str) -> bool:
    """Whether a text begins as RTF does."""
    return source[:64].lstrip("\ufeff \t\r\n\0").startswith("{\\rtf")


def unwrap_rtf(source: str) -> Layer:
    """An RTF document as a layer."""
    return _Reader(source).read()


class _Reader:
    """Reads one document, from its first sign to its last."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.build = Builder()
        self.state = _State()
        self.stack: list[_State] = []
        self.groups: list[int] = []
        """Where each open group begins."""
        self.fresh: str | None = None
        """`{` or `{\\*` where a group has just begun, whose first word says what it is."""
        self.gone: tuple[int, int, str] | None = None
        """The group that goes: its begin, its depth, what stands there instead."""
        self.skip = 0
        """Signs of a fallback that are still to come."""
        self.high: tuple[int, int] | None = None
        """The first half of a sign of two, and where it stands."""
        self.bytes: list[int] = []
        """Bytes of a sign that is not whole; the first one's place is `since`."""
        self.since = 0
        self.decoder = codecs.getincrementaldecoder("cp1252")("replace")
        self.codec = "cp1252"
        self.fonts: dict[int, str] = {}
        self.font = 0
        self.undelimited: list[int] = []
        """Where a control word ends without a blank: what is put there needs one before it."""

    def read(self) -> Layer:
        position, source = 0, self.source
        while position < len(source):
            match = _TOKEN.match(source, position)
            if match is None:
                break
            position = self._token(match)
            if not self.groups and position > 1 and source[position - 1] == "}":
                self._rest(position)
                break
        if self.gone is not None:
            self.build.cut(self.gone[0], len(source), self.gone[2])
        layer = self.build.done()
        layer.escape = self._escape
        layer.cuts = [(start, end, self._escape(instead, start)) for start, end, instead in layer.cuts]
        return layer

    def _token(self, match: re.Match[str]) -> int:
        what, end = match.lastgroup, match.end()
        if what == "group":
            self._group(match)
        elif what in ("word", "number", "space"):
            return self._word(match)
        elif what == "line":
            if self.gone is None:
                self.build.stand("", match.start(), end)
        elif what == "sign" and match["sign"] == "*":
            self.fresh = "{\\*" if self.fresh is not None else None
        else:
            self._signs(match)
        return end

    def _rest(self, position: int) -> None:
        """What follows the document is none of it."""
        if self.source[position:].strip("\r\n \0\t"):
            self.build.cut(position, len(self.source))

    # --------------------------------------------------------------------------------------------------------------------- groups

    def _group(self, match: re.Match[str]) -> None:
        self.skip = 0
        if match.group() == "{":
            self.stack.append(self.state)
            self.groups.append(match.start())
            self.fresh = "{"
            return
        self.fresh = None
        if not self.groups:
            return
        start = self.groups.pop()
        self.state = self.stack.pop()
        if self.gone is not None and start == self.gone[0]:
            self.build.cut(start, match.end(), self.gone[2])
            self.gone = None

    def _word(self, match: re.Match[str]) -> int:
        word, number, end = match["word"], int(match["number"]) if match["number"] else None, match.end()
        first, self.fresh = self.fresh, None
        if not match["space"]:
            self.undelimited.append(end)
        if word == "bin" and number:
            # Bytes that are no text; a length that leads past the end is a lie.
            end = min(end + max(number, 0), len(self.source))
            if self.gone is None:
                self.build.cut(match.start(), end, "", kind="unreadable-object")
            return end
        if self.gone is not None:
            return end
        if word[0].isupper():
            # No control word begins so.
            self.build.cut(match.start(), end)
            return end
        if first is not None and self._begins(word, first, match):
            return end
        self._format(word, number, match)
        return end

    def _begins(self, word: str, first: str, match: re.Match[str]) -> bool:
        """Whether the group that begins with this word goes."""
        if word in ("fonttbl", "colortbl"):
            self.state = replace(self.state, where="fonts" if word == "fonttbl" else "colors")
            return False
        if word not in _GONE and (first == "{" or word in ("shptxt", "fldrslt")):
            return False
        kind = "image" if word in ("pict", "shppict") else "object" if word in ("object", "do", "shpinst") else None
        instead = unreadable_tag(kind) if kind else ""
        if kind:
            self.build.layer.taken.append((match.start(), match.end(), f"unreadable-{kind}"))
        self.gone = (self.groups[-1] if self.groups else match.start(), 0, instead)
        return True

    # ---------------------------------------------------------------------------------------------------------------------- words

    def _format(self, word: str, number: int | None, match: re.Match[str]) -> None:
        state = self.state
        if word == "u" and number is not None:
            self._unicode(number & 0xFFFF, match)
        elif word in _SEEN:
            self._seen(_SEEN[word], match.start(), match.end())
        elif word in _NOT_SEEN:
            self.build.stand("", match.start(), match.end())
        elif word == "uc" and number is not None:
            self.state = replace(state, fallback=max(0, min(number, 64)))
        elif word in ("v", "deleted", "webhidden"):
            self.state = replace(state, hidden=number != 0)
        elif word == "plain":
            self.state = replace(state, hidden=False)
        elif word == "pard" or word == "nosupersub":
            pass
        elif word == "ansicpg" and number:
            self._page(_PAGES.get(number, f"cp{number}"))
        elif word in ("mac", "pc", "pca"):
            self._page({"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word])
        elif word == "f" and number is not None:
            self.font = number
            if state.where == "text" and number in self.fonts:
                self.state = replace(state, codec=self.fonts[number])
        elif word == "fcharset" and number is not None and state.where == "fonts":
            self.fonts[self.font] = _CHARSETS.get(number, self.codec)
        elif word in ("header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf", "footnote", "shptxt", "upr"):
            self.build.shown("\n", match.start())

    def _page(self, name: str) -> None:
        try:
            codecs.lookup(name)
        except LookupError:
            name = "cp1252"
        self.codec = name
        self.state = replace(self.state, codec=name)

    # ----------------------------------------------------------------------------------------------------------------------- signs

    def _unicode(self, code: int, match: re.Match[str]) -> None:
        self.skip = self.state.fallback
        start = match.start()
        if 0xD800 <= code < 0xDC00:
            self.high = (code, start)
            return
        if 0xDC00 <= code < 0xE000:
            if self.high is None:
                self._seen("\ufffd", start, match.end())
                return
            code, start = 0x10000 + ((self.high[0] - 0xD800) << 10) + (code - 0xDC00), self.high[1]
        self.high = None
        self._seen(chr(code), start, match.end())

    def _signs(self, match: re.Match[str]) -> None:
        """`\\'e9`, `\\~`, or a run of letters."""
        self.fresh = None
        if self.gone is not None:
            return
        start, end = match.start(), match.end()
        if self.skip:
            taken = 1 if match.lastgroup != "text" else min(self.skip, end - start)
            self.skip -= taken
            last = start + taken if match.lastgroup == "text" else end
            if self.high is None:
                self.build.extend(start, last)
            if self.state.hidden:
                self.build.cut(start, last)
            start = last
            if start == end:
                return
        if match.lastgroup == "hex":
            self._byte(int(match["hex"], 16), start, end)
        elif match.lastgroup == "sign":
            self._seen(_SIGNS.get(match["sign"], ""), start, end)
        elif match.lastgroup == "text":
            self._run(start, end)

    def _byte(self, byte: int, start: int, end: int) -> None:
        if not self.bytes:
            self.since = start
            self.decoder = codecs.getincrementaldecoder(self.state.codec)("replace")
        self.bytes.append(byte)
        text = self.decoder.decode(bytes([byte]))
        if text:
            self.bytes.clear()
            self._seen(text, self.since, end)

    def _run(self, start: int, end: int) -> None:
        if self.bytes and self.source[start].isascii():
            # The second byte of a sign of two may be written as a letter.
            self._byte(ord(self.source[start]), start, start + 1)
            start += 1
        self.bytes.clear()
        if self.state.where == "fonts":
            self._font_name(start, end)
        elif self.state.where == "colors":
            if self.source[start:end].strip(" ;"):
                self.build.cut(start, end, ";" * self.source.count(";", start, end))
        elif self.state.hidden:
            self.build.cut(start, end)
        else:
            self.build.copy(self.source, start, end)

    def _font_name(self, start: int, end: int) -> None:
        """The names of common fonts stay; another one may be anybody's."""
        name = self.source[start:end].strip().rstrip(";").strip()
        if name and not is_font(name):
            self.build.cut(start, end, "Arial;" if self.source[start:end].rstrip().endswith(";") else "Arial")

    def _seen(self, text: str, start: int, end: int) -> None:
        if self.state.where != "text" or (self.state.hidden and text not in ("\n", "\t")):
            if text or self.state.hidden:
                self.build.cut(start, end)
            return
        self.build.stand(text, start, end)

    def _escape(self, text: str, at: int) -> str:
        """As RTF writes it. After a control word without a blank one is put, which belongs to the word."""
        written = "".join(_written(sign) for sign in text) if not text.isascii() or re.search(r"[\\{}\n\r\t]", text) else text
        index = bisect_left(self.undelimited, at)
        after = index < len(self.undelimited) and self.undelimited[index] == at
        return f" {written}" if after else written


def _written(sign: str) -> str:
    if sign in "\\{}":
        return f"\\{sign}"
    if sign in "\n\r":
        return "\\line "
    if sign == "\t":
        return "\\tab "
    if sign.isascii():
        return sign
    units = sign.encode("utf-16-le")
    codes = [int.from_bytes(units[at : at + 2], "little", signed=True) for at in range(0, len(units), 2)]
    return "{\\uc1" + "".join(f"\\u{code}?" for code in codes) + "}"
