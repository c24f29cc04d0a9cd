"""From subjects' identifiers to the hashes that are searched for, kind by kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.policy.model import Kind
from anonymize.validate import features
from anonymize.validate.dates import days
from anonymize.validate.hashing import U64, Hasher, fresh
from anonymize.validate.tokens import Bools, Ints, Tokens, bytes_of
from anonymize.validate.vocabulary import common_words, words

KINDS = tuple(kind.value for kind in Kind)
_NUMBER = {kind.value: place for place, kind in enumerate(Kind)}
ID = _NUMBER[Kind.ID.value]
CASED = 0x80
"""Set in a kind's byte: a common word (White, Hope), in running text a name only where it is written with a capital."""
SHORTEST_NUMBER, SHORTEST_DISTINCT, SURE = 5, 6, 9
"""Digits of a number that is searched for, of one that is searched for in any row, and of one that chance does not hit."""
_NAMES = 12
"""Names of one subject that are paired with each other."""
_NOT_NUMBERS = {Kind.NAME, Kind.DATE, Kind.AGE, Kind.ORGANIZATION, Kind.FACILITY}
_NOT_DISTINCT = {Kind.ADDRESS, Kind.ORGANIZATION, Kind.FACILITY, Kind.EMAIL, Kind.URL}


@dataclass
class Found:
    """Hashes with their owners and kinds, gathered piece by piece. All arrays of a piece have one length."""

    pieces: list[tuple[U64, U64, npt.NDArray[np.uint8]]] = field(default_factory=list)

    def add(self, hashes: U64, owner: U64, kind: npt.NDArray[np.uint8]) -> None:
        """Add a piece."""
        self.pieces.append((hashes, owner, kind))

    def arrays(self) -> tuple[U64, U64, npt.NDArray[np.uint8]]:
        """All hashes, owners and kinds."""
        empty = (np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.uint8))
        columns = zip(*[empty, *self.pieces], strict=True)
        hashes, owner, kind = (np.concatenate(column) for column in columns)
        return hashes, owner, kind


@dataclass
class Extracted:
    """The needles of some subjects. own: to be bound to their owners; distinct: of any row; digits: how many distinct numbers have 0 to 19
    digits; id_digits: how many own numbers that are mere ids have; value_kind, searched: of each value its kind, and whether it gave a
    needle at all."""

    own: Found
    distinct: Found
    digits: Ints
    id_digits: Ints
    value_kind: npt.NDArray[np.uint8]
    searched: Bools


@dataclass(frozen=True)
class Values:
    """Identifier values as tokens. owner, kind, column: of each value."""

    tokens: Tokens
    owner: U64
    kind: npt.NDArray[np.uint8]
    column: npt.NDArray[np.int64]
    hasher: Hasher

    @cached_property
    def common(self) -> Bools:
        """bool, length of the tokens: which are common words."""
        t, common = self.tokens, np.zeros(len(self.tokens), bool)
        letters = np.flatnonzero(~t.digit)
        common[letters] = member(lexicon(self.hasher).common, t.hash[letters]) >= 0
        return common

    def of(self, *kinds: Kind) -> Bools:
        """bool, length of the tokens: whether each token's value is of these kinds."""
        return among(self.kind, kinds)[self.tokens.row]


def among(numbers: npt.NDArray[np.uint8], kinds: Collection[Kind]) -> Bools:
    """bool, length n: which kinds, by their numbers, are some of these."""
    table = np.zeros(256, bool)
    table[[_NUMBER[kind.value] for kind in kinds]] = True
    return np.asarray(table[numbers])


