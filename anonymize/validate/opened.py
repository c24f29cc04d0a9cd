"""What the leak gate reads of a text that is base64, RTF, HTML or XML: what stands in it, whatever form it has. Nothing of it is left out: tags,
attributes and comments are read after the text that they divide.

The gate is the referee, so that this shares no code with what unwraps texts to scrub them; it is coarse where that is exact.
"""

from __future__ import annotations

import base64
import binascii
import html
import re

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.validate.tokens import LARGE, bytes_of

DEEPEST = 4
SHORTEST = 16
"""Signs from which on a text that could be base64 is taken for it."""
_LIKELY = r"<[A-Za-z/!?]|&#?[A-Za-z0-9]+;|^\s*\{\\rtf|^\s*[A-Za-z0-9+/_-]{16,}"
_BASE64 = re.compile(r"\s*[A-Za-z0-9+/_-]{16}[A-Za-z0-9+/_\s-]*={0,2}\s*")
_MARKUP = re.compile(r"<[A-Za-z/!?]|&#?[A-Za-z0-9]+;")
#: Tags that stand within words; others end a line.
_WITHIN = re.compile(
    r"</?(?:\w+:)?(?:a|abbr|b|big|bdi|bdo|cite|code|content|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt|u|var|wbr)"
    r"(?:\s[^<>]*)?/?>|<!--[^<>]*-->",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[^<>]*>")
_RTF_LINE = re.compile(r"\\(?:par|line|sect|page|row|cell|tab)(?![a-z])(?:-?\d+)? ?")
_RTF_UNICODE = re.compile(r"\\u(-?\d{1,6}) ?(?:\\'[0-9A-Fa-f]{2}|[^\\{}])?")
_RTF_BYTE = re.compile(r"\\'([0-9A-Fa-f]{2})")
_RTF_WORD = re.compile(r"\\[a-zA-Z]+(?:-?\d+)? ?|\\[^a-zA-Z]|[{}]")


def opened(column: pa.Array) -> pa.Array:
    """Texts with what stands in them in their place, where they are of such a form. column: large_string, length n; nulls stay null."""
    likely = pc.match_substring_regex(column, _LIKELY)
    offsets, raw = bytes_of(column)
    if pc.any(likely).as_py() and len(raw) >= LARGE:
        from anonymize.validate import scanning

        # Pseudonyms look like base64 and are none: all of them are told at once.
        likely = pc.and_(likely, pc.invert(pa.array(scanning.undecodable(raw, offsets, SHORTEST))))
    if not pc.any(likely).as_py():
        return column
    texts = [_open(text) if flag else text for text, flag in zip(column.to_pylist(), likely.to_pylist(), strict=True)]
    return pa.array(texts, pa.large_string())


def _open(text: str) -> str:
    for _ in range(DEEPEST):
        inside = _once(text)
        if inside is None:
            break
        text = inside
    return text


def _once(text: str) -> str | None:
    """What stands in a text; None where it is as it looks."""
    if _BASE64.fullmatch(text):
        return _decoded(text)
    if text.lstrip().startswith("{\\rtf"):
        return _of_rtf(text)
    return _of_markup(text) if _MARKUP.search(text) else None


def _decoded(text: str) -> str | None:
    bare = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        inside = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except (binascii.Error, ValueError):
        return None
    return inside if all(sign.isprintable() or sign.isspace() for sign in inside) else None


def _of_rtf(text: str) -> str:
    # Line ends of RTF's own say nothing. Groups within groups are no words: `{\info{\author …}}`.
    text = _RTF_LINE.sub("\n", re.sub(r"[\r\n]+", "", text).replace("}}", r"\par "))
    text = _RTF_UNICODE.sub(lambda match: chr(int(match[1]) & 0xFFFF), text)
    text = _RTF_BYTE.sub(lambda match: bytes([int(match[1], 16)]).decode("cp1252", "replace"), text)
    return _RTF_WORD.sub("", text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _of_markup(text: str) -> str | None:
    tags = "\n".join(match.group()[1:-1] for match in _TAG.finditer(text))
    inside = html.unescape(_TAG.sub("\n", _WITHIN.sub("", text))) + (f"\n{html.unescape(tags)}" if tags else "")
    return inside if inside != text else None
