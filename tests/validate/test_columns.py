"""The leak gate over large tables: what several processes find is what one finds; compiled look-up and hashes are those of plain arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anonymize.keys import Key
from anonymize.transform.batch import IDENTIFIERS, SUBJECT
from anonymize.transform.identifiers import IDENTIFIERS_SCHEMA
from anonymize.validate import columns, hashing, needles
from anonymize.validate.columns import search_staged
from anonymize.validate.counting import Staged
from anonymize.validate.extract import member
from anonymize.validate.leak import Columns, Leak


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Key:
    monkeypatch.setenv("ANONYMIZE_KEY", "k" * 40)
    return Key("env:ANONYMIZE_KEY", "project")


def found(folder: Path, key: Key, workers: int) -> list[Leak]:
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
        {"t": Columns(text=frozenset({"word"}))},
        k=5,
        workers=workers,
    )
    assert known.counts["subjects"] == 40
    return leaks


def test_several_processes_find_what_one_finds(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = found(tmp_path / "alone", key, 1)
    monkeypatch.setattr(columns, "CELLS", 1)
    assert found(tmp_path / "together", key, 2) == alone
    assert {(leak.column, leak.own) for leak in alone} >= {("word", True), ("number", True)}


def test_compiled_look_up_is_that_of_a_sorted_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    table = np.sort(np.concatenate([rng.integers(0, 1 << 63, 5_000, np.uint64) * np.uint64(2), np.array([0, 1, (1 << 64) - 1], np.uint64)]))
    wanted = np.concatenate([rng.choice(table, 500), rng.integers(0, 1 << 63, 500, np.uint64), table[[0, -1]]])
    monkeypatch.setattr(needles, "LARGE", 1)
    places = needles.Sorted(table, np.zeros(len(table), np.uint8)).find(wanted)
    assert places.tolist() == member(table, wanted).tolist()


def test_compiled_hashes_are_those_of_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, hasher = np.random.default_rng(1), hashing.Hasher(bytes(range(32)))
    start = np.sort(rng.integers(0, 9_000, 400))
    spans = rng.integers(0, 255, 9_200, np.uint8), start, start + rng.integers(0, 90, 400)
    pair = rng.integers(0, 1 << 63, 400, np.uint64), rng.integers(0, 1 << 63, 400, np.uint64)
    plain = hasher.spans(*spans), hasher.pairs(*pair)
    monkeypatch.setattr(hashing, "MANY", 1)
    assert (hasher.spans(*spans) == plain[0]).all()
    assert (hasher.pairs(*pair) == plain[1]).all()
