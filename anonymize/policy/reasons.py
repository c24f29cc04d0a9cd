"""Why a column is treated as it is: the comment beside it or above it, which is where a policy's author says so."""

from __future__ import annotations

import re
from dataclasses import dataclass

from anonymize.policy.reading import Path_

#: A quoted text, or a sign that begins a comment: what stands first decides.
_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|(?:^|(?<=\s))#")


@dataclass(frozen=True)
class _Comment:
    """The comment of one line. at: its place in the line; alone: nothing stands before it."""

    at: int
    words: str
    alone: bool


def reasons(text: str, lines: dict[Path_, int]) -> dict[Path_, str]:
    """Path of a table or column -> the comment that says why.

    Beside it, or on the lines that its rule takes; else the block of comments above it, which heads all columns down to the next block or
    blank line. lines: the line of each path in the text, from 1.
    """
    comments = [_comment(line) for line in text.splitlines()]
    blank = [not line.strip() for line in text.splitlines()]
    starts = {line: at for at, line in lines.items() if len(at) in (2, 4) and at[0] == "tables"}
    # Every line at which another column, table or word begins ends the one before it.
    ends = sorted({line for at, line in lines.items() if len(at) <= 4} | {len(comments) + 1})
    found: dict[Path_, str] = {}
    heading: list[str] = []
    beside: int | None = None
    fresh = False
    for number, (comment, empty) in enumerate(zip(comments, blank, strict=True), 1):
        if empty:
            heading, beside, fresh = [], None, False
        elif comment is not None and comment.alone:
            if comment.at != beside:  # under a comment beside a rule, in its place, it goes on with that one
                heading = [*heading, comment.words] if fresh else [comment.words]
                fresh = True
        else:
            fresh, beside = False, comment.at if comment else None
            at = starts.get(number)
            if at is not None:
                end = next(line for line in ends if line > number)
                said = _beside(comments[number - 1 : end - 1])
                words = said or (" ".join(heading) if len(at) == 4 or number > 1 else "")
                if words:
                    found[at] = words
                heading = [] if len(at) == 2 else heading
    return found


def head(text: str) -> str:
    """The block of comments at the head of a text, as plain lines."""
    words: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        words.append(line[1:].removeprefix(" ").rstrip())
    return "\n".join(words).strip()


def has_comment(line: str) -> bool:
    """Whether a comment stands on a line."""
    return _comment(line) is not None


def _beside(comments: list[_Comment | None]) -> str:
    """The comments of a rule's own lines, and those that go on under one of them."""
    words: list[str] = []
    beside: int | None = None
    for comment in comments:
        if comment is None:
            beside = None
        elif not comment.alone or comment.at == beside:
            words.append(comment.words)
            beside = comment.at
    return " ".join(words)


def _comment(line: str) -> _Comment | None:
    for match in _TOKEN.finditer(line):
        if match[0] == "#":
            return _Comment(match.start(), line[match.end() :].strip(), not line[: match.start()].strip())
    return None
