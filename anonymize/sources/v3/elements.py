"""XML as a tree that the mapping's language can walk: children by their names, attributes by `@` and their names, words as the text.

`recordTarget.patientRole.id.@extension`, `title`, `effectiveTime.low.@value`. Elements of HL7's `sdtc` namespace are `sdtc_deceasedInd`,
those of any other than HL7's own `x_name`. A coded element has `@known`, its code where that is of a known system, or `@local`, and
`@system`, the known one. A `telecom` has its value by its scheme too: `@tel`, `@mailto`, `@fax`, `@http`.

No document type, no entity, no address outside of the document is ever read (defusedxml). Source: OWASP XML External Entity Prevention.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as Safe

from anonymize.sources.codings import is_known
from anonymize.sources.tree import Branch

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement

HL7 = "urn:hl7-org:v3"
SDTC = "urn:hl7-org:sdtc"
#: Elements within each other: far more than any document has.
DEEPEST = 120
_SCHEME = re.compile(r"(tel|fax|mailto|https?|ftp|mllp|sip):", re.IGNORECASE)
_SCHEMES = {"https": "http", "ftp": "http", "mllp": "http", "sip": "tel"}


class NotXml(Exception):
    """What is no XML that may be read. Its only argument is the reason's code."""


def parse(data: bytes) -> XmlElement:
    """A document's root. Raises NotXml: `not-xml`, `xml-entities` (it has a document type), `too-deep`."""
    try:
        root = Safe.fromstring(data.lstrip(b" \t\r\n"), forbid_dtd=True)
    except DefusedXmlException:
        raise NotXml("xml-entities") from None
    except (Safe.ParseError, ValueError, LookupError, RecursionError):
        raise NotXml("not-xml") from None
    level, depth = [root], 0
    while level:
        level, depth = [child for element in level for child in element], depth + 1
        if depth > DEEPEST:
            raise NotXml("too-deep")
    return root


def local(tag: object) -> str:
    """An element's or attribute's name as mappings write it."""
    if not isinstance(tag, str):
        return ""
    space, brace, name = tag.rpartition("}")
    if not brace or space == "{" + HL7:
        return name
    return f"sdtc_{name}" if space == "{" + SDTC else f"x_{name}"


class Element(Branch):
    """One XML element. Its children are looked at when they are asked for."""

    def __init__(self, xml: XmlElement) -> None:
        super().__init__()
        self.xml, self.name = xml, local(xml.tag)

    def get(self, field: str, default: Any = None) -> Any:
        if field not in self:
            self[field] = self._attribute(field[1:]) if field.startswith("@") else self._children(field)
        found = self[field]
        return default if found is None else found

    def one(self, *path: str) -> Element | None:
        """The first element at the end of a path."""
        found: Element | None = self
        for field in path:
            below = found.get(field) if found is not None else None
            found = below[0] if below else None
        return found

    @property
    def text(self) -> str | None:
        """All words in it, with blanks between elements."""
        return " ".join(word for piece in self.xml.itertext() for word in piece.split()) or None

    def _children(self, field: str) -> list[Element]:
        return [Element(child) for child in self.xml if local(child.tag) == field]

    def _attribute(self, name: str) -> str | None:
        for tag, value in self.xml.items():
            # xsi:type is HL7's type of a value.
            if tag.rpartition("}")[2] == name:
                return value.strip() or None
        if name in ("known", "local"):
            code = (self.xml.get("code") or "").strip()
            return code if code and is_known(code, self.xml.get("codeSystem")) == (name == "known") else None
        if name == "system":
            return self.xml.get("codeSystem") if is_known((self.xml.get("code") or "").strip(), self.xml.get("codeSystem")) else None
        return self._by_scheme(name) if name in ("tel", "mailto", "fax", "http") else None

    def _by_scheme(self, scheme: str) -> str | None:
        value = (self.xml.get("value") or "").strip()
        match = _SCHEME.match(value)
        said = match[1].lower() if match else "mailto" if "@" in value else "tel"
        return (value[match.end() :] if match else value) or None if _SCHEMES.get(said, said) == scheme else None
