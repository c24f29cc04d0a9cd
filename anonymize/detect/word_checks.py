"""What words are: the checks that a rule with cues may ask of what it found (`check: some-name`)."""

from __future__ import annotations

from collections.abc import Callable

import regex

from anonymize.detect.places import HEADS, TAILS
from anonymize.detect.suspects import is_derived
from anonymize.detect.words import first_names, is_common, is_drug, is_name, last_names, lines

_WORD = regex.compile(r"[\p{L}\p{M}]+(?:['’\-][\p{L}\p{M}]+)*")
_PARTICLES = frozenset("van von der den de la le el al bin da dos del di du mc mac o jr sr ii iii".split())
_BEGINNERS = frozenset(lines("sentence-beginners"))
_OF_EVERY_HOSPITAL = frozenset(lines("hospital-words"))
#: What stands before `of` and a name in medicine: `Circle of Willis`.
_EPONYM_HEAD = regex.compile(rf"(?i)\b(?:{'|'.join(lines('anatomy-of'))})\Z")
_PLACES = frozenset(line.lower() for line in lines("places") if " " not in line)
_STREETS = frozenset(lines("street-words")) | frozenset(
    "blvd pkwy hwy trl trail cir ter pl loop alley heights crossing landing meadow meadows view village vista terrace parkway".split()
)
_MEDICINE = regex.compile(rf"(?i)(?:{'|'.join(lines('eponym-heads'))}|network|guidelines?|association|trial|study|criteria|therapy|program)")
_SHORT_WORDS = frozenset("am an as at be by do go he hr if in is it kg mg ml me mm my no of on or pm po so to up us we wk yr".split())
_DEGREES = frozenset(lines("degrees"))
_ABBREVIATIONS = frozenset(lines("abbreviations"))


def _words(found: str) -> list[str]:
    """The words that can tell: no single letters, no particles, without the genitive."""
    words = (word.replace("’", "'").removesuffix("'s") for word in _WORD.findall(found))
    return [word for word in words if len(word) > 1 and word.lower() not in _PARTICLES]


def _some_name(found: str) -> bool:
    """One of the words is no word of the language or the clinic, or all of two and more are on lists of names."""
    words = _words(found)
    return any(not is_common(word) for word in words) or (len(words) > 1 and all(is_name(word) for word in words))


def _nameable(found: str) -> bool:
    """One of the words is on a list of names, or no word of the language."""
    return any(is_name(word) or not is_common(word) for word in _words(found) if word.lower() not in _BEGINNERS)


def _name_word(found: str) -> bool:
    """As `some-name`; or the only word is on a list of given names, and is no word that begins sentences."""
    words = _words(found)
    return _some_name(found) or (len(words) == 1 and words[0].lower() in first_names() and words[0].lower() not in _BEGINNERS)


def _listed_name(found: str) -> bool:
    """All words are on lists of names, and one is no word of the language."""
    words = _words(found)
    return bool(words) and all(is_name(word) for word in words) and any(not is_common(word) for word in words)


def _both_names(found: str) -> bool:
    """Two words and more, each on a list of names or no word of the language."""
    words = _words(found)
    return bool(words) and all(is_name(word) or not is_common(word) for word in words) and _some_name(found)


def _first_and_last(found: str) -> bool:
    """A given name and a family name, in this order or turned."""
    words = [word.lower() for word in _words(found)]
    if len(words) < 2:
        return False
    first, last = words[0], words[-1]
    given = first_names()
    common = is_common(first) + is_common(last)
    listed = (first in given and is_name(last)) or (last in given and is_name(first))
    return listed and (common < 2 or (first in given and last in last_names() and first not in _BEGINNERS and last not in _BEGINNERS))


def _some_family(found: str) -> bool:
    """The first word is on the list of family names, or no word of the language."""
    word = _words(found)[0] if _words(found) else ""
    return bool(word) and (not is_common(word) or (word.lower() in last_names() and word.lower() not in _BEGINNERS))


def _not_pronoun(found: str) -> bool:
    return found.lower().split()[0] not in _BEGINNERS or len(found.split()) > 1


def _facility(found: str) -> bool:
    """A facility's name has a word that is no word of every hospital."""
    words = [word.lower() for word in _WORD.findall(found)]
    return any(word not in _OF_EVERY_HOSPITAL for word in words)


def _facility_name(found: str) -> bool:
    """Two words and more that are not those of every hospital, or one that is no word of the language."""
    words = [word for word in _words(found) if word.lower() not in _OF_EVERY_HOSPITAL and word.lower() not in _BEGINNERS]
    return any(not is_common(word) for word in words) or len(words) > 1


