"""HTML, XHTML narrative (FHIR `text.div`), XML and CDA as a layer: what a reader sees, where it stands, and what must not leave.

A tokenizer of our own, because the standard library's parsers and lxml tell no offsets of entities and attributes, without which nothing can
be put back; it divides as the HTML Living Standard (13.2.5) and XML 1.0 do, reads each sign once, and builds no tree. What is unclear is text,
and so searched. Tags stay, so that what was well-formed stays so.

What a reader sees is the plain text: blocks on lines of their own, blanks as shown. After it stand, a line each, the attributes with words.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import cache
from html.entities import html5
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from anonymize.detect.base import Identifier
from anonymize.policy.model import Kind
from anonymize.transform.markup.encoded import Base64Layer, data_uri, decode
from anonymize.transform.markup.fonts import is_font
from anonymize.transform.markup.layer import Builder, Known, Layer, unreadable_tag

_ATTRIBUTE = r"""[^\s=<>"'/]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=`]+))?+"""
_TAG = re.compile(
    rf"<(?P<close>/?)(?P<name>[A-Za-z_][\w:.-]*)(?P<attributes>(?:\s+{_ATTRIBUTE}|/(?!>)|(?<=[\"']){_ATTRIBUTE})*+)\s*(?P<empty>/?)>"
)
_ONE = re.compile(r"""[\s/]*(?P<name>[^\s=<>"'/]+)(?:\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'<>=`]+)))?""")
_NEXT = re.compile(r"[<&]|[^\S ]\s*| \s+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7};?|#[xX][0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};?)")
_DOCTYPE = re.compile(
    r"""<!DOCTYPE\s+html(?:\s+PUBLIC\s+["']-//W3C//DTD X?HTML [\w. ]+//EN["'](?:\s+["']http://www\.w3\.org/TR/[\w./-]+["'])?)?\s*>""",
    re.IGNORECASE,
)
_INTERNAL = re.compile(r"<!ENTITY\s|<!DOCTYPE\s[^>\[]*\[", re.IGNORECASE)
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|font-size\s*:\s*0(?![.\d]*[1-9])|mso-hide\s*:\s*all", re.IGNORECASE
)
_STYLE = re.compile(r"(?:\s*[a-zA-Z-]+\s*:[\w\s#%.,()'!-]*;?)*\s*")
_FAMILY = re.compile(r"font(?:-family)?\s*:([^;]*)", re.IGNORECASE)
_MEASURE = re.compile(r"#[0-9a-f]{3,8}|[-+]?\d{0,5}(?:\.\d{0,4})?(?:px|pt|em|ex|%|\*)?|[a-z]{2}(?:-[a-z]{2})?|(?:text|image)/[a-z+-]{2,10}")
_SAFE = re.compile(r"[\w\s#%.,:;/*()+\[\]{}^'-]{0,200}")
_STAMP = re.compile(r"\s*((?:18|19|20|21)\d\d(?:0[1-9]|1[0-2])(?:(?:0[1-9]|[12]\d|3[01])(?:\d{2,6}(?:\.\d+)?)?)?)(?:[+-]\d{2,4})?\s*")
_NUMBER = re.compile(r"\s*[-+]?\d{0,5}(?:\.\d{0,4})?\s*")
_WORD = re.compile(r"[^\W_]")
_IDS = frozenset(["id", "idref", "idrefs", "referencedobject"])


@dataclass(frozen=True)
class _Words:
    """The lists of `words.yaml`."""

    block: frozenset[str]
    cell: frozenset[str]
    inline: frozenset[str]
    void: frozenset[str]
    raw: frozenset[str]
    bare: frozenset[str]
    narrative: frozenset[str]
    roots: frozenset[str]
    header: frozenset[str]
    people: frozenset[str]
    name_stays: frozenset[str]
    known_names: frozenset[str]
    times: frozenset[str]
    keep: frozenset[str]
    shown: frozenset[str]
    ids: frozenset[str]
    addresses: frozenset[str]

    @property
    def html(self) -> frozenset[str]:
        return self.block | self.cell | self.inline | self.void | self.raw