def extract(batch: pa.RecordBatch, hasher: Hasher) -> Extracted:
    """The needles of a batch of subjects: `__subject`, and `identifiers` (or `__identifiers`) as list<struct<kind, value, column>>."""
    lists = batch["identifiers"] if "identifiers" in batch.schema.names else batch["__identifiers"]
    parent, flat = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False), pc.list_flatten(lists)
    owners = owner_hashes(batch["__subject"], hasher)
    owner = owners[parent.astype(np.int64)]
    kinds = pc.struct_field(flat, "kind").dictionary_encode()
    codes = np.array([_NUMBER.get(name, _NUMBER[Kind.ID.value]) for name in kinds.dictionary.to_pylist()], np.uint8)
    kind = codes[kinds.indices.to_numpy(zero_copy_only=False)] if len(flat) else np.zeros(0, np.uint8)
    column = pc.struct_field(flat, "column").fill_null("").dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    text = pc.struct_field(flat, "value").cast(pa.string())
    found = Extracted(Found(), Found(), np.zeros(20, np.int64), np.zeros(20, np.int64), kind, np.zeros(len(flat), bool))
    _add(text, owner, kind, column, hasher, found, np.arange(len(flat)))
    for row, again in _spelt_otherwise(text):
        _add(again, owner[row], kind[row], column[row], hasher, found, row)
    return found


def _spelt_otherwise(text: pa.Array) -> Iterator[tuple[Ints, pa.Array]]:
    """The values that are spelt in another way as well, as texts of their own: `Müller` as Mueller, `McKenna` as Mc Kenna."""
    umlauts = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}
    likely = _with_humps(text)
    some = text.take(pa.array(likely))
    german = np.flatnonzero(pc.match_substring_regex(some, "[äöüÄÖÜ]").fill_null(False).to_numpy(zero_copy_only=False))
    again = some.take(pa.array(german))
    for letter, pair in umlauts.items():
        again = pc.replace_substring(again, letter, pair)
    yield likely[german], again
    camel = np.flatnonzero(pc.match_substring_regex(some, r"\p{Ll}\p{Lu}").fill_null(False).to_numpy(zero_copy_only=False))
    yield likely[camel], pc.replace_substring_regex(some.take(pa.array(camel)), r"(\p{Ll})(\p{Lu})", r"\1 \2")


def _with_humps(text: pa.Array) -> Ints:
    """The values with a byte outside of ASCII, or a small letter before a capital: no others can be spelt otherwise."""
    offsets, raw = bytes_of(text.cast(pa.large_string()).fill_null(""))
    odd = raw >= 128
    small = (raw >= ord("a")) & (raw <= ord("z"))
    odd[:-1] |= small[:-1] & (raw[1:] >= ord("A")) & (raw[1:] <= ord("Z"))
    rows = np.searchsorted(offsets, np.flatnonzero(odd), side="right") - 1
    return rows[fresh(rows)]


def owner_hashes(subjects: pa.Array, hasher: Hasher) -> U64:
    """Of subjects' pseudonyms (text or numbers); 0 for null."""
    encoded = subjects.cast(pa.string()).dictionary_encode()
    hashes = np.concatenate([hasher.strings(encoded.dictionary.to_pylist()), np.zeros(1, np.uint64)])
    return hashes[encoded.indices.fill_null(len(hashes) - 1).to_numpy(zero_copy_only=False)]


_Part = Callable[["Values", Extracted], Ints]


def _add(
    text: pa.Array, owner: U64, kind: npt.NDArray[np.uint8], column: npt.NDArray[np.int64], hasher: Hasher, found: Extracted, place: Ints
) -> None:
    """Each value by what its kind can be; an age is never searched for. place: of each text among the values that were asked for."""
    groups: list[tuple[Bools, tuple[_Part, ...]]] = [
        (among(kind, (Kind.NAME,)), (_names,)),
        (among(kind, (Kind.DATE,)), (_days,)),
        (~among(kind, (Kind.NAME, Kind.DATE, Kind.AGE)), (_words, _numbers, _sequences)),
    ]
    for mine, parts in groups:
        if not mine.any():
            continue
        values = Values(Tokens.of(text.filter(pa.array(mine)), hasher), owner[mine], kind[mine], column[mine], hasher)
        for part in parts if len(values.tokens) else ():
            found.searched[place[mine][part(values, found)]] = True


class Lexicon:
    """The vocabulary under one key's hashes. common: sorted."""

    def __init__(self, hasher: Hasher) -> None:
        self.common = np.sort(hasher.strings(list(common_words())))
        self.fillers = np.sort(hasher.strings(list(words("name-fillers"))))
        self.placeholders = np.sort(hasher.strings(list(words("placeholders"))))
        self.web = np.sort(hasher.strings(list(words("web"))))
        self.extension = np.sort(hasher.strings(["x", "ext", "extension"]))


