"""Base64, and what bytes are: text that can be read, or a kind of file that cannot (pdf, image, office …).

Source: RFC 4648 (alphabets, padding), RFC 2045 (lines of 76 signs), RFC 2397 (`data:`); the first bytes of files as in IANA's media types.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt

from anonymize.transform.markup.layer import Edit, Layer, apply

#: A cell is taken for base64 of itself from so many signs; below, a word might be.
LEAST = 16
#: From so many signs on, what looks like base64 and cannot be read does not leave.
LONG = 120
_BODY = re.compile(r"\s*([A-Za-z0-9+/_-]+(?:\r?\n[A-Za-z0-9+/_-]+)*={0,2})\s*")
_LOOSE = re.compile(r"\s*([A-Za-z0-9+/_\s-]*[A-Za-z0-9+/_-]\s*={0,2})\s*")
_DATA = re.compile(r"\s*data:([\w.+-]+/[\w.+-]+)?((?:;[\w-]+=[^;,\s]*)*)(;base64)?,", re.IGNORECASE)
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "pdf"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
    (b"BM", "image"),
    (b"\x00\x00\x01\x00", "image"),
    (b"\xd0\xcf\x11\xe0", "office"),
    (b"\x1f\x8b", "archive"),
    (b"7z\xbc\xaf", "archive"),
    (b"Rar!", "archive"),
    (b"BZh", "archive"),
    (b"OggS", "media"),
    (b"ID3", "media"),
    (b"%!PS", "postscript"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")


def kind_of(data: bytes) -> str | None:
    """What kind of file bytes are by their beginning; None where that says nothing."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n") if data[:1] in b"\xef \t\r\n" else data[:1024]
    if head.startswith(b"PK\x03\x04"):
        office = b"[Content_Types].xml" in data[:4096] or b"word/" in data[:4096] or b"mimetypeapplication/vnd.oasis" in data[:256]
        return "office" if office else "archive"
    if head.startswith(b"RIFF"):
        return "image" if head[8:12] == b"WEBP" else "media"
    if head[4:8] == b"ftyp":
        return "media"
    if data[128:132] == b"DICM":
        return "dicom"
    for sign, kind in _MAGIC:
        if head.startswith(sign) and (sign != b"BM" or b"\x00" in head[:32]):
            return kind
    return None


