"""WebVTT and SRT: timed text as the W3C and players write it, to pieces with a speaker, a start and an end.

Source: WebVTT: The Web Video Text Tracks Format, W3C Candidate Recommendation (4 April 2019), sections 4 and 6. SRT has no standard: it is
blocks of a number, a line of times with commas, and text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from anonymize.sources.places import Unreadable


@dataclass(frozen=True)
class Piece:
    """What one speaker says at one time. start, end: seconds, None where they are not said; speaker: as the transcript names it."""

    text: str
    speaker: str = ""
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class BadCue:
    """A block that has text and no times that can be read. raw: for the quarantine."""

    raw: str


_TIME = r"(?:(\d{1,}):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_NOT_CUES = re.compile(r"^(NOTE|STYLE|REGION)(\s|$)")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?(?:[ \t\n]+([^>]*))?>|</v>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:c|i|b|u|v|ruby|rt|lang|font)(?:[.\s][^>]*)?>|<(?:\d+:)?\d\d:\d\d\.\d{3}>|\{\\[^}]*\}", re.IGNORECASE)


def webvtt(text: str) -> Iterator[Piece | BadCue]:
    """The cues of a WebVTT file, one piece a voice. Notes, styles, regions and settings are not read. Raises Unreadable (`not-webvtt`)."""
    text = text.removeprefix("\ufeff").replace("\0", "\ufffd")
    if not re.match(r"WEBVTT(?:[ \t\r\n]|$)", text):
        raise Unreadable("not-webvtt", "A WebVTT file begins with WEBVTT")
    for number, block in enumerate(_blocks(text)):
        # The header may end in the line behind which a cue begins without a blank one; it has no arrow then.
        if (number == 0 and "-->" not in "\n".join(block)) or _NOT_CUES.match(block[0]):
            continue
        yield from _cue(block[1:] if number == 0 else block)


def srt(text: str) -> Iterator[Piece | BadCue]:
    """The captions of an SRT file. Raises Unreadable (`not-srt`) where it has none."""
    found = False
    for block in _blocks(text.removeprefix("\ufeff")):
        for piece in _cue(block):
            found = found or isinstance(piece, Piece)
            yield piece
    if not found and text.strip():
        raise Unreadable("not-srt", "It has no captions with times")


def _blocks(text: str) -> Iterator[list[str]]:
    """The lines between blank lines."""
    block: list[str] = []
    for line in [*re.split(r"\r\n|\n|\r", text), ""]:
        if line.strip(" \t"):
            block.append(line)
        elif block:
            yield block
            block = []


def _cue(block: list[str]) -> Iterator[Piece | BadCue]:
    """A block's voices. Its times stand in the first line, or behind one with its name; a further line of times begins a new cue."""
    at = next((number for number, line in enumerate(block[:2]) if "-->" in line), None)
    times = _TIMES.match(block[at]) if at is not None else None
    if at is None or times is None:
        yield BadCue("\n".join(block))
        return
    rest = block[at + 1 :]
    again = next((number for number, line in enumerate(rest) if "-->" in line), len(rest))
    start, end = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
    for speaker, words in _voices("\n".join(rest[:again])):
        yield Piece(words, speaker, start, end)
    if again < len(rest):
        yield from _cue(rest[again:])


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return round(int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + int((fraction or "0").ljust(3, "0")) / 1000, 3)


def _voices(payload: str) -> Iterator[tuple[str, str]]:
    """(speaker, words) of each voice of a cue's text; words before the first are nobody's."""
    speaker, at = "", 0
    for match in [*_VOICE.finditer(payload), None]:
        words = _plain(payload[at : match.start() if match else len(payload)])
        if words:
            yield speaker, words
        if match:
            speaker, at = _plain(match[1] or ""), match.end()


def _plain(marked: str) -> str:
    """Words without tags, entities as the signs that they stand for."""
    return " ".join(html.unescape(_TAG.sub("", marked)).replace("\u200e", "").replace("\u200f", "").split())
