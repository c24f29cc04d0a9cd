"""Structured text: RTF, HTML, XHTML narrative, XML, CDA and base64 unwrapped to plain text with a way back, and wrapped again.

    found = unwrap(cell)             # found.text is searched
    found.origins(start, end)        # where a finding lies in the cell
    found.wrap(edits)                # the cell with the findings replaced, and without what must not leave

What a text is, is told by its signs, or declared in the policy. What cannot be read is `unreadable`, with its kind, and becomes a tag.
"""

from __future__ import annotations

import re

from anonymize.transform.markup.encoded import data_uri, decode, looks_encoded, unreadable_text
from anonymize.transform.markup.layer import Edit, Known, Layer, Unwrapped, unreadable_tag
from anonymize.transform.markup.plain import peel

__all__ = ["DEEPEST", "Edit", "Known", "Unwrapped", "unreadable_tag", "unwrap"]

#: So many layers are taken off: base64 of HTML that quotes HTML is three. A text with more is no note.
DEEPEST = 5
_PLAIN = re.compile(r"[<&\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u206f\ufeff\ufffd]|\{\\rtf|;base64,|\S{60}")
_TAG = re.compile(r"\s*\[UNREADABLE: ([a-z0-9-]{1,20})\]\s*")


def unwrap(source: str, *, declared: str = "auto") -> Unwrapped:
    """A text's plain text, with the way back. declared: `auto`, `plain`, `html`, `xml`, `cda`, `rtf` or `base64`.

    A declared form is taken for what it is said to be where the text can be that; a declared base64 that is none is unreadable. A `plain`
    text is not unwrapped, but a file that stands for it, or in it, does not leave.
    """
    found = Unwrapped(source, form="plain")
    if declared in ("auto", "plain") and _PLAIN.search(source) is None and not looks_encoded(source) and not source.startswith(("%PDF", "[UNR")):
        return found
    _unwrap(found, declared)
    return found


def _unwrap(found: Unwrapped, declared: str) -> None:
    text = found.source
    tagged = _TAG.fullmatch(text)
    if tagged is not None:
        found.unreadable = tagged.group(1)
        return
    for depth in range(DEEPEST + 1):
        step = _next(text, declared)
        if step is None:
            break
        form, layer = step
        if depth == DEEPEST:
            layer = "nested"
        if depth == 0:
            found.form = form
        if isinstance(layer, str):
            found.unreadable = layer
            return
        found.layers.append(layer)
        text, declared = layer.text, "plain" if declared == "plain" else "auto"
    last = peel(text)
    if last is not None:
        found.layers.append(last)


def _next(text: str, declared: str) -> tuple[str, Layer | str] | None:
    """The next layer of a text, with the name of its form; a kind of what cannot be read; None where the text is plain."""
    from anonymize.transform.markup.rtf import is_rtf, unwrap_rtf
    from anonymize.transform.markup.tagged import recognize, unwrap_tagged

    kind = unreadable_text(text)
    if kind is not None:
        return "file", kind
    kind = data_uri(text)
    if kind is not None:
        return "data", "attachment" if kind == "text" else kind
    if declared == "plain":
        return None
    if declared == "base64" or looks_encoded(text):
        layer = decode(text, declared=declared == "base64")
        if layer is not None:
            return "base64", layer
    if is_rtf(text):
        return "rtf", unwrap_rtf(text)
    form = recognize(text)
    if declared in ("html", "xml", "cda") and form != "cda":
        form = declared
    return (form, unwrap_tagged(text, form)) if form is not None else None
