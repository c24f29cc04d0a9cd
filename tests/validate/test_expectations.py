"""The suite derived from a policy: what it catches, that no value is in what it says, and that memory holds some rows only."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anonymize.hierarchies import build
from anonymize.policy.model import Checks, Rule
from anonymize.validate import expectations, gx
from anonymize.validate.counting import Staged, class_sizes, facts
from anonymize.validate.expectations import Expected, TableResult, generalized_values, quasi_columns, validate_table

SECRET = "Kowalczyk-8675309"
ROWS = 12
RULES = {
    "id": Rule.model_validate("identifier pseudonym"),
    "visit": Rule.model_validate("identifier pseudonym"),
    "zip": Rule.model_validate("quasi us-zip3"),
    "sex": Rule.model_validate("quasi flat"),
    "kind": Rule.model_validate({"role": "plain", "values": ["in", "out"]}),
    "age": Rule.model_validate({"role": "plain", "method": "code", "top": 90}),
    "day": Rule.model_validate("date shift"),
    "seen": Rule.model_validate("date shift"),
    "year": Rule.model_validate("date year"),
    "name": Rule.model_validate("identifier redact name"),
    "lab": Rule.model_validate("plain round 1"),
}


def good() -> dict[str, pa.Array]:
    return {
        "id": pa.array([f"{'abcdefgh2345'[n]}" * 24 for n in range(ROWS)]),
        "visit": pa.array([2**62 + n for n in range(ROWS)]),
        "zip": pa.array(["021"] * 6 + ["10*"] * 6),
        "sex": pa.array(["F", "M"] * 6),
        "kind": pa.array(["in", None] * 6),
        "age": pa.array([90, 3, None] * 4),
        "day": pa.array([date(2020, 1, 1 + n) for n in range(ROWS)]),
        "seen": pa.array(["2020-01-01T10:00:00+01:00", "2020", None] * 4),
        "year": pa.array([1999, 2001] * 6, pa.int32()),
        "name": pa.array(["[NAME]", None] * 6),
        "lab": pa.array([1.5, None] * 6),
    }


def stage(folder: Path, columns: dict[str, pa.Array]) -> Staged:
    staged = Staged("t", folder / "data", folder / "subjects")
    for path, table in ((staged.data, pa.table(columns)), (staged.subjects, pa.table({"__subject": [f"s{n}" for n in range(ROWS)]}))):
        path.mkdir(parents=True)
        pq.write_table(table.slice(0, 8), path / "part-00000.parquet")
        pq.write_table(table.slice(8), path / "part-00001.parquet")
    return staged


def expected_of(staged: Staged, **changed: Any) -> Expected:
    quasi = quasi_columns(RULES)
    known: dict[str, Any] = {
        "rules": RULES, "schema": pa.schema([pa.field(name, column.type) for name, column in good().items()]), "k": 3, "rows_in": ROWS + 4,
        "rows_out_otherwise": 4, "facts": facts(staged), "last": None, "classes": class_sizes(staged, quasi), "checks": Checks(),
        "generalized": {"zip": ["021", "10*"], "sex": ["F", "M"]},
    }  # fmt: skip
    return Expected(**(known | changed))


def failed(result: TableResult) -> dict[str, int | None]:
    return {f"{r.column}: {r.expectation}": r.failed for r in result.results if not r.passed}


def test_what_is_as_it_should_be_passes(tmp_path: Path) -> None:
    staged = stage(tmp_path, good())
    result = validate_table(staged, expected_of(staged, last=facts(staged)))
    assert failed(result) == {}
    assert result.passed
    assert {r.column for r in result.results} == {*RULES, ""} - {"day", "lab"}


@pytest.mark.parametrize(
    ("column", "cells", "what", "number"),
    [
        ("id", [SECRET] * 2 + ["a" * 24] * 10, "is a pseudonym of 24 signs", 2),
        ("visit", [-5] + [1] * 11, "is a pseudonym, a positive number", 1),
        ("zip", ["021"] * 6 + ["021"] * 5 + ["02139"], "is a generalized ZIP", 1),
        ("zip", ["021"] * 6 + ["099"] * 6, "holds only values of its hierarchy's level", 6),
        ("sex", ["F"] * 6 + [SECRET] * 6, "holds only values of its hierarchy's level", 6),
        ("kind", [SECRET] + ["in"] * 11, "holds only the values that the policy allows", 1),
        ("age", [94] + [4] * 11, "lies within its codes", 1),
        ("seen", ["4.3.2020", SECRET] + [None] * 10, "is a date in ISO 8601", 2),
        ("year", [0] * 12, "is a year", 12),
        ("name", [SECRET] * 12, "is the tag [NAME]", 12),
    ],
)
def test_a_wrong_cell_is_counted_and_its_value_is_said_nowhere(
    tmp_path: Path, column: str, cells: list[object], what: str, number: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    columns = good()
    staged = stage(tmp_path, {**columns, column: pa.array(cells, columns[column].type)})
    result = validate_table(staged, expected_of(staged))
    assert failed(result)[f"{column}: {what}"] == number
    out, err = capfd.readouterr()
    said = json.dumps(result.counts()) + "".join(r.words() for r in result.results) + caplog.text + out + err
    assert SECRET not in said
    assert "02139" not in said


def test_columns_and_types_are_those_of_the_policy(tmp_path: Path) -> None:
    columns = good()
    more = stage(tmp_path / "more", {**columns, "extra": columns["id"]})
    assert ": has exactly the columns of the policy, in its order" in failed(validate_table(more, expected_of(more)))
    typed = stage(tmp_path / "typed", {**columns, "lab": columns["lab"].cast(pa.float32())})
    assert list(failed(validate_table(typed, expected_of(typed)))) == [": has the columns' types as the policy gives them"]
    fewer = stage(tmp_path / "fewer", {name: column for name, column in columns.items() if name != "kind"})
    assert ": has exactly the columns of the policy, in its order" in failed(validate_table(fewer, expected_of(fewer)))


@pytest.mark.parametrize("rows_in", [ROWS + 3, ROWS + 5])
def test_every_row_is_accounted_for(tmp_path: Path, rows_in: int) -> None:
    staged = stage(tmp_path, good())
    assert list(failed(validate_table(staged, expected_of(staged, rows_in=rows_in)))) == [": every extracted row is published or accounted for"]


def test_k_is_a_custom_expectation_over_the_recount(tmp_path: Path) -> None:
    columns = good()
    staged = stage(tmp_path, {**columns, "sex": pa.array(["F"] * 11 + ["M"])})
    assert class_sizes(staged, ["zip", "sex"]).smallest == 1
    assert list(failed(validate_table(staged, expected_of(staged)))) == [": every equivalence class holds 3 subjects or more"]
    assert gx.hold_k().__name__ == "ExpectEquivalenceClassesToHoldK"
    frame = pd.DataFrame({"subjects": [3, 9]})
    assert [gx.validate(frame, [gx.hold_k()(column="subjects", min_value=k)])[0].passed for k in (3, 4)] == [True, False]


def test_drift_from_the_last_release(tmp_path: Path) -> None:
    staged = stage(tmp_path, good())
    now = facts(staged)
    more = {**now, "rows": 30, "columns": {name: {"nulls": 0, "distinct": 1} for name in now["columns"]}}
    found = failed(validate_table(staged, expected_of(staged, last=more)))
    assert ": rows fell by no more than 50% since the last release" in found
    moved = [words for words in found if "share of missing values" in words]
    assert [words.split(" moved")[0].rsplit(" ", 1)[1] for words in moved] == ["kind", "age", "seen", "name", "lab"]
    wide = Checks.model_validate({"row-change": 0.9, "null-rate-change": 0.6})
    assert failed(validate_table(staged, expected_of(staged, last=more, checks=wide))) == {}


def test_an_expectation_that_cannot_be_computed_has_failed_without_a_word_of_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    frame = pd.DataFrame({"a": [SECRET, 3]})
    library = gx.library().expectations
    outcomes = gx.validate(
        frame, [library.ExpectColumnValuesToBeBetween(column="a", min_value=1), library.ExpectColumnValuesToBeInSet(column="b", value_set=[1])]
    )
    assert [(o.passed, o.failed, o.computed) for o in outcomes] == [(False, None, False)] * 2
    assert SECRET not in caplog.text


def test_an_empty_table_passes(tmp_path: Path) -> None:
    columns = {name: column.slice(0, 0) for name, column in good().items()}
    staged = Staged("t", tmp_path / "data", tmp_path / "subjects")
    for path, table in ((staged.data, pa.table(columns)), (staged.subjects, pa.table({"__subject": pa.array([], pa.string())}))):
        path.mkdir()
        pq.write_table(table, path / "part-00000.parquet")
    assert failed(validate_table(staged, expected_of(staged, rows_in=4))) == {}


def test_memory_holds_some_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real: Callable[..., Any] = gx.validate
    monkeypatch.setattr(expectations, "BATCH_ROWS", 5)
    monkeypatch.setattr(gx, "validate", lambda frame, found: (sizes.append(len(frame)), real(frame, found))[1])
    staged = stage(tmp_path, {**good(), "age": pa.array([91] * ROWS)})
    result = validate_table(staged, replace(expected_of(staged), classes=None))
    assert failed(result) == {"age: lies within its codes": ROWS}
    assert max(sizes) == 5


def test_whole_numbers_with_gaps_are_not_rounded() -> None:
    frame = expectations._frame("visit", pa.array([2**62 + 1, None] * 6))
    assert [int(value) for value in frame["visit"].dropna()] == [2**62 + 1] * 6


def test_cells_for_which_nobody_vouches_are_judged_and_counted_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectations, "BATCH_ROWS", 4)
    monkeypatch.setattr(expectations, "FRAME_ROWS", 2)
    judged: list[int] = []
    real: Callable[..., Any] = gx.validate
    monkeypatch.setattr(gx, "validate", lambda frame, found: (judged.append(len(frame)), real(frame, found))[1])
    ages = [30] * ROWS
    ages[1], ages[ROWS - 1], ages[ROWS - 2] = 200, 91, None
    staged = stage(tmp_path, {**good(), "age": pa.array(ages)})
    result = validate_table(staged, replace(expected_of(staged), classes=None))
    assert failed(result) == {"age: lies within its codes": 2}
    assert max(judged) == 2


def test_the_values_of_a_level() -> None:
    before = pa.array(["02139", "02140", "10001", None, "x"])
    zips = build("us-zip3")
    shown = generalized_values(zips, before, zips.levels[1])
    assert len(shown) == 2
    assert all(value.startswith(("02", "10")) for value in shown)
    assert generalized_values(zips, before, zips.levels[-1]) == ["*"]


def test_analytics_are_off_and_nothing_is_sent() -> None:
    code = (
        "import socket\n"
        "def refuse(*_): raise SystemExit('a connection was tried')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import pandas as pd\n"
        "from anonymize.validate import gx\n"
        "gx.validate(pd.DataFrame({'a': [1]}), [gx.library().expectations.ExpectColumnToExist(column='a')])\n"
        "import os\n"
        "context = gx.library().get_context(mode='ephemeral')\n"
        "print(os.environ['GX_ANALYTICS_ENABLED'], context.config.analytics_enabled)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["false", "None"]), done.stderr
    assert done.stderr == ""
