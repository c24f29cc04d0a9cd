"""The safe-word filter: a capitalized word that is neither known to be safe nor explained otherwise is suspect of being a name.

Source: Norgeot et al. (2020), Protected Health Information filter (Philter), npj Digital Medicine 3:57.
"""

from __future__ import annotations

from typing import Any

import regex
from presidio_analyzer import EntityRecognizer, RecognizerResult

from anonymize.detect.words import eponyms, first_names, last_names, safe_words
from anonymize.policy.model import Kind

_TOKEN = regex.compile(r"[\p{L}\p{M}]+(?:['’][\p{L}]+)*(?:\p{N}+\b)?")
_UNITS = frozenset(["mg", "ml", "kg", "mcg", "mmhg", "cm", "mm", "meq", "iu"])


class SafeWordFilter(EntityRecognizer):
    """Finds capitalized words that no list knows, and words that only lists of names know."""

    def __init__(self) -> None:
        super().__init__(supported_entities=[Kind.NAME.value], name="safe-words", supported_language="en")

    def load(self) -> None:
        safe_words()

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:  # noqa: ARG002
        found = []
        for match in _TOKEN.finditer(text):
            score = suspicion(match.group())
            if score:
                found.append(RecognizerResult(Kind.NAME.value, match.start(), match.end(), score))
        return found


def suspicion(token: str) -> float:
    """0 for a word that is safe to show; else how likely it is a name."""
    word = token.lower().replace("’", "'").removesuffix("'s")
    bare = word.rstrip("0123456789")
    if len(bare) < 2 or bare in safe_words() or bare in eponyms() or bare in _UNITS or word in safe_words():
        return 0.0
    if "'" in bare and all(part in safe_words() or len(part) < 3 for part in bare.split("'")):
        return 0.0
    named = bare in first_names() or bare in last_names()
    if token[0].isupper() and not token.isupper():
        # `McHale`, `O'Hara` and `Jo` are names; `mRNA` and `HbA1c` are not: capitals inside of a word speak against it.
        inner = sum(sign.isupper() for sign in token[1:])
        return 0.8 if named else 0.55 if inner == 0 or token.startswith(("Mc", "Mac", "O'", "D'")) else 0.0
    if token.isupper() and len(token) > 3:
        return 0.6 if named else 0.0
    return 0.5 if named and len(bare) > 4 and token.islower() else 0.0
