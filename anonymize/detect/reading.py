"""How a text is read: hard line breaks flow, signs that mean the same are one, and what is all in capitals or all in small letters gets the
case that its words would have elsewhere, so that one set of rules fits all. Every finding has its way back to the text as it was written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from anonymize.detect.base import Finding
from anonymize.detect.places import HEADS, TAILS
from anonymize.detect.words import first_names, is_common, is_name, last_names, lines

#: Signs that mean the same, one for one.
_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f\u3000\r\x0b\x0c\x85\u2028\u2029", " "),
        **{chr(0xFF01 + offset): chr(0x21 + offset) for offset in range(94)},
    }
)
#: Signs that are not seen: they would cut words in two.
_UNSEEN = regex.compile(r"[\u00ad\u200b-\u200f\u2060-\u2064\u202a-\u202e\ufeff\ufe00-\ufe0f]|\p{M}")
#: A line at least this long may be broken for its length alone.
LONG_LINE = 45
_FLOW = regex.compile(
    rf"(?<=[^\n:]{{{LONG_LINE}}}"
    r"[\p{L}\p{N},;.)'/-])\n(?=[\p{L}\p{N}(#'\"])"
    r"(?![^\n:]{1,30}:)(?![\p{Lu} ]{6,}(?:\n|$))(?!\d{1,2}[.)])(?![A-Za-z]{2,4}(?:/[A-Za-z]{2,3})?[ \t]*(?:\n|$))"
)
_WORD = regex.compile(r"[\p{L}]+(?:'[\p{L}]+)*")
#: A word that is no part of a code.
_ALONE = regex.compile(r"(?<![\p{L}\p{N}]|\p{N}-)[\p{L}]+(?:'[\p{L}]+)*+(?!\p{L}|-?\p{N})")
_CODE = regex.compile(r"(?<![\p{L}\p{N}])(?=[\p{L}\p{N}-]*\p{L})(?=(?:[\p{L}-]*\p{N}){3})[\p{L}\p{N}-]{4,}")
#: Where a line in capitals says that a name stands, words are names.
_NAMED = regex.compile(
    rf"(?:\b(?:{'|'.join(lines('name-fields'))})(?:[ \t]*\([^)]*\))?[ \t]*[:=][ \t]*(?:(?:DR|MR|MRS|MS)\.? )?"
    r"(?P<name>[\p{Lu}'-]+(?:,? [\p{Lu}'.-]+){0,3})"
    r"|\b(?:DR|MR|MRS|MS|MISS)\.? (?P<name>(?:[A-Z]\.? )?[\p{Lu}'-]+)(?! \p{Lu}+ING\b))",
    regex.IGNORECASE,
)
_LINE = regex.compile(r"[^\n]+")
#: `ky 51487`, in a text without capitals.
_STATE = regex.compile(
    rf"\b(?:{'|'.join(lines('states'))})\b(?=\.?,? \d{{5}})"
    rf"|(?<=\p{{Lu}}\p{{Ll}}[\p{{L}}'-]*,[ \n])(?:{'|'.join(lines('states'))})\b(?=[.,;)\n]|$)"
)
#: Up to four words between what leads to a place and what it is.
_PLACED = regex.compile(
    r"(?i)(?<=(?:\b(?:at|from|to|by|for|near|the|agency|lives|pharmacy|facility:|with|in|[-:,(]) ?(?:the )?|^))"
    r"(?:(?!(?:a|an|and|any|at|by|for|from|her|his|in|is|local|my|no|of|or|our|outside|patient|seen|the|their|this|to|was|were|with)\b)"
    r"[\p{L}'.-]+ ){1,4}"
    rf"(?=(?:{'|'.join(lines('place-types'))})(?!\p{{L}}))"
)
#: A word in small letters behind a given name, where a family name would end.
_SURNAME = regex.compile(
    r"(?P<before>\b(?P<given>\p{Lu}\p{Ll}+) (?:\p{Lu}\.? )?)(?P<family>\p{Ll}{2,})"
    r"(?=[,(;:\n|/.]|$| \d| (?:is|was|has|had|denies|reports|states|can|presents|called|asked|MD|RN|DO|NP|PA|LCSW|at|on)\b)"
)
#: Two words before a degree.
_DEGREED = regex.compile(
    r"(?i)(?<![\p{L}'-])(?P<given>[\p{L}]{2,}) (?P<between>(?:\p{L}\.? )?)(?P<family>[\p{L}]{2,})"
    r"(?=(?:,? (?:md|rn|np|pa-c|pa|m\.d\.|d\.o\.|lcsw|crna|pharmd|aprn|lpn|dpt)|, do)\b)"
)
_INITIAL = regex.compile(r"(?<![\p{L}\d])[a-z](?=\.)")


@dataclass(frozen=True)
class Reading:
    """A text as it is read. plain: flowed, signs made one; cased: the same length, with the case that words have elsewhere."""

    plain: str
    cased: str
    back: Sequence[int] | None
    """For each sign of `plain`, and for its end, where it stands in the text; None where the places are the same."""

    def returned(self, finding: Finding) -> Finding:
        """The finding with its place in the text as it was written. Unseen signs at its end belong to it."""
        if self.back is None:
            return finding
        start, end = self.back[finding.start], self.back[finding.end] if finding.end < len(self.plain) else self.back[-1]
        return Finding(finding.kind, start, end, finding.score, finding.detector, finding.reason)


def read(text: str) -> Reading:
    """A text as it is read."""
    shown, back = (text, None) if text.isascii() or _UNSEEN.search(text) is None else _seen(text)
    plain = _FLOW.sub(" ", shown.translate(_SAME))
    return Reading(plain, _cased(plain), back)


def _seen(text: str) -> tuple[str, list[int]]:
    """The text without unseen signs and with accents composed, and where each sign stood."""
    shown: list[str] = []
    back: list[int] = []
    for position, sign in enumerate(text):
        if unicodedata.combining(sign) and shown:
            composed = unicodedata.normalize("NFC", shown[-1] + sign)
            if len(composed) == 1:
                shown[-1] = composed
                continue
        elif _UNSEEN.match(sign) is not None:
            continue
        shown.append(sign)
        back.append(position)
    return "".join(shown), [*back, len(text)]


def _cased(text: str) -> str:
    if not any(sign.isupper() for sign in text):
        small = _CODE.sub(lambda match: _upper(match.group()), _worded(text, _WORD, _from_small))
        return _states(_beside(_INITIAL.sub(lambda match: match.group().upper(), small)))
    return _LINE.sub(lambda match: _line(match.group()), text)


def _line(line: str) -> str:
    upper, lower = sum(map(str.isupper, line)), sum(map(str.islower, line))
    return line if upper < 8 or lower * 8 > upper else _states(_beside(_worded(line, _ALONE, _from_capitals)))


def _worded(text: str, words: regex.Pattern[str], case: Callable[[str], str]) -> str:
    """Every word in the case that it has elsewhere; where a field says that a name stands, words are names."""
    named = [match.span("name") for match in _NAMED.finditer(text)]

    def cased(match: regex.Match[str]) -> str:
        word = match.group()
        within = any(start <= match.start() < end for start, end in named)
        return _as_long(word.capitalize(), word) if within and word.lower() not in _KEPT and len(word) > 2 else case(word)

    return words.sub(cased, text)


def _beside(text: str) -> str:
    """Words that are names by what stands beside them: `golden pines` before `manor`, `sweet` behind `Adam`."""
    placed = _PLACED.sub(lambda match: _as_long(match.group().title(), match.group()), text)
    return _SURNAME.sub(_surname, _DEGREED.sub(_with_degree, placed))


def _with_degree(match: regex.Match[str]) -> str:
    given, between, family = match.group("given", "between", "family")
    if all((is_name(word) or not is_common(word)) and word.lower() not in _PLAIN for word in (given, family)):
        return _as_long(f"{given.capitalize()} {between.upper()}{family.capitalize()}", match.group())
    return match.group()


def _surname(match: regex.Match[str]) -> str:
    given, word = match.group("given").lower(), match.group("family")
    if given in first_names() and word in last_names() and word not in _PLAIN:
        return _as_long(match.group("before") + word.capitalize(), match.group())
    return match.group()


def _states(text: str) -> str:
    """Before a ZIP, and behind a city and a comma, two letters are a state."""
    return _STATE.sub(lambda match: match.group().upper(), text)


@lru_cache(maxsize=50_000)
def _from_capitals(word: str) -> str:
    """`RESTREPO` -> `Restrepo`, `GIVEN` -> `given`, `MR` -> `Mr`; short unknown words stay: initials, states, degrees."""
    lower = word.lower()
    if len(lower) != len(word) or len(word) < 2 or lower in _KEPT or not word.isupper():
        return word
    if lower in _EVERYDAY and lower not in _TITLES:
        return lower
    if lower in _TITLES or lower in _PLACES:
        return _as_long(lower.capitalize(), word)
    if len(word) > 2 and (not is_common(lower) or is_name(lower.removesuffix("'s"))):
        # Names that are words keep a capital alone, as they have at the head of a sentence: rules with cues decide.
        return lower if is_common(lower) and lower in _PLAIN else _as_long(lower.capitalize(), word)
    return lower if is_common(lower) else word


def _upper(code: str) -> str:
    return _as_long(code.upper(), code)


def _as_long(changed: str, word: str) -> str:
    """A word in another case, where that is as long: `ß` has no capital of one sign."""
    return changed if len(changed) == len(word) else word


@lru_cache(maxsize=50_000)
def _from_small(word: str) -> str:
    """`restrepo` -> `Restrepo`, `mr` -> `Mr`, `rn` -> `RN`; words of the language stay."""
    if len(word.upper()) != len(word) or (word in _EVERYDAY and word not in _TITLES):
        return word
    if word in _DEGREES:
        return word.upper()
    if word in _TITLES or word in _PLACES or (len(word) > 2 and not is_common(word)):
        return _as_long(word.capitalize(), word)
    return word


_DEGREES = frozenset(lines("degrees"))
#: In capitals a state is known by what stands beside it where it is a word as well: `IN`, `OR`.
_KEPT = _DEGREES | (frozenset(lines("states")) - frozenset("al co de hi id in la ma me oh ok or pa".split()))
_TITLES = frozenset(lines("titles"))
#: Single words of the list of places, and words that are part of a place's name.
_PLACES = (
    frozenset(line.lower() for line in lines("places") if " " not in line)
    | (HEADS - {"new", "old", "upper", "lower", "point", "great", "little", "la"})
    | (TAILS - {"point", "region"})
)
#: Words that are names as well, and are taken for words where no case tells.
_EVERYDAY = frozenset(lines("everyday")) - _TITLES - _PLACES
_PLAIN = frozenset(lines("sentence-beginners"))
