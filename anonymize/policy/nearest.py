"""The nearest valid word, for errors that say how to mend them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rapidfuzz.distance import DamerauLevenshtein

#: Below this a word is no likely misspelling of another.
LIKELY = 0.5
#: Words up to this number are told in full where none is near.
FEW = 14


def nearest(word: str, allowed: Iterable[Any]) -> str:
    """` Did you mean 'x'?` where a valid word is near, else ` Known: x, y.` where there are few; begins with a blank, or is empty."""
    words = [str(getattr(a, "value", a)) for a in allowed]
    best = max(words, key=lambda other: (likeness(word, other), -abs(len(word) - len(other))), default=None)
    if best is not None and likeness(word, best) >= LIKELY:
        return f" Did you mean '{best}'?"
    return f" Known: {', '.join(words)}." if 0 < len(words) <= FEW else ""


def likeness(word: str, other: str) -> float:
    """In [0, 1]: by letters changed, added, left out or swapped; a word that begins or ends another is near it, `zip` to `zip_code`."""
    a, b = word.lower(), other.lower()
    part = min(len(a), len(b)) >= 3 and (b.startswith(a) or b.endswith(a) or a.startswith(b) or a.endswith(b))
    return max(DamerauLevenshtein.normalized_similarity(a, b), 0.7 if part else 0.0)
