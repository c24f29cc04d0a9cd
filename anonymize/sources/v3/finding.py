"""Where CDA documents lie: in files of their own (gzip too), in ZIP archives (IHE XDM), in other XML, and in HL7 v2 messages (OBX, type ED)."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from anonymize.sources.base import Malformed
from anonymize.sources.hl7 import framing
from anonymize.sources.hl7.er7 import NotHl7
from anonymize.sources.hl7.er7 import parse as parse_message
from anonymize.sources.hl7.values import encapsulated
from anonymize.sources.opening import open_bytes
from anonymize.sources.v3.elements import NotXml, local, parse

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement

#: Bytes of one document: over any with pictures in it; a larger one is malformed, and is not held in memory.
LIMIT = 64 << 20
_HL7V2 = re.compile(rb"(?:\xef\xbb\xbf)?[\x0b\s]*(?:MSH|FHS|BHS)[^A-Za-z0-9\s]")
#: What an XDM archive holds beside its documents. Source: IHE ITI TF-2, 3.32.
_XDM = re.compile(r"(?i)(^|/)(metadata\.xml|[^/]*\.(xsl|xslt|css|htm|html|txt|pdf|jpg|jpeg|png|gif|tif|tiff|js|ico|md|p7s))$")
Found = tuple["XmlElement", int] | Malformed


def documents(file: Path) -> Iterator[Found]:
    """Each ClinicalDocument of a file with its size in bytes; a Malformed for what is none.

    Reasons: `not-xml`, `not-cda`, `xml-entities`, `too-deep`, `too-large`, `damaged-file`, `unreadable-file`, `no-document` (a message
    without one), `empty-file`, and those of HL7 v2's framing.
    """
    try:
        with open_bytes(file) as stream:
            head = stream.read(512)
            if not head.strip():
                yield Malformed(0, "empty-file")
                return
            if head.startswith(b"PK\x03\x04"):
                yield from _archive(file)
                return
            if _HL7V2.match(head):
                yield from _messages(file)
                return
            data = head + stream.read(LIMIT + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile):
        yield Malformed(0, "damaged-file")
        return
    except OSError:
        yield Malformed(0, "unreadable-file")
        return
    yield from _documents(data)


def _documents(data: bytes) -> Iterator[Found]:
    if len(data) > LIMIT:
        yield Malformed(0, "too-large")
        return
    try:
        root = parse(data)
    except NotXml as error:
        yield Malformed(0, str(error), raw=data.decode("utf-8", "replace"))
        return
    inside = [root] if local(root.tag) == "ClinicalDocument" else [one for one in root.iter() if local(one.tag) == "ClinicalDocument"]
    if not inside:
        yield Malformed(0, "not-cda", raw=data.decode("utf-8", "replace"))
    for one in inside:
        yield one, len(data)


def _archive(file: Path) -> Iterator[Found]:
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and not _XDM.search(member.filename)]
        if not members:
            yield Malformed(0, "no-document")
        for member in members:
            if member.file_size > LIMIT:
                yield Malformed(0, "too-large")
                continue
            try:
                with archive.open(member) as stream:
                    # What an archive says of its sizes may be a lie.
                    data = stream.read(LIMIT + 1)
            except (RuntimeError, NotImplementedError, EOFError, zlib.error, zipfile.BadZipFile):
                yield Malformed(0, "damaged-file")
                continue
            yield from _documents(data)


def _messages(file: Path) -> Iterator[Found]:
    for item in framing.messages(file):
        if isinstance(item, Malformed):
            yield item
            continue
        try:
            message = parse_message(item)
        except NotHl7 as error:
            yield Malformed(0, str(error), raw=b"\r".join(item).decode("utf-8", "replace"))
            continue
        texts = [
            text for segment in message.segments if segment.name == "OBX" and (text := encapsulated(segment)) and "ClinicalDocument" in text
        ]
        if not texts:
            yield Malformed(0, "no-document", raw=b"\r".join(item).decode("utf-8", "replace"))
        for text in texts:
            # The declaration's encoding is that of the bytes, which are text by now.
            yield from _documents(re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff")).encode("utf-8", "replace"))
