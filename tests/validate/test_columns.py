"""The leak gate over large tables: what several processes find is what one finds; what is compiled is as it is with plain arrays."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anonymize.keys import Key
from anonymize.transform.batch import IDENTIFIERS, SUBJECT
from anonymize.transform.identifiers import IDENTIFIERS_SCHEMA
from anonymize.validate import columns, hashing, needles, opened, reading, scanning, tokens
from anonymize.validate.columns import search_staged
from anonymize.validate.counting import Staged
from anonymize.validate.extract import member
from anonymize.validate.leak import Columns, Leak


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Key:
    monkeypatch.setenv("ANONYMIZE_KEY", "k" * 40)
    return Key("env:ANONYMIZE_KEY", "project")


def found(folder: Path, key: Key, workers: int, text: frozenset[str] = frozenset({"word"})) -> list[Leak]:
    """A name and a number of some subjects stand in their own rows."""
    subjects = [f"s{n}" for n in range(40)]
    own = [
        [
            {"kind": "name", "value": f"Okonkwo{chr(97 + n % 26)}{chr(97 + n // 26)}", "column": "name"},
            {"kind": "mrn", "value": str(80_000_017 + n), "column": "mrn"},
        ]
        for n in range(40)
    ]
    rows = {"__key": subjects, SUBJECT: subjects, IDENTIFIERS: own}
    staged = Staged("t", folder / "data", folder / "subjects")
    cells = pa.table(
        {
            "word": [f"seen by Okonkwo{chr(97 + n % 26)}{chr(97 + n // 26)}" if n < 2 else "stable" for n in range(40)],
            "number": [80_000_017 if n == 0 else n for n in range(40)],
        }
    )
    for path, table in (
        (staged.data, cells),
        (staged.subjects, pa.table({SUBJECT: subjects})),
        (folder / "own", pa.table(rows, IDENTIFIERS_SCHEMA)),
    ):
        path.mkdir(parents=True)
        pq.write_table(table, path / "part-00000.parquet", row_group_size=16)
    leaks, known = search_staged(
        {"t": staged},
        sorted((folder / "own").glob("*")),
        folder / "needles",
        key,
        {"t": Columns(text=text)},
        k=5,
        workers=workers,
    )
    assert known.counts["subjects"] == 40
    return leaks


def test_several_find_what_one_finds(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = found(tmp_path / "alone", key, 1)
    monkeypatch.setattr(columns, "CELLS", 1)
    assert found(tmp_path / "together", key, 2) == alone
    assert {(leak.column, leak.own) for leak in alone} >= {("word", True), ("number", True)}
    assert found(tmp_path / "cells", key, 2, frozenset()) == found(tmp_path / "cells alone", key, 1, frozenset())  # by threads


def test_compiled_look_up_is_that_of_a_sorted_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    table = np.sort(np.concatenate([rng.integers(0, 1 << 63, 5_000, np.uint64) * np.uint64(2), np.array([0, 1, (1 << 64) - 1], np.uint64)]))
    wanted = np.concatenate([rng.choice(table, 500), rng.integers(0, 1 << 63, 500, np.uint64), table[[0, -1]]])
    monkeypatch.setattr(needles, "LARGE", 1)
    places = needles.Sorted(table, np.zeros(len(table), np.uint8)).find(wanted)
    assert places.tolist() == member(table, wanted).tolist()


def test_a_sieve_lets_its_own_through_and_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    own, others = rng.integers(0, 1 << 63, (2, 5_000), np.uint64)
    plain = needles.Sieve.of([own[:2_000], own[2_000:]], 5_000)
    monkeypatch.setattr(needles, "LARGE", 1)
    assert (needles.Sieve.of([own], 5_000).bits == plain.bits).all()
    for many in (1, 1 << 30):
        monkeypatch.setattr(needles, "MANY", many)
        assert plain.passes(own).all()
        assert 0 < plain.passes(others).mean() < 0.1


def test_compiled_hashes_are_those_of_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, hasher = np.random.default_rng(1), hashing.Hasher(bytes(range(32)))
    start = np.sort(rng.integers(0, 9_000, 400))
    spans = rng.integers(0, 255, 9_200, np.uint8), start, start + rng.integers(0, 90, 400)
    pair = rng.integers(0, 1 << 63, 400, np.uint64), rng.integers(0, 1 << 63, 400, np.uint64)
    plain = hasher.spans(*spans), hasher.pairs(*pair)
    monkeypatch.setattr(hashing, "MANY", 1)
    assert (hasher.spans(*spans) == plain[0]).all()
    assert (hasher.pairs(*pair) == plain[1]).all()


TEXTS = pa.array(
    [
        "Seen Smith-Jones, O'Brien (555) 123-4567; MRN80000017x", None, "", "  ", "0012 12/03/1950", "Müller, Straße 12b", "a\\nb 555-\n1234",
        "0" * 45 + "1", "9" * 60, "x1y2z3", "12 Elm St.,  Apt 3", "ann.lee@example.org", "-", "7000000123", "P001000003",
    ]
)  # fmt: skip


def test_compiled_tokens_are_those_of_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = hashing.Hasher(bytes(range(32)))
    for texts in (TEXTS, TEXTS.slice(2, 9), pa.array(["", None]), pa.array([], pa.string())):
        monkeypatch.setattr(tokens, "LARGE", 1 << 30)
        plain = tokens.Tokens.of(texts, hasher)
        monkeypatch.setattr(tokens, "LARGE", 0)
        compiled = tokens.Tokens.of(texts, hasher)
        for name in ("row", "start", "end", "digit", "capital", "gap", "parts", "value", "hash", "length", "alone"):
            assert getattr(compiled, name).tolist() == getattr(plain, name).tolist(), name


def test_compiled_sequences_are_those_of_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = hashing.Hasher(bytes(range(32)))
    sieve = needles.Sieve(np.random.default_rng(1).integers(0, 255, 1 << 13).astype(np.uint8))
    read, known = reading.Reader(hasher, sieve, text=False, dates=False), tokens.Tokens.of(TEXTS, hasher)

    def occurrences() -> set[tuple[int, int]]:
        return {(row, value) for found in read._sequences(known) for row, value in zip(found.row.tolist(), found.hash.tolist(), strict=True)}

    plain = occurrences()
    monkeypatch.setattr(reading, "MANY", 0)
    assert occurrences() == plain
    assert plain


def test_what_is_told_to_be_no_base64_is_none() -> None:
    rng = np.random.default_rng(1)
    inside = [
        "Ann Lee, born 1950-03-04",
        "Zoë Müller, Köln 50667",
        "tab\tand line\nend here",
        "\x07 bell rings here..",
        "\x7f deleted here......",
    ]
    coded = [base64.b64encode(text.encode()).decode() for text in inside]
    coded += [base64.b64encode(text.encode("utf-16")).decode() for text in inside[:2]]
    coded += [base64.urlsafe_b64encode(rng.bytes(size)).decode().rstrip("=") for size in range(8, 40)]
    coded += ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz234567"), 26)) for _ in range(200)] + ["AAAA AAAA AAAA AAAA", "short", ""]
    offsets, raw = tokens.bytes_of(pa.array(coded, pa.large_string()))
    told = scanning.undecodable(raw, offsets, opened.SHORTEST)
    assert not [text for text, none in zip(coded, told, strict=True) if none and opened._decoded(text) is not None]
    assert told[-203:-3].mean() > 0.95  # pseudonyms
    assert not told[:3].any()
