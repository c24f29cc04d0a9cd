"""By what sign a file's fields are divided: the one by which its first records all have as many fields as its header."""

from __future__ import annotations

import csv
import io

#: Usual signs, the likeliest first, and their names in a report.
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", "^": "caret", "~": "tilde", "\x1f": "unit separator"}
SAMPLE = 256 << 10
_RECORDS = 200
_AGREE = 0.9


def find_delimiter(text: str, quote: str = '"') -> str:
    """The delimiter of a text's beginning; a comma where no sign divides it (a file of one column).

    By each sign the records are read as csv reads them, quotes and all, so that a comma within a quoted field or a decimal comma under `;`
    counts for nothing. Python's own Sniffer guesses letters as delimiters, and is confused by quoted texts.
    """
    found = []
    for place, sign in enumerate(DELIMITERS):
        widths = _widths(text, sign, quote)
        if widths and widths[0] > 1:
            agree = sum(width == widths[0] for width in widths) / len(widths)
            found.append((agree >= _AGREE, round(agree, 2), widths[0], -place, sign))
    return max(found)[-1] if found else ","


def delimiter_name(sign: str) -> str:
    """What a report calls it."""
    return DELIMITERS.get(sign, f"U+{ord(sign):04X}")


def _widths(text: str, sign: str, quote: str) -> list[int]:
    """The number of fields of each record; the last, which the sample may cut, does not count."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=sign, quotechar=quote) if quote else csv.reader(lines, delimiter=sign, quoting=csv.QUOTE_NONE)
    widths = []
    try:
        for record in reader:
            if record:
                widths.append(len(record))
            if len(widths) > _RECORDS:
                break
    except csv.Error:
        pass
    return widths[:-1] if len(widths) > 2 and len(text) >= SAMPLE else widths