def decoded_text(data: bytes, *, strict: bool = False) -> tuple[str, str] | None:
    """Bytes as text, with the name of the encoding; None where they are none: signs of control (strict: one), too few letters for Latin-1."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            text = _decoded(data, encoding)
            return (text, "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be") if text is not None and _readable(text, strict) else None
    text = _decoded(data, "utf-8")
    if text is not None:
        return (text, "utf-8") if _readable(text, strict) else None
    text = _decoded(data, "cp1252")
    if text is None or not _readable(text, strict):
        return None
    plain = sum(sign.isascii() for sign in text[:4096])
    return (text, "cp1252") if plain >= 0.85 * len(text[:4096]) else None


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, ValueError):
        return None


def _readable(text: str, strict: bool) -> bool:
    if _CONTROLS.search(text) is None:
        return True
    return not strict and "\0" not in text and len(_CONTROLS.findall(text)) <= 2 + len(text) // 200


def unreadable_text(text: str) -> str | None:
    """What kind of file a text is that somebody has taken for one: its first signs, or signs of control in it. None: it is a text."""
    kind = kind_of(text[:4096].encode("latin-1", "replace"))
    if kind in ("pdf", "postscript"):
        return kind
    if _CONTROLS.search(text) is None:
        return None
    if kind is not None:
        return kind
    head = text[:8].replace("\ufffd", "").lstrip("?")
    if head.startswith(("PNG", "JFIF", "GIF8", "PK\x03")):
        return "office" if head.startswith("PK") else "image"
    controls = len(_CONTROLS.findall(text[:4096]))
    return "binary" if controls > max(8, 0.05 * len(text[:4096])) else None


@dataclass
class Base64Layer(Layer):
    """Base64 of a text. An edit of the text writes all of it anew, in the same alphabet, with lines as long."""

    encoding: str = "utf-8"
    mark: bytes = b""
    """The byte order mark, which is no text."""
    span: tuple[int, int] = (0, 0)
    """Where the base64 stands in the source."""
    places: npt.NDArray[np.int64] | None = None
    """The place of each sign of base64 in the source, where lines divide it."""
    bytes_before: npt.NDArray[np.int64] | None = None
    """The bytes before each sign of the text, and of all; None where each sign is a byte."""
    width: int = 0
    newline: str = "\n"
    url_safe: bool = False
    padded: bool = True

    def origins(self, start: int, end: int) -> list[tuple[int, int]]:
        low, high = (start, end) if self.bytes_before is None else (int(self.bytes_before[start]), int(self.bytes_before[end]))
        low, high = low + len(self.mark), high + len(self.mark)
        first, last = low * 8 // 6, -(-high * 8 // 6)
        if self.places is not None:
            return [(int(self.places[first]), int(self.places[last - 1]) + 1)]
        return [(self.span[0] + first, self.span[0] + last)]

    def rewrite(self, edits: Sequence[Edit], known: Sequence[str]) -> list[Edit]:  # noqa: ARG002
        if not edits:
            return []
        data = self.mark + apply(self.text, edits).encode(self.encoding, "replace")
        written = (base64.urlsafe_b64encode if self.url_safe else base64.b64encode)(data).decode()
        if not self.padded:
            written = written.rstrip("=")
        if self.width:
            written = self.newline.join(written[at : at + self.width] for at in range(0, len(written), self.width))
        return [(*self.span, written)]


def looks_encoded(source: str) -> bool:
    """Whether a text may be base64 as a whole: a first look that costs nothing on prose."""
    head = source[:100].strip()
    return len(head) >= LEAST and re.fullmatch(r"[A-Za-z0-9+/_-]+(?:\r?\n[A-Za-z0-9+/_-]+)*\r?\n?={0,2}", head) is not None


def decode(source: str, *, declared: bool = False) -> Base64Layer | str | None:
    """Base64 as a layer; the kind of what cannot be read; None where the text is no base64.

    Undeclared, a text of at least LEAST signs counts where it decodes to text or to a known kind of file; of LONG signs, and of all kinds of
    letters, where it decodes to anything, or is broken.
    """
    match = _BODY.fullmatch(source) or (_LOOSE.fullmatch(source) if declared else None)
    if match is None:
        return "base64" if declared and source.strip() else None
    body = match.group(1)
    lines = body.split()
    if not declared and (len(body) < LEAST or not _even(lines)):
        return None
    bare = "".join(lines)
    long = declared or (len(bare) >= LONG and all(any(test(sign) for sign in bare) for test in (str.isupper, str.islower, str.isdigit)))
    if re.fullmatch("[0-9]+|[0-9a-f]+|[0-9A-F]+", bare) and not declared:
        return None
    data = _bytes(bare)
    if data is None:
        return "base64" if long else None
    kind = kind_of(data)
    if kind is not None and (long or len(data) >= 12):
        return kind
    found = decoded_text(data, strict=not long)
    if found is None:
        return "binary" if long else None
    text, encoding = found
    if not declared and encoding == "cp1252" and not long:
        return None
    return _layer(source, match.start(1), body, lines, data, text, encoding)


def _even(lines: Sequence[str]) -> bool:
    """Whether lines are as base64 is folded: equally long, the last one shorter."""
    return len(lines) == 1 or (len({len(line) for line in lines[:-1]}) == 1 and len(lines[0]) >= 40 and len(lines[-1]) <= len(lines[0]))


def _bytes(bare: str) -> bytes | None:
    stripped = bare.rstrip("=")
    if len(stripped) % 4 == 1 or ("=" in bare and len(bare) % 4):
        return None
    if ("-" in stripped or "_" in stripped) and ("+" in stripped or "/" in stripped):
        return None
    try:
        return base64.b64decode(stripped.replace("-", "+").replace("_", "/") + "=" * (-len(stripped) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _layer(source: str, at: int, body: str, lines: Sequence[str], data: bytes, text: str, encoding: str) -> Base64Layer:
    mark = b""
    if text.startswith("\ufeff"):
        mark, text = "\ufeff".encode(encoding), text[1:]
    elif encoding.startswith("utf-16"):
        mark = data[:2]
    layer = Base64Layer(text=text, encoding=encoding, mark=mark, span=(at, at + len(body)))
    if len(lines) > 1:
        signs = np.frombuffer(source[at : at + len(body)].encode("ascii"), np.uint8)
        layer.places = at + np.flatnonzero(~np.isin(signs, (9, 10, 11, 12, 13, 32))).astype(np.int64)
        if _even(lines):
            layer.width, layer.newline = len(lines[0]), "\r\n" if "\r\n" in body else "\n"
    if len(text.encode(encoding)) != len(text):
        layer.bytes_before = _bytes_before(text, encoding)
    layer.url_safe = "-" in body or "_" in body
    layer.padded = body.endswith("=") or sum(map(len, lines)) % 4 == 0
    return layer


def _bytes_before(text: str, encoding: str) -> npt.NDArray[np.int64]:
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    if encoding.startswith("utf-16"):
        sizes = 2 + 2 * (points > 0xFFFF)
    else:
        sizes = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def data_uri(source: str) -> str | None:
    """The kind of file that a text which is one `data:` address holds; `text` where it is a text; None where it is none."""
    match = _DATA.match(source)
    if match is None or re.search(r"\s\S", source[match.end() :].strip()[:200]):
        return None
    media = (match.group(1) or "text/plain").lower()
    data = _bytes("".join(source[match.end() :].split())) if match.group(3) else unquote_to_bytes(source[match.end() :])
    return kind_of(data or b"") or media_kind(media)


def media_kind(media: str) -> str:
    """The kind of file of a media type: `image/png` -> `image`, `application/pdf` -> `pdf`."""
    kind, _, name = media.lower().partition("/")
    if kind in ("image", "text", "audio", "video"):
        return {"audio": "media", "video": "media"}.get(kind, kind)
    if "pdf" in name:
        return "pdf"
    office = ("msword", "ms-excel", "ms-powerpoint", "officedocument", "opendocument")
    return "office" if any(word in name for word in office) else "dicom" if "dicom" in name else "binary"