def lexicon(hasher: Hasher) -> Lexicon:
    """Made once for a key, whoever asks first."""
    with _making:
        return _lexicon(hasher)


_making = Lock()
_lexicon = lru_cache(maxsize=2)(Lexicon)


def member(table: U64, hashes: U64) -> Ints:
    """int64, length n: where each hash stands in a sorted table; -1 where it does not."""
    if not len(table) or not len(hashes):
        return np.full(len(hashes), -1, np.int64)
    place = np.minimum(np.searchsorted(table, hashes), len(table) - 1)
    return np.where(table[place] == hashes, place, -1)


def member_of(places: Ints, known: Ints) -> Bools:
    """bool, length n: which of some places are known."""
    table = np.zeros(int(max(places.max(initial=-1), known.max(initial=-1))) + 1, bool)
    table[known] = True
    return np.asarray(table[places])


def _names(values: Values, found: Extracted) -> Ints:
    """Each word of a name, each compound without its hyphen or apostrophe, and for any row each two words of one person's names."""
    t, lists = values.tokens, lexicon(values.hasher)
    named = values.of(Kind.NAME) & ~t.digit & (t.length >= 2) & (t.parts <= 2) & (member(lists.placeholders, t.hash) < 0)
    at = np.flatnonzero(named & (t.alone | (member(lists.fillers, t.hash) < 0)))
    row, common = t.row[at], values.common[at]
    kind = values.kind[row]
    found.own.add(t.hash[at] ^ features.WORD, values.owner[row], np.where(common | (t.length[at] <= 3), kind | CASED, kind))
    compound = t.joined()
    mine = member_of(compound.row, row) & (compound.length >= 3)
    cased = (member(lists.common, compound.hash[mine]) >= 0) | (compound.length[mine] <= 3)
    kind = values.kind[compound.row[mine]]
    found.own.add(compound.hash[mine] ^ features.WORD, values.owner[compound.row[mine]], np.where(cased, kind | CASED, kind))
    _pairs(values, found, at, common)
    return row


def _pairs(values: Values, found: Extracted, at: Ints, common: Bools) -> None:
    t = values.tokens
    for step in range(1, _NAMES):
        first, second = at[:-step], at[step:]
        same = values.owner[t.row[first]] == values.owner[t.row[second]]
        apart = (values.column[t.row[first]] != values.column[t.row[second]]) | (t.row[first] == t.row[second])
        good = same & apart & ~(common[:-step] & common[step:]) & (t.hash[first] != t.hash[second])
        hashes = features.pair_hashes(values.hasher, t.hash[first[good]], t.hash[second[good]])
        row = t.row[first[good]]
        found.own.add(hashes, values.owner[row], values.kind[row])
        found.distinct.add(hashes, values.owner[row], values.kind[row])


def _words(values: Values, found: Extracted) -> Ints:
    """A city, an organization, a code of letters: one word of four letters or more."""
    t, lists = values.tokens, lexicon(values.hasher)
    other = t.alone & ~t.digit & (t.length >= 4) & ~values.of(Kind.NAME, Kind.DATE, Kind.AGE)
    at = np.flatnonzero(other & (member(lists.placeholders, t.hash) < 0))
    row, kind = t.row[at], values.kind[t.row[at]]
    cased = values.common[at]
    found.own.add(t.hash[at] ^ features.WORD, values.owner[row], np.where(cased, kind | CASED, kind))
    return row


@dataclass(frozen=True)
class _Whole:
    """The digits of each value put together. digits: without leading zeros; letters: tokens of letters; all of the length of the values."""

    value: U64
    length: Ints
    digits: Ints
    letters: Ints


