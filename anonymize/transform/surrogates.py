"""Plausible other values, derived from the key: the same value of a subject has the same surrogate everywhere.

Source: hiding in plain sight, Carrell et al. (2013), JAMIA 20(2).
"""

from __future__ import annotations

import hmac
import re
from functools import cache

import pyarrow as pa

from anonymize.keys import Key
from anonymize.policy.model import Kind

_WORD = re.compile(r"[^\W\d_]+|\d+", re.UNICODE)
_WORDS_OF = {Kind.NAME: "names", Kind.FACILITY: "places", Kind.ORGANIZATION: "places", Kind.ADDRESS: "places"}
#: Words that are of nobody in a name, and in a place.
_KEEP = {
    "names": frozenset("mr mrs ms miss dr md rn np pa jr sr ii iii the and of".split()),
    "places": frozenset(
        "hospital clinic medical center centre health system care of the and street st avenue ave road rd drive dr lane ln court ct way place "
        "boulevard blvd apt suite unit po box room bed inc llc university".split()
    ),
}
_FIRST = "Bel Cor Dav Fen Gal Hal Jor Kel Lor Mer Nor Pel Quin Ros Sel Tor Val Wel Yor Zan".split()
_MIDDLE = "a e i o u".split()
_LAST = {
    "names": "brick vane dorn lith mond nelt quist rath shawe thorp wick zell".split(),
    "places": "bury combe ford haven mere moor port stead stow vale ville wold".split(),
}


@cache
def _pool(name: str) -> tuple[str, ...]:
    """Invented words to choose from. Not real names: among a hospital's patients somebody would bear them, and be seen to."""
    from anonymize.detect.words import first_names, is_common, last_names

    made = (first + middle + last for first in _FIRST for middle in _MIDDLE for last in _LAST[name])
    taken = first_names() | last_names()
    return tuple(word for word in made if word.lower() not in taken and not is_common(word))


def surrogate(kind: Kind, value: str, secret: bytes, subject: str, *, names: frozenset[str] = frozenset()) -> str:
    """Another value of the same shape. Names word by word, so that `Ann Lee` and `Lee` stay one person; codes digit by digit.

    names: the subject's, lower case: no word of them is kept, also where it is `Lane` of an address.
    """
    if kind is Kind.EMAIL:
        return f"user{_number(secret, subject, value.lower()) % 10**6:06}@example.org"
    if kind is Kind.URL:
        return "https://example.org/"
    if kind in _WORDS_OF:
        return _WORD.sub(lambda match: _word(_WORDS_OF[kind], match.group(), secret, subject, names), value)
    return _code(value, secret, subject)


def surrogates(column: pa.Array, key: Key, *, kind: Kind) -> pa.Array:
    """A column of surrogates, string, length n; nulls stay null. Equal values get equal surrogates in the whole project."""
    secret = key.derive("surrogate")
    encoded = column.cast(pa.string()).dictionary_encode()
    made = [None if value is None else surrogate(kind, value, secret, "") for value in encoded.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(encoded.indices)


def _word(pool: str, word: str, secret: bytes, subject: str, names: frozenset[str]) -> str:
    if word.isdigit():
        return _code(word, secret, subject)
    if (word.lower() in _KEEP[pool] and word.lower() not in names) or (len(word) == 1 and not word.isupper()):
        return word
    words = _pool(pool)
    chosen = words[_number(secret, subject, word.lower()) % len(words)]
    if chosen.lower() == word.lower():
        chosen = words[(words.index(chosen) + 1) % len(words)]
    if len(word) == 1:
        return chosen[0]
    return chosen.upper() if word.isupper() else chosen.lower() if word.islower() else chosen


def _code(value: str, secret: bytes, subject: str) -> str:
    """Letters for letters, digits for digits, signs as they are; never the value itself. Signs do not change what a code becomes."""
    bare = "".join(sign for sign in value if sign.isalnum()).lower()
    for attempt in range(100):
        stream = _number(secret, subject, f"{attempt}:{bare}")
        made = []
        for sign in value:
            if sign.isdigit():
                stream, drawn = divmod(stream, 10)
                made.append(str(drawn))
            elif sign.isalpha():
                stream, drawn = divmod(stream, 26)
                made.append(chr((65 if sign.isupper() else 97) + drawn))
            else:
                made.append(sign)
            stream = stream or _number(secret, subject, f"{len(made)}:{bare}")
        if "".join(made) != value or not bare:
            break
    return "".join(made)


def _number(secret: bytes, subject: str, text: str) -> int:
    return int.from_bytes(hmac.digest(secret, f"{subject}\x00{text}".encode(), "sha256"), "big")
