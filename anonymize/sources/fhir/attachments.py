"""Attachments: the text of what is held in a resource, or in a Binary of the same export. No address is ever followed from here.

What is no text (a PDF, a scan) or is not there becomes a tag, `[UNREADABLE: pdf]`, which the scrubber counts and the reader sees.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterable
from typing import Any

from anonymize.transform.markup import unreadable_tag
from anonymize.transform.markup.encoded import Base64Layer, decode

#: Finds a Binary of the same source by an attachment's address: its contentType and data.
Binaries = Callable[[str], dict[str, Any] | None]
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
#: Encodings that `decode` tells by the bytes.
_TOLD = {"utf-8", "ascii", "cp1252"}


def attachment_text(nodes: Iterable[Any], binaries: Binaries | None = None) -> str | None:
    """The text of the first attachment that is one; else a tag for the first that is none; None where there is no attachment."""
    tag: str | None = None
    for node in nodes:
        if not isinstance(node, dict):
            continue
        data, media = node.get("data"), node.get("contentType")
        if not isinstance(data, str) and isinstance(node.get("url"), str):
            found = binaries(node["url"]) if binaries else None
            data, media = (found.get("data"), media or found.get("contentType")) if found else (None, media)
        if not isinstance(data, str):
            # A title alone is no text of it; what is elsewhere is not fetched.
            tag = tag or (unreadable_tag("attachment") if "url" in node else None)
            continue
        text, kind = _text(data, media)
        if text is not None:
            return text
        tag = tag or unreadable_tag(kind)
    return tag


def _text(data: str, media: Any) -> tuple[str | None, str]:
    if not data.strip():
        return data, ""
    found = decode(_in_utf8(data, media), declared=True)
    return (found.text, "") if isinstance(found, Base64Layer) else (None, found or "base64")


def _in_utf8(data: str, media: Any) -> str:
    """The attachment with its text in UTF-8, where its media type says another charset."""
    said = _CHARSET.search(media) if isinstance(media, str) else None
    try:
        if said is None or codecs.lookup(said[1]).name in _TOLD:
            return data
        return base64.b64encode(base64.b64decode("".join(data.split()), validate=True).decode(said[1]).encode()).decode()
    except (LookupError, UnicodeError, binascii.Error, ValueError):
        return data