def _whole(values: Values) -> _Whole:
    t, size = values.tokens, len(values.kind)
    stop = np.flatnonzero(values.of(Kind.PHONE, Kind.FAX) & (member(lexicon(values.hasher).extension, t.hash) >= 0))
    until = np.full(size, len(t), np.int64)
    np.minimum.at(until, t.row[stop], stop)
    at = np.flatnonzero(t.digit)
    at = at[at < until[t.row[at]]] if len(stop) else at
    value, length = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    turn = np.arange(len(at)) - np.searchsorted(t.row[at], t.row[at])
    for number in range(int(turn.max(initial=-1)) + 1 if len(at) else 0):
        now = at[turn == number]
        row, more = t.row[now], t.length[now]
        value[row] = value[row] * np.uint64(10) ** np.minimum(more, 19).astype(np.uint64) + t.value[now]
        length[row] += more
    digits = np.where(length <= 19, np.ceil(np.log10(value.astype(np.float64) + 1)).astype(np.int64), length)
    return _Whole(value, length, digits, np.bincount(t.row[~t.digit], minlength=size))


def _numbers(values: Values, found: Extracted) -> Ints:
    """The digits of a value as one number, and each long group alone; telephone numbers without the country and without the area too."""
    t, whole = values.tokens, _whole(values)
    numeric = ~among(values.kind, (*_NOT_NUMBERS, Kind.IP))
    coded = among(values.kind, (Kind.ADDRESS, Kind.EMAIL, Kind.URL))
    row = np.flatnonzero(numeric & (whole.length <= 19) & (whole.letters <= np.where(coded, 0, 3)))
    _add_numbers(values, found, row, whole.value[row], whole.digits[row])
    phone = row[among(values.kind[row], (Kind.PHONE, Kind.FAX)) & (whole.digits[row] >= 10)]
    _add_numbers(values, found, phone, whole.value[phone] % np.uint64(10**10), np.full(len(phone), 10))
    _add_numbers(values, found, phone, whole.value[phone] % np.uint64(10**7), np.full(len(phone), 7), local=True)
    groups = t.digit & numeric[t.row] & (t.parts <= 3) & (t.length >= SHORTEST_NUMBER) & (t.length <= 19)
    alone = np.flatnonzero(groups)
    ids = alone[values.kind[t.row[alone]] == ID]
    days_of_ids = ids[_is_a_day(t, ids) & (whole.length[t.row[ids]] > t.length[ids])]
    alone = alone[~member_of(alone, days_of_ids)] if len(days_of_ids) else alone
    digits = np.ceil(np.log10(t.value[alone].astype(np.float64) + 1)).astype(np.int64)
    # A value of one group is its number already.
    added = np.zeros(len(values.kind), bool)
    added[row] = True
    place = t.row[alone]
    again = added[place] & (t.length[alone] == whole.length[place]) & (t.value[alone] == whole.value[place])
    _add_numbers(values, found, t.row[alone], t.value[alone], digits, new=~again)
    return np.concatenate(
        [row[whole.digits[row] >= SHORTEST_NUMBER], t.row[alone[digits >= SHORTEST_NUMBER]], _short_numbers(values, found, whole, numeric)]
    )


def _is_a_day(t: Tokens, at: Ints) -> Bools:
    """Whether digits read as a day, `20210323`: of a record's id (`LAB20210323_1176586`) it says when, and of whom the others do. A day that was
    shifted falls on it by chance."""
    value = t.value[at]
    year, month, day = value // np.uint64(10_000), value // np.uint64(100) % np.uint64(100), value % np.uint64(100)
    calendar = (year >= 1900) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return np.asarray((t.length[at] == 8) & calendar)


def _add_numbers(
    values: Values, found: Extracted, row: Ints, value: U64, digits: Ints, *, local: bool = False, new: Bools | None = None
) -> None:
    """new: which are not among the needles yet; the others are counted alone."""
    long = digits >= SHORTEST_NUMBER
    row, value, digits = row[long], value[long], digits[long]
    new = np.ones(len(row), bool) if new is None else new[long]
    hashes, owner, kind = features.number_hashes(values.hasher, value[new]), values.owner[row[new]], values.kind[row[new]]
    found.own.add(hashes, owner, kind)
    if local:
        return
    every = values.kind[row]
    anybody = ~among(every, _NOT_DISTINCT)
    mere = every == ID
    found.id_digits += np.bincount(np.minimum(digits[mere], 19), minlength=20)
    # Ids of records are many and run on; what looks like another subject's is as likely a count or a code.
    anybody &= digits >= np.where(mere, SURE, SHORTEST_DISTINCT)
    told = anybody[new]
    found.distinct.add(hashes[told], owner[told], kind[told])
    found.digits += np.bincount(np.minimum(digits[anybody], 19), minlength=20)