def _no_medicine(found: str) -> bool:
    """As `facility-name`, and not all words are drugs, nor the last one names a disease, a test or a device."""
    words = [word.lower() for word in _words(found)]
    medicine = all(is_drug(word) for word in words) or _MEDICINE.fullmatch(words[-1] if words else "") is not None
    return not medicine and _facility_name(found)


def _facility_rare(found: str) -> bool:
    """As `facility-name`, with a word that is no word of the language."""
    return any(not is_common(word) or word.lower() in _PLACES for word in _words(found))


def _unlisted(found: str) -> bool:
    """A word that no list of the language knows, nor its endings: a sign-on name."""
    return not is_common(found) and not is_derived(found.lower())


def _unlisted_tail(found: str) -> bool:
    """`s.whitcombe`: what stands behind the initial is a name, or no word of the language."""
    return _unlisted(found[2:]) or is_name(found[2:])


def _unlisted_name(found: str) -> bool:
    """Words in small letters that are names and no words, or that no list knows at all."""
    words = found.split()
    return all(not is_common(word) and not is_drug(word) and (is_name(word) or not is_derived(word)) for word in words)


def _initials(found: str) -> bool:
    """Two to four small letters that are no word and stand for nothing that we know."""
    return found not in _ABBREVIATIONS and (not is_common(found) or (len(found) == 2 and found not in _SHORT_WORDS))


def _not_abbreviation(found: str) -> bool:
    bare = "".join(sign for sign in found if sign.isalpha()).lower()
    return bare not in _ABBREVIATIONS and not (len(bare) > 3 and is_common(bare))


def _not_clinical_pair(found: str) -> bool:
    parts = [part.strip().lower() for part in regex.split("[/:]", found)]
    return not any(part in _ABBREVIATIONS or (len(part) > 3 and is_common(part)) for part in parts)


def _unknown_letters(found: str) -> bool:
    """Capital letters that stand for nothing that we know."""
    return not is_common(found) and found.lower() not in _ABBREVIATIONS


def _city_state(found: str) -> bool:
    """A city's name has a word that no list knows, or is a name's, or a place's."""
    return _nameable(found.rsplit(" ", 1)[0])


def _street(found: str) -> bool:
    """A street's name before a word for streets that is hardly ever another, or one that no list knows before `Neck`, `Point`, `Run` …"""
    words = [word.lower() for word in _WORD.findall(found)]
    return any(word.rstrip(".") in _STREETS for word in words[1:]) or any(not is_common(word) for word in words[:-1])


def _not_receptor(found: str) -> bool:
    """Not a stain's result: `ER 0`."""
    return found not in ("ER 0", "ER 1", "ER 2", "ER 3", "ED 50", "OR 1", "OR 2")


def _city_and_state(found: str) -> bool:
    """No person with a degree: `Rose Lee, MD` is one, `Baltimore, MD` is none."""
    city, _, state = found.rpartition(",")
    if state.strip().lower() not in _DEGREES or city.lower() in _PLACES:
        return True
    words = _words(city)
    placed = any(word.lower() in HEADS or word.lower() in TAILS for word in words)
    return placed or not (words and all(is_name(word) or not is_common(word) for word in words))


def _not_signed(found: str) -> bool:
    """No given name begins it: `from Rose Lee, MD`."""
    words = _words(found)
    return len(words) < 3 or words[0].lower() not in first_names() or words[0].lower() in HEADS


def _of_a_place(found: str) -> bool:
    """`Mercy of Calshanton`: what stands behind `of` is no word of the language, and what stands before is written as a name."""
    before, _, after = found.replace(" at ", " of ").replace(" in ", " of ").rpartition(" of ")
    words = _words(before)
    return _some_name(after) and bool(words) and words[0].lower() not in _BEGINNERS and not _EPONYM_HEAD.search(before)


WORD_CHECKS: dict[str, Callable[[str], bool]] = {
    "some-name": _some_name,
    "nameable": _nameable,
    "name-word": _name_word,
    "listed-name": _listed_name,
    "both-names": _both_names,
    "first-and-last": _first_and_last,
    "some-family": _some_family,
    "not-pronoun": _not_pronoun,
    "facility": _facility,
    "facility-name": _facility_name,
    "facility-rare": _facility_rare,
    "no-medicine": _no_medicine,
    "unlisted": _unlisted,
    "unlisted-tail": _unlisted_tail,
    "unlisted-name": _unlisted_name,
    "initials": _initials,
    "unknown-letters": _unknown_letters,
    "city-state": _city_state,
    "city-and-state": _city_and_state,
    "not-receptor": _not_receptor,
    "street": _street,
    "not-signed": _not_signed,
    "of-a-place": _of_a_place,
    "not-abbreviation": _not_abbreviation,
    "not-clinical-pair": _not_clinical_pair,
}
"""The names by which rules ask what words are."""
