"""The last layer of any text: signs that no reader sees leave the plain text, and files that stand amid words do not leave at all."""

from __future__ import annotations

import re

from anonymize.transform.markup.encoded import data_uri, decode, media_kind
from anonymize.transform.markup.layer import Builder, Layer, unreadable_tag

#: Soft hyphens, zero-width and direction signs, joiners, byte order marks: a name divided by them is a name.
INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_FOUND = re.compile(
    rf"[{INVISIBLE}]+"
    r"|data:(?P<media>[\w.+-]+/[\w.+-]+)(?:;[\w-]+=[^;,\s]*)*;base64,[A-Za-z0-9+/=_-]*"
    r"|(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/]{200,}(?:\r?\n[A-Za-z0-9+/]+)*+={0,2}"
    r"|(?<![A-Za-z0-9+/=_-])(?:[A-Za-z0-9+/]{60,80}\r?\n){3,}+[A-Za-z0-9+/]*={0,2}"
)


def peel(source: str) -> Layer | None:
    """The layer of a plain text; None where it changes nothing. Base64 amid words is a file of its own, whatever it holds."""
    if _FOUND.search(source) is None:
        return None
    builder, position = Builder(), 0
    for match in _FOUND.finditer(source):
        kind = None if match.group()[0] in _SIGNS else _kind(match)
        if kind == "":
            continue
        builder.copy(source, position, match.start())
        position = match.end()
        if kind is None:
            builder.stand("", match.start(), match.end())
        else:
            builder.shown(" ", match.start())
            builder.cut(match.start(), match.end(), unreadable_tag(kind), kind=f"unreadable-{kind}")
    if position == 0:
        return None
    builder.copy(source, position, len(source))
    return builder.done()


_SIGNS = frozenset(re.findall(rf"[{INVISIBLE}]", "".join(map(chr, range(0x10000)))))


def _kind(match: re.Match[str]) -> str:
    """What kind of file stands amid words; empty where it is none (a run of letters, as genes are written)."""
    text = match.group()
    if match.group("media"):
        return (data_uri(text) or media_kind(match.group("media"))).replace("text", "attachment")
    kinds = sum(any(test(sign) for sign in text[:400]) for test in (str.isupper, str.islower, str.isdigit))
    if kinds < 3:
        return ""
    found = decode(text, declared=True)
    return found if isinstance(found, str) else "attachment"
