"""In which encoding a text file is written: by its byte order mark, else by all of its bytes, never by a first few.

A file that is UTF-8 but for some bytes stays UTF-8, and the records with those bytes fall out: read as a code page it would give every
umlaut of the good records as two wrong signs.
"""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO

from anonymize.sources.places import Unreadable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: The code pages that a hospital's exports are found in, the most usual first: of two that fit about as well the first is taken.
CODE_PAGES = ["cp1252", "iso8859_15", "cp1250", "iso8859_2", "cp1251", "koi8_r", "cp1253", "cp1254", "cp850", "cp437", "mac_roman"]
CODE_PAGES += ["cp932", "gb18030", "big5", "euc_kr"]
_BEYOND = re.compile(rb"[\x80-\xff]+")
#: Usual signs of Western code pages that stand by themselves: degree, micro, plus-minus, paragraph, pound, euro, quotes, dashes, powers.
_SIGNS = frozenset(
    bytes([code]) for code in b"\xb0\xb5\xb1\xa7\xa3\x80\xa4\x91\x92\x93\x94\x96\x97\x85\xb2\xb3\xbd\xbc\xbe\xae\xa9\xd7\xa0\xab\xbb"
)
_CHUNK = 1 << 20
_SAMPLE = 256 << 10
_FEW = 200
"""With fewer signs beyond ASCII no measure tells the code pages of Europe apart: the usual one is taken, unless it is far from it."""


def find_encoding(stream: BinaryIO) -> str:
    """The encoding of all that a stream gives, which is read to its end. Raises Unreadable (`bad-encoding`) where it is no text."""
    first = stream.read(_CHUNK)
    for mark, name in _MARKS:
        if first.startswith(mark):
            return _checked(stream, first, name)
    wide = _wide(first)
    if wide is not None:
        return _checked(stream, first, wide)
    if b"\0" in first[:4096]:
        raise Unreadable("bad-encoding", "It holds NUL bytes, which no text does")
    good, bad, sample = _lines(stream, first)
    if not bad or good >= bad or not _is_plausible(sample):
        return "utf-8"
    return _code_page(sample)


def _wide(first: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of what is mostly Latin is zero."""
    head = first[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) >= 4 and max(even, odd) * 2 > 0.6 * len(head):
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _checked(stream: BinaryIO, first: bytes, name: str) -> str:
    """The encoding of a mark: of wide ones every byte must be of a sign, for one byte too few shifts all that follow."""
    if name != "utf-8":
        decoder = codecs.getincrementaldecoder(name)()
        chunk = first
        while chunk:
            decoder.decode(chunk)
            chunk = stream.read(_CHUNK)
        decoder.decode(b"", final=True)
    else:
        while stream.read(_CHUNK):
            pass
    return name


def _lines(stream: BinaryIO, first: bytes) -> tuple[int, int, bytes]:
    """The number of lines beyond ASCII that are UTF-8, that of those that are not, and a sample of these."""
    good = bad = size = 0
    sample: list[bytes] = []
    rest, chunk = b"", first
    while chunk or rest:
        whole, newline, after = (rest + chunk).rpartition(b"\n") if chunk else (rest, b"", b"")
        if chunk and not newline and len(after) < 64 * _CHUNK:
            rest, chunk = after, stream.read(_CHUNK)
            continue
        block, rest = (whole, after) if newline or not chunk else (after, b"")
        if not block.isascii():
            for line in block.split(b"\n"):
                if line.isascii():
                    continue
                if _is_utf8(line):
                    good += 1
                    continue
                bad += 1
                if size < _SAMPLE:
                    sample.append(line[: _SAMPLE - size])
                    size += len(sample[-1])
        chunk = stream.read(_CHUNK) if chunk else b""
    return good, bad, b"\n".join(sample)


def _is_plausible(sample: bytes) -> bool:
    """Whether the bytes beyond ASCII stand as letters of a code page do: within words, in words of their own, or as usual signs. A stray byte
    in a file of ASCII is damage, and its record falls out."""
    runs = list(_BEYOND.finditer(sample))
    fine = sum(1 for run in runs if len(run[0]) >= 3 or run[0] in _SIGNS or _by_letter(sample, *run.span()))
    return 2 * fine > len(runs)


def _by_letter(sample: bytes, start: int, end: int) -> bool:
    return sample[max(start - 1, 0) : start].isalpha() or sample[end : end + 1].isalpha()


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _code_page(sample: bytes) -> str:
    """The code page of a sample, by charset-normalizer's measure of mess and of coherence with a language."""
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, cp_isolation=CODE_PAGES, preemptive_behaviour=False))
    if not matches:
        return "cp1252"
    best = min(match.chaos for match in matches)
    few = sum(len(run) for run in _BEYOND.findall(sample)) < _FEW
    if few and any(CODE_PAGES[0] in match.could_be_from_charset and match.chaos <= best + 0.1 for match in matches):
        return CODE_PAGES[0]
    close = [match for match in matches if match.chaos <= best + 0.02]
    coherent = max(match.coherence for match in close)
    names = {name for match in close if match.coherence >= coherent - 0.1 for name in match.could_be_from_charset}
    return next((name for name in CODE_PAGES if name in names), close[0].encoding)
