"""HL7 v2: hl7apy against the walk along a message's own delimiters, on real messages: how fast, and what invalid messages do.

    python -m benchmarks.messages FOLDER …
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

from anonymize.sources.base import Malformed
from anonymize.sources.hl7.er7 import parse
from anonymize.sources.hl7.framing import messages
from anonymize.sources.hl7.groups import Subject, record


def by_hl7apy(texts: list[str], strict: bool) -> tuple[float, Counter[str]]:
    """Seconds, and what became of the messages."""
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message

    level = VALIDATION_LEVEL.STRICT if strict else VALIDATION_LEVEL.TOLERANT
    ends: Counter[str] = Counter()
    begun = time.perf_counter()
    for text in texts:
        try:
            found = parse_message(text, validation_level=level)
            if strict:
                found.validate()
            ends["parsed"] += 1
        except Exception as error:
            ends[type(error).__name__] += 1
    return time.perf_counter() - begun, ends


def by_walk(lines: list[list[bytes]]) -> tuple[float, Counter[str]]:
    """The same, with every field taken apart and grouped."""
    ends: Counter[str] = Counter()
    begun = time.perf_counter()
    for number, some in enumerate(lines):
        try:
            message = parse(some)
            record(message, Subject(), number)
            for segment in message.segments:
                for field in range(1, len(segment.fields)):
                    segment.get(str(field))
            ends["parsed"] += 1
        except Exception as error:
            ends[type(error).__name__] += 1
    return time.perf_counter() - begun, ends


def main(folders: list[str]) -> None:
    files = [file for folder in folders for file in sorted(Path(folder).iterdir()) if file.is_file()]
    lines = [item for file in files for item in messages(file) if not isinstance(item, Malformed)]
    texts = [b"\r".join(some).decode("utf-8", "replace") for some in lines]
    print(f"{len(texts)} messages, {sum(map(len, texts)):,} characters")
    # Tables of the standard are read at the first message of a version: not a message's cost.
    by_hl7apy(texts, strict=False)
    for name, (seconds, ends) in {
        "hl7apy, strict": by_hl7apy(texts, strict=True),
        "hl7apy, tolerant": by_hl7apy(texts, strict=False),
        "walk": by_walk(lines),
    }.items():
        told = ", ".join(f"{number} {end}" for end, number in ends.most_common())
        print(f"{name:18} {len(texts) / seconds:8,.0f} messages/s   {told}")


if __name__ == "__main__":
    main(sys.argv[1:])
