"""A CDA section's narrative as a reader sees it: paragraphs and items are lines, a table's row is a line with `|` between its cells.

Pictures (`renderMultiMedia`) and addresses of links say nothing that is text; a footnote stands where it is written.
Source: HL7 CDA R2, 4.3.5 (section narrative block).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anonymize.sources.v3.elements import local

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement

LINES = frozenset(("paragraph", "caption", "item", "tr", "table", "list", "thead", "tbody", "tfoot", "text", "title"))
CELLS = frozenset(("td", "th"))


def as_text(element: XmlElement) -> str | None:
    """The words of a narrative block, or of an element in it; None where it has none."""
    pieces: list[str] = []
    _write(element, pieces)
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return (
        "\n".join(line for line in (line.strip("| ") if set(line) <= {"|", " "} else line.removesuffix(" |") for line in lines) if line) or None
    )


def _write(element: XmlElement, pieces: list[str]) -> None:
    name = local(element.tag)
    if name in ("renderMultiMedia", ""):
        return
    if name in LINES:
        pieces.append("\n")
    if name == "item":
        pieces.append("- ")
    if name == "br":
        pieces.append("\n")
    pieces.append(_flat(element.text))
    for child in element:
        _write(child, pieces)
        pieces.append(_flat(child.tail))
    if name in CELLS:
        pieces.append(" | ")
    elif name in LINES:
        pieces.append("\n")


def _flat(text: str | None) -> str:
    """A line's end in the source is no line's end for a reader."""
    return (text or "").replace("\n", " ").replace("\r", " ")