@cache
def words() -> _Words:
    """What elements and attributes are."""
    data = YAML(typ="safe").load((files("anonymize.transform.markup") / "words.yaml").read_text(encoding="utf-8"))

    def listed(value: Any) -> frozenset[str]:
        return frozenset(" ".join(value if isinstance(value, list) else [value]).lower().split())

    html_, cda, attributes = data["html"], data["cda"], data["attributes"]
    return _Words(
        **{name: listed(html_[name]) for name in ("block", "cell", "inline", "void", "raw", "bare")},
        **{name: listed(cda[name]) for name in ("roots", "header", "people", "times")},
        **{name: listed(attributes[name]) for name in ("keep", "shown", "ids", "addresses")},
        narrative=listed(data["xml"]["inline"]),
        name_stays=listed(cda["name-stays-in"]),
        known_names=listed(cda["known-names"]),
    )


@cache
def _signs() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What HTML is known by, and what says that line ends in it are blanks."""
    names = "|".join(sorted(words().html, key=len, reverse=True))
    block = "|".join(sorted(words().block | words().cell, key=len, reverse=True))
    quoted = r"""(?:\s+[\w:-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[\w#%.:/-]+))"""
    alone = "br|hr|p|div|tr|td|li|ul|ol|table|html|body|head|h[1-6]|script|style|wbr"
    sign = rf"</(?:{names})\s*>|<(?:{alone})\s*/?>|<(?:{names}){quoted}+\s*/?>|<!--"
    flow = rf"<(?:{block})(?:\s[^<>]*)?>"
    return re.compile(sign, re.IGNORECASE), re.compile(flow, re.IGNORECASE)


def recognize(source: str) -> str | None:
    """`html`, `xml` or `cda`; None where a text has no sign of them: `BP <120`, `a <b and >c` and `AT&T` are plain text."""
    if "<" not in source and "&" not in source:
        return None
    if _INTERNAL.search(source, 0, 10_000) is not None:
        return "xml"
    root = _TAG.match(source, _prolog_end(source))
    if root is not None and not root["close"]:
        name = _local(root["name"])
        closed = root["empty"] or re.search(rf"</{re.escape(root['name'])}\s*>\s*(?:<!--.*-->\s*)?$", source[-2_000:], re.DOTALL) is not None
        if re.search(r"urn:hl7-org:v3[\"']", source[: root.end() + 2_000]) or (name in words().roots - {"section"} and closed):
            return "cda"
        if "xmlns" in root["attributes"] or re.match(r"\s*<\?xml", source) or (closed and name not in words().html):
            return "xml"
    if _signs()[0].search(source) is not None:
        return "html"
    entities = (match.group() for match in _ENTITY.finditer(source))
    return "html" if any(entity.endswith(";") and (entity[1] == "#" or entity[1:] in html5) for entity in entities) else None


def _prolog_end(source: str) -> int:
    """Where a document's first element may begin: after its declaration, comments and document type."""
    position = 0
    while True:
        match = re.compile(r"[\s\ufeff]*").match(source, position)
        position = match.end() if match else position
        for opening, closing in (("<?", "?>"), ("<!--", "-->"), ("<!", ">")):
            if source.startswith(opening, position):
                end = source.find(closing, position)
                if end < 0:
                    return position
                position = end + len(closing)
                break
        else:
            return position


def unwrap_tagged(source: str, form: str) -> Layer | str:
    """A document as a layer; or, where it declares entities of its own, the kind of what cannot be read."""
    if _INTERNAL.search(source):
        return "xml-entities"
    return _Reader(source, form).read()


class _Reader:
    """Reads one document, from its first sign to its last."""

    def __init__(self, source: str, form: str) -> None:
        self.source, self.form = source, form
        self.words = words()
        self.build = Builder()
        self.flow = form != "html" or _signs()[1].search(source) is not None
        self.pre = 0
        self.cutting: tuple[str, int, int] | None = None
        """The element that goes, where it began, and how many of its name are open in it."""
        self.open: list[str] = []
        """The open elements, in XML."""
        self.later: list[tuple[int, int, bool]] = []
        """The attributes with words: start, end, whether they stand without quotes."""
        self.unquoted: set[int] = set()
        self.cdata: list[tuple[int, int]] = []
        self.ids: dict[str, str] = {}
        self.said: list[str] = []
        """The text of the element of a header that is being read."""
        self.identifiers: list[Identifier] = []

    def read(self) -> Layer:
        source, position = self.source, 0
        while position < len(source):
            match = _NEXT.search(source, position)
            if match is None:
                self._text(position, len(source))
                break
            self._text(position, match.start())
            position = self._token(match)
        if self.cutting is not None:
            self.build.cut(self.cutting[1], len(source))
        self._attributes_with_words()
        layer = self.build.done()
        layer.escape = self._escape
        layer.identifiers = list(dict.fromkeys(self.identifiers))
        return layer

    def _token(self, match: re.Match[str]) -> int:
        """Take what begins at a `<`, a `&` or a blank; gives the position after it."""
        source, start = self.source, match.start()
        if source[start] == "&":
            return self._entity(start)
        if source[start] != "<":
            self._blank(start, match.end())
            return match.end()
        if source.startswith("<!--", start):
            return self._gone(start, source.find("-->", start + 4), 3)
        if source.startswith("<![CDATA[", start):
            return self._cdata(start)
        if source.startswith("<?", start):
            end = source.find("?>" if self.form != "html" else ">", start)
            if re.match(r"<\?xml\s", source[start : start + 7]) and end > 0:
                return end + 2
            return self._gone(start, end, 2 if self.form != "html" else 1)
        if source.startswith("<!", start) and source[start + 2 : start + 3].isalpha():
            kept = _DOCTYPE.match(source, start)
            return kept.end() if kept is not None else self._gone(start, source.find(">", start), 1)
        tag = _TAG.match(source, start)
        if tag is None or not self._is_tag(tag):
            self._text(start, start + 1)
            return start + 1
        return self._tag(tag)

    def _is_tag(self, tag: re.Match[str]) -> bool:
        """In HTML: the name is one of HTML's and what follows are attributes; else the `<` is text, and so searched."""
        if self.form != "html":
            return True
        if tag["name"].lower() not in self.words.html and ":" not in tag["name"]:
            return False
        return all("=" in one.group() or one["name"].lower() in self.words.bare for one in _ONE.finditer(tag["attributes"]))

    # ------------------------------------------------------------------------------------------------------------------------ text

    def _text(self, start: int, end: int) -> None:
        if self.cutting is None:
            self.build.copy(self.source, start, end)
        elif start < end:
            self._heard(self.source[start:end])

    def _blank(self, start: int, end: int) -> None:
        if self.cutting is not None:
            self._heard(" ")
        elif self.pre or not self.flow:
            self.build.copy(self.source, start, end)
        elif self.build.last.isspace():
            self.build.stand("", start, end)
        else:
            self.build.stand(" ", start, end)

    def _entity(self, start: int) -> int:
        match = _ENTITY.match(self.source, start)
        meaning = html.unescape(match.group()) if match else ""
        if match is None or meaning == match.group():
            self._text(start, start + 1)
            return start + 1
        if self.cutting is not None:
            self._heard(meaning)
        else:
            self.build.stand(meaning, start, match.end())
        return match.end()

    def _cdata(self, start: int) -> int:
        end = self.source.find("]]>", start)
        last = end if end >= 0 else len(self.source)
        self.cdata.append((start + 9, last))
        self._text(start + 9, last)
        return last + 3 if end >= 0 else last

    def _gone(self, start: int, end: int, more: int) -> int:
        last = end + more if end >= 0 else len(self.source)
        if self.cutting is None:
            self.build.cut(start, last)
        return last

    # ------------------------------------------------------------------------------------------------------------------------ tags

    def _tag(self, tag: re.Match[str]) -> int:
        name, local = tag["name"].lower(), _local(tag["name"])
        if self.cutting is not None:
            return self._in_cut(tag, name)
        if tag["close"]:
            self._closed(local, tag)
            return tag.end()
        empty = bool(tag["empty"]) or (self.form == "html" and local in self.words.void)
        if self._goes(tag, name, local):
            return self._cut_from(tag, name, empty)
        self._spaced(local, tag.start(), closing=False)
        encoded = self._attributes(tag, local)
        if not empty:
            self.open.append(local)
            self.pre += local in ("pre", "textarea")
            if encoded:
                return self._encoded(tag)
        return tag.end()

    def _in_cut(self, tag: re.Match[str], name: str) -> int:
        assert self.cutting is not None
        cut, start, depth = self.cutting
        local = _local(name)
        if self.form == "cda":
            self._told(tag, local)
        if not tag["close"]:
            if not tag["empty"]:
                self.open.append(local)
                if name == cut:
                    self.cutting = (cut, start, depth + 1)
            return tag.end()
        self._pop(local)
        if name == cut:
            self.cutting = (cut, start, depth - 1) if depth > 1 else None
            if depth == 1:
                self.build.cut(start, tag.end())
        return tag.end()

    def _goes(self, tag: re.Match[str], name: str, local: str) -> bool:
        """Whether an element goes with all that is in it."""
        cda = self.words
        if self.form == "cda":
            if local in cda.people or name in cda.people:
                return True
            if local == "name" and not any(one in cda.name_stays for one in self.open[-1:]):
                return True
            if local == "participantrole" and "SDLOC" in tag["attributes"]:
                return True
            if len(self.open) == 1 and self.open[0] == "clinicaldocument" and local not in cda.header:
                return True
        elif local in cda.raw and (self.form == "html" or local in ("script", "style", "iframe", "object", "embed", "applet", "svg")):
            return True
        attributes = tag["attributes"]
        if not attributes or ("hid" not in attributes.lower() and "style" not in attributes.lower()):
            return False
        for one in _ONE.finditer(attributes):
            value = html.unescape(one["double"] or one["single"] or one["bare"] or "")
            if one["name"].lower() == "hidden" or (one["name"].lower() == "style" and _HIDDEN.search(value)):
                return True
            if one["name"].lower() == "type" and value.lower() == "hidden":
                return True
        return False

    def _cut_from(self, tag: re.Match[str], name: str, empty: bool) -> int:
        if name in ("object", "embed", "applet", "audio", "video", "svg", "canvas", "observationmedia"):
            kind = "image" if name in ("svg", "canvas", "observationmedia") else "object"
            self.build.layer.taken.append((tag.start(), tag.end(), f"unreadable-{kind}"))
        if self.form == "cda":
            self._told(tag, _local(name))
        if empty:
            self.build.cut(tag.start(), tag.end())
            return tag.end()
        if self.form == "html" and name in self.words.raw:
            closing = re.compile(rf"</{re.escape(name)}[^>]*>", re.IGNORECASE).search(self.source, tag.end())
            end = closing.end() if closing is not None else len(self.source)
            self.build.cut(tag.start(), end)
            return end
        self.cutting = (name, tag.start(), 1)
        self.open.append(_local(name))
        return tag.end()

    def _closed(self, local: str, tag: re.Match[str]) -> None:
        self._spaced(local, tag.start(), closing=True)
        if self.pre and local in ("pre", "textarea"):
            self.pre -= 1
        self._pop(local)

    def _pop(self, local: str) -> None:
        """Close an element; those that HTML left open in it are closed with it."""
        if self.open and self.open[-1] == local:
            self.open.pop()
        elif local in self.open[-64:]:
            while self.open.pop() != local:
                pass

    def _spaced(self, local: str, at: int, *, closing: bool) -> None:
        if local in self.words.cell:
            if not closing:
                self.build.shown("\t", at)
        elif local in self.words.inline or (self.form != "html" and local in self.words.narrative):
            return
        elif local in self.words.block or self.form != "html":
            self.build.shown("\n", at)

    def _encoded(self, tag: re.Match[str]) -> int:
        """The content of an element with `representation="B64"`: a document of its own, or a file that does not leave."""
        from anonymize.transform.markup import unwrap

        start = tag.end()
        end = self.source.find("<", start)
        end = end if end >= 0 else len(self.source)
        inner = self.source[start:end]
        if not inner.strip():
            return end
        found = decode(inner, declared=True)
        if isinstance(found, Base64Layer):
            inside = unwrap(inner, declared="base64")
            if inside.unreadable is None:
                self.build.part(inside, start, end)
                return end
            found = inside.unreadable
        kind = found if isinstance(found, str) else "base64"
        self.build.cut(start, end, unreadable_tag(kind), kind=f"unreadable-{kind}")
        for one in _ONE.finditer(self.source, tag.start("attributes"), tag.end("attributes")):
            if one["name"].lower() in ("representation", "mediatype"):
                self.build.cut(one.start(), one.end(), ' mediaType="text/plain"' if one["name"].lower() == "mediatype" else "")
        return end

    # ------------------------------------------------------------------------------------------------------------------ attributes

    def _attributes(self, tag: re.Match[str], local: str) -> bool:
        """Judge each attribute; gives whether the element's content is base64."""
        encoded = False
        if self.form == "cda" and local in ("id", "setid"):
            self._renamed_id(tag)
            return False
        if self.form == "cda" and local in ("templateid", "typeid", "realmcode"):
            return False
        for one in _ONE.finditer(self.source, tag.start("attributes"), tag.end("attributes")):
            group = next((name for name in ("double", "single", "bare") if one[name] is not None), None)
            if group is None:
                if self.form != "html" and one["name"].lower() not in self.words.bare:
                    self.build.cut(one.start(), one.end())
                continue
            name = one["name"].lower()
            encoded = encoded or (name == "representation" and one[group].upper() == "B64")
            self._attribute(one, group, name, local)
        return encoded

    def _attribute(self, one: re.Match[str], group: str, name: str, element: str) -> None:
        value, local = html.unescape(one[group]), _local(name)
        if name == "xmlns" or name.startswith(("xmlns:", "xsi:")):
            return
        if local in (self.words.ids if self.form == "html" else _IDS) and not (local == "name" and element == "meta"):
            renamed = " ".join(self._renamed(word) for word in value.split())
            self.build.cut(one.start(group), one.end(group), renamed)
        elif value.startswith("#") and local in ("href", "value", "src"):
            self.build.cut(one.start(group), one.end(group), "#" + self._renamed(value[1:]))
        elif local in self.words.addresses:
            self._address(one, value)
        elif local.startswith(("on", "data-")) or (local == "style" and not _is_style(value)) or "data:" in value:
            self.build.cut(one.start(), one.end())
        elif (
            (self.form == "cda" and local == "value" and self._stamp(one, group, element))
            or (local in self.words.keep and self._safe(local, value))
            or _NUMBER.fullmatch(value)
            or not _WORD.search(value)
        ):
            return
        else:
            self.later.append((one.start(group), one.end(group), group == "bare"))

    def _safe(self, local: str, value: str) -> bool:
        """Whether a value of an attribute that only forms need to say is as it should be. XML of no known kind may say anything anywhere."""
        if _NUMBER.fullmatch(value) or not _WORD.search(value):
            return True
        if local == "style" or (local == "face" and all(is_font(name.strip()) for name in value.split(","))):
            return True
        if self.form == "cda":
            return local in self.words.keep and _SAFE.fullmatch(value) is not None
        return local in self.words.keep and all(word in self.words.shown or _MEASURE.fullmatch(word) for word in value.lower().split())

    def _stamp(self, one: re.Match[str], group: str, element: str) -> bool:
        match = _STAMP.fullmatch(one[group])
        if match is None or (len(match.group(1)) < 8 and element not in self.words.times):
            return False
        start = one.start(group) + match.start(1)
        self.build.layer.known.append(Known(Kind.DATE, start, start + len(match.group(1)), match.group(1)))
        return True

    def _address(self, one: re.Match[str], value: str) -> None:
        """An address elsewhere goes with its attribute; what it was is counted."""
        scheme = value.strip().partition(":")[0].lower()
        kinds = {"mailto": Kind.EMAIL.value, "tel": Kind.PHONE.value, "sms": Kind.PHONE.value, "fax": Kind.FAX.value}
        kind = f"unreadable-{data_uri(value) or 'binary'}" if scheme == "data" else kinds.get(scheme, Kind.URL.value)
        self.build.cut(one.start(), one.end(), kind=kind if value.strip() else None)

    def _renamed(self, name: str) -> str:
        """The same id gets the same new one, so that references still lead there."""
        return self.ids.setdefault(name, f"n{len(self.ids) + 1}")

    def _renamed_id(self, tag: re.Match[str]) -> None:
        """A CDA `id` names a record; a number in its place keeps what refers to it."""
        spans = {one["name"].lower(): one for one in _ONE.finditer(self.source, tag.start("attributes"), tag.end("attributes"))}
        parts = [one for name, one in spans.items() if name not in ("nullflavor",) and not name.startswith("xmlns")]
        if not parts:
            return
        whole = "|".join(html.unescape(one["double"] or one["single"] or one["bare"] or "") for one in sorted(parts, key=lambda o: o["name"]))
        renamed = self._renamed(whole)
        for index, one in enumerate(parts):
            self.build.cut(one.start(), one.end(), f' root="{renamed}"' if index == 0 else "")

    def _attributes_with_words(self) -> None:
        for start, end, bare in self.later:
            self.build.shown("\n", start)
            if bare:
                self.unquoted.add(start)
            for match in re.finditer(r"&[^&]*|[^&]+", self.source[start:end]):
                self._words_of(start + match.start(), start + match.end())

    def _words_of(self, start: int, end: int) -> None:
        entity = _ENTITY.match(self.source, start, end)
        if entity is not None and html.unescape(entity.group()) != entity.group():
            self.build.stand(html.unescape(entity.group()), start, entity.end())
            start = entity.end()
        self.build.copy(self.source, start, end)

    def _escape(self, text: str, at: int) -> str:
        from bisect import bisect_right

        index = bisect_right(self.cdata, (at, len(self.source) + 1)) - 1
        if index >= 0 and self.cdata[index][0] <= at < self.cdata[index][1]:
            return text.replace("]]>", "]] >")
        escaped = html.escape(text, quote=True)
        return "".join(f"&#{ord(sign)};" if sign.isspace() else sign for sign in escaped) if at in self.unquoted else escaped

    # -------------------------------------------------------------------------------------------------------------------- a header

    def _heard(self, text: str) -> None:
        """Names in what goes are known for the rest: who stands in the header is looked up in the text."""
        if self.form == "cda" and self.open and self.open[-1] in self.words.known_names:
            self.said.append(text)

    def _told(self, tag: re.Match[str], local: str) -> None:
        """An element of a header begins or ends: what stood in it is somebody's, and so are its numbers."""
        value = " ".join("".join(self.said).split())
        self.said.clear()
        if value and self.open:
            above = self.open[-2] if len(self.open) > 1 else ""
            place = any(word in above for word in ("organization", "custodian", "facility", "place"))
            kind = Kind.ADDRESS if self.open[-1] == "streetaddressline" else Kind.FACILITY if place else Kind.NAME
            self.identifiers.append(Identifier(kind, value, f"cda.{self.open[-1]}"))
        if tag["close"] or local not in ("id", "telecom", "birthtime"):
            return
        values = {one["name"].lower(): one["double"] or one["single"] or "" for one in _ONE.finditer(tag["attributes"])}
        given = html.unescape(values.get("extension" if local == "id" else "value", "")).strip()
        if given and local == "id":
            self.identifiers.append(Identifier(Kind.MRN, given, "cda.id"))
        elif given and local == "telecom":
            scheme, _, rest = given.rpartition(":")
            kind = Kind.EMAIL if "@" in rest else Kind.URL if scheme.startswith("http") else Kind.PHONE
            self.identifiers.append(Identifier(kind, rest.strip().lstrip("/"), "cda.telecom"))
        elif given:
            written = given if len(given) < 8 else f"{given[:4]}-{given[4:6]}-{given[6:8]}"
            self.identifiers.append(Identifier(Kind.DATE, written, "cda.birthTime"))


def _is_style(value: str) -> bool:
    """Whether a style says how something looks and nothing else: no address, and no font that is not common."""
    families = (name.strip(" '") for match in _FAMILY.finditer(value) for name in match.group(1).split(","))
    return _STYLE.fullmatch(value) is not None and all(not name or is_font(name) for name in families)


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()