def _short_numbers(values: Values, found: Extracted, whole: _Whole, numeric: Bools) -> Ints:
    """Numbers of one to four digits: a column full of them is found, one in a text is not."""
    row = np.flatnonzero(numeric & (whole.letters == 0) & (whole.length > 0) & (whole.digits < SHORTEST_NUMBER))
    found.own.add(features.short_hashes(values.hasher, whole.value[row]), values.owner[row], values.kind[row])
    return row


def _sequences(values: Values, found: Extracted) -> Ints:
    """E-mail and street addresses, organizations, mixed codes: their first tokens in order, whatever stands between."""
    t, lists = values.tokens, lexicon(values.hasher)
    size = len(values.kind)
    tokens = np.bincount(t.row, minlength=size)
    row = np.flatnonzero(tokens >= 2)
    last = np.cumsum(tokens)[row]
    first = last - tokens[row]
    for _ in range(2):
        first = first + ((first < last - 1) & (member(lists.web, t.hash[first]) >= 0))
    count, letters, kind = last - first, np.bincount(t.row[~t.digit], minlength=size)[row], values.kind[row]
    fits = ~among(kind, (Kind.NAME, Kind.DATE, Kind.AGE)) & (count >= 2) & ((letters > 0) | among(kind, (Kind.IP,)))
    street = among(kind, (Kind.ADDRESS,)) & (count >= 2) & t.digit[first]
    at = np.flatnonzero(fits)
    length = np.minimum(count[at], np.where(street[at], 3, features.LONGEST_SEQUENCE))
    _add_sequences(values, found, row[at], first[at], length)
    second = np.minimum(first + 1, len(t) - 1)
    telling = ~values.common[second] | (t.length[first] >= 3)
    at = np.flatnonzero(street & ~t.digit[second] & (t.length[second] >= 3) & telling & (count >= 3))
    _add_sequences(values, found, row[at], first[at], np.full(len(at), 2))
    return row[fits]


def _add_sequences(values: Values, found: Extracted, row: Ints, first: Ints, length: Ints) -> None:
    """A sequence is distinct where it holds a digit and six signs, or is an e-mail address; organizations are only their subjects'."""
    if not len(row):
        return
    t = values.tokens
    signs, digits, plain = (_sums(x)[first + length] - _sums(x)[first] for x in (t.length, t.digit * t.length, _uncommon(values)))
    row, first, length, digits, plain, signs = (x[signs >= 6] for x in (row, first, length, digits, plain, signs))
    hashes = features.Sequences(t).windows(first, length)
    owner, kind = values.owner[row], values.kind[row]
    found.own.add(hashes, owner, np.where((plain == 0) & (digits == 0), kind | CASED, kind))
    mail, place = among(kind, (Kind.EMAIL,)), among(kind, (Kind.ADDRESS,))
    group = among(kind, (Kind.ORGANIZATION, Kind.FACILITY))
    anybody = mail | (~group & (digits > 0) & (~place | ((length >= 3) & t.digit[first])))
    found.distinct.add(hashes[anybody], owner[anybody], kind[anybody])


def _uncommon(values: Values) -> Ints:
    t = values.tokens
    return (~t.digit & ~values.common).astype(np.int64)


def _sums(column: np.ndarray) -> Ints:
    return np.concatenate([[0], np.cumsum(column)])


def _days(values: Values, found: Extracted) -> Ints:
    read = days(values.tokens)
    mine = values.kind[read.row] == _NUMBER[Kind.DATE]
    row = read.row[mine]
    found.own.add(features.day_hashes(values.hasher, read.day[mine]), values.owner[row], values.kind[row])
    return row
