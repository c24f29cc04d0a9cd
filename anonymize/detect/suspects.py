"""The safe-word filter: a word that is neither known to be safe nor explained otherwise is suspect of being a name.

Source: Norgeot et al. (2020), Protected Health Information filter (Philter), npj Digital Medicine 3:57.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from anonymize.detect.base import Finding
from anonymize.detect.words import eponyms, first_names, is_name, lines, safe_words, shared_eponyms
from anonymize.policy.model import Kind

_TOKEN = regex.compile(r"[\p{L}\p{M}]+(?:['’][\p{L}]+)*(?:\p{N}+\b)?")
_SMALL_BEFORE = regex.compile(r"(?:\p{Ll}{2,},?|w/|&|\+) \Z")
_NO_NAME = frozenset(lines("sentence-beginners")) | frozenset(lines("capitalized-words"))
_UNITS = frozenset(["mg", "ml", "kg", "mcg", "mmhg", "cm", "mm", "meq", "iu"])
_VOWEL = regex.compile(r"(?i)[aeiouyàáâãäåèéêëìíîïòóôõöùúûüæøœ]")
#: Endings of words of the language; what is left of them must be safe for the word to be safe.
_ENDINGS = ("s", "es", "ed", "d", "ing", "ly", "er", "al", "ness", "less", "like", "able", "ally", "ic", "y")
_BEGINNINGS = lines("word-beginnings")
_CLINICAL = regex.compile(rf"(?i).{{2,}}(?:{'|'.join(lines('clinical-endings'))})s?")


def find_suspects(text: str) -> list[Finding]:
    """Capitalized words that no list knows, and words that only lists of names know."""
    found = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        score, reason = suspicion(token)
        if not score and token[0].isupper() and _within(text, match.start()) and _written_as_name(token):
            score, reason = 0.45, "a name that is a word, with a capital within a sentence"
        if score:
            found.append(Finding(Kind.NAME, match.start(), match.end(), score, "safe-words", reason))
    return found


def _within(text: str, position: int) -> bool:
    """Whether a word of small letters stands right before, so that the capital is not that of a sentence or a heading."""
    return _SMALL_BEFORE.search(text, max(0, position - 24), position) is not None


@lru_cache(maxsize=20_000)
def _written_as_name(token: str) -> bool:
    """A word of the language that is a given name, or a family name that many bear, and stands for no people, month or creed."""
    word = token.lower().replace("’", "'").removesuffix("'s")
    return len(word) > 2 and not token[1:].isupper() and word not in _NO_NAME and (word in first_names() or word in shared_eponyms())


@lru_cache(maxsize=100_000)
def suspicion(token: str) -> tuple[float, str]:
    """0 for a word that is safe to show; else how likely it is a name, and why."""
    word = token.lower().replace("’", "'").removesuffix("'s")
    bare = word.rstrip("0123456789")
    if len(bare) < 2 or bare in safe_words() or bare in _UNITS or word in safe_words():
        return 0.0, ""
    if "'" in bare and all(part in safe_words() or len(part) < 3 for part in bare.split("'")):
        return 0.0, ""
    if bare in eponyms() and bare not in shared_eponyms():
        return 0.0, ""
    named = is_name(bare)
    if not named and is_derived(bare):
        return 0.0, ""
    if token[0].isupper() and not token.isupper():
        # `McHale`, `O'Hara` and `Jo` are names; `mRNA` and `HbA1c` are not: capitals inside of a word speak against it.
        inner = sum(sign.isupper() for sign in token[1:])
        if named:
            return 0.8, "on lists of names alone"
        likely = inner == 0 or token.startswith(("Mc", "Mac", "O'", "O’", "D'", "D’", "De", "La", "Le", "Di", "Van", "Fitz"))
        return (0.55, "a capitalized word that no list knows") if likely else (0.0, "")
    if token.isupper() and len(token) > 3:
        if named:
            return 0.6, "on lists of names alone, in capitals"
        return (0.45, "a word in capitals that no list knows") if len(token) > 4 and _VOWEL.search(token) and token.isalpha() else (0.0, "")
    return (0.5, "on lists of names alone, in small letters") if token.islower() and named and len(bare) > 3 else (0.0, "")


@lru_cache(maxsize=50_000)
def is_derived(word: str) -> bool:
    """Whether a word in small letters is made of a safe one by an ending or a beginning, or ends as words of the clinic: `nontender`."""
    if len(word) > 6 and _CLINICAL.fullmatch(word) is not None:
        return True
    safe = safe_words()
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if len(stem) > 3 and stem != word and (stem in safe or stem + "e" in safe or (stem.endswith("i") and stem[:-1] + "y" in safe)):
            return True
    return any(word.startswith(begin) and len(word) - len(begin) > 3 and word[len(begin) :] in safe for begin in _BEGINNINGS)
