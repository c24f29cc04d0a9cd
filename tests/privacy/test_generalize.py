"""`anonymize generalize`: files in, files out, and what is said where something does not fit."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize import flat
from anonymize.cli import cli
from anonymize.errors import AnonymizeError, StepFailed
from anonymize.generalizing import Asked, InputError, generalize, one_file
from anonymize.judging.recount import Wanted, recount

AGES = [str(age) for age in range(20, 40)]
SEXES = ["F", "M"]
ILLNESSES = ["asthma", "flu", "gout"]
Rows = list[tuple[str, str, str]]


@pytest.fixture
def ladders(tmp_path: Path) -> Path:
    return make_ladders(tmp_path / "hierarchies")


def make_ladders(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [f"{age};{int(age) // 5 * 5}-{int(age) // 5 * 5 + 4};{int(age) // 10 * 10}s;any age" for age in AGES]
    (folder / "table_hierarchy_age.csv").write_text("\n".join(lines))
    (folder / "table_hierarchy_sex.csv").write_text("F;*\nM;*\n")
    (folder / "table_hierarchy_illness.csv").write_text("asthma;chest;*\nflu;chest;*\ngout;joints;*\n")
    return folder


def write(file: Path, rows: Rows, delimiter: str = ";") -> Path:
    lines = [delimiter.join(row) for row in [("age", "sex", "illness"), *rows]]
    file.write_text("\n".join(lines) + "\n")
    return file


def read(file: Path, delimiter: str = ";") -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter=delimiter))


def some_rows(n: int = 200) -> Rows:
    return [(AGES[i * i % 20], SEXES[i % 7 % 2], ILLNESSES[i % 3]) for i in range(n)]


def up(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Column -> leaf -> its generalizations."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in ("age", "sex", "illness"):
        found[name] = {row[0]: row for row in csv.reader((folder / f"table_hierarchy_{name}.csv").open(), delimiter=";")}
    return found


@pytest.mark.parametrize("mode", ["optimal", "local"])
def test_every_cell_is_of_the_hierarchy_and_every_class_holds_k(tmp_path: Path, ladders: Path, mode: str) -> None:
    rows = some_rows()
    source, target, report = write(tmp_path / "in.csv", rows), tmp_path / "out.csv", tmp_path / "r.json"
    words = ["generalize", str(source), str(target), "--hierarchies", str(ladders), "--k", "5", "--mode", mode, "--report", str(report)]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    out, above = read(target), up(ladders)
    assert len(out) == len(rows)
    for row, published in zip(rows, out, strict=True):
        for name, value in zip(above, row, strict=True):
            assert published[name] in above[name][value]
    sizes = Counter(tuple(row.values()) for row in out)
    told = json.loads(report.read_text())
    assert min(sizes.values()) == told["k"] == told["recount"]["smallest"] >= 5
    assert len(sizes) == told["classes"]
    assert told["highest_risk"] == pytest.approx(1 / told["k"], abs=1e-6)
    assert not list(tmp_path.glob(".*")), "nothing is left beside the output"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.sampled_from(AGES), st.sampled_from(SEXES), st.sampled_from(ILLNESSES)), min_size=1, max_size=40),
    k=st.integers(2, 4),
    mode=st.sampled_from(["optimal", "local"]),
    suppression=st.sampled_from([0.0, 0.1, 1.0]),
    asked=st.sampled_from(["k", "distinct", "entropy", "recursive", "equal", "ordered", "hierarchical"]),
)
def test_no_class_of_the_written_file_breaks_what_was_asked(
    tmp_path: Path, rows: Rows, k: int, mode: str, suppression: float, asked: str
) -> None:
    ladders = make_ladders(tmp_path / "h")
    source, target = write(tmp_path / "in.csv", rows), tmp_path / "out.csv"
    target.unlink(missing_ok=True)
    l = {"distinct": "illness:2", "entropy": "illness:entropy:1.8", "recursive": "illness:recursive:2:2"}.get(asked)  # noqa: E741
    t = {"equal": "illness:0.3", "ordered": "illness:ordered:0.3", "hierarchical": "illness:hierarchical:0.3"}.get(asked)
    options = Asked(ladders, k=k, l=(l,) if l else (), t=(t,) if t else (), mode=mode, suppression=suppression)  # type: ignore[arg-type]
    try:
        generalize(source, target, options)
    except InputError:
        raise
    except StepFailed as error:
        raise AssertionError("the search and the recount differ") from error
    except AnonymizeError:
        assert not target.exists()
        return
    quasi = ["age", "sex"] if l or t else ["age", "sex", "illness"]
    classes: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in read(target):
        classes[tuple(row[name] for name in quasi)].append(row["illness"])
    whole = Counter(row[2] for row in rows)
    for values in classes.values():
        assert len(values) >= k
        share = Counter(values)
        apart = [share[v] / len(values) - whole[v] / len(rows) for v in ILLNESSES]
        if asked == "distinct":
            assert len(share) >= 2
        if asked == "entropy":
            assert -sum(n / len(values) * math.log(n / len(values)) for n in share.values()) >= math.log(1.8) - 1e-6
        if asked == "recursive":
            ranked = sorted(share.values(), reverse=True)
            assert ranked[0] < 2 * sum(ranked[1:])
        if asked == "equal":
            assert sum(map(abs, apart)) / 2 <= 0.3 + 1e-6
        if asked == "ordered":
            seen = [v for v in ILLNESSES if whole[v]]
            steps = [abs(sum(apart[ILLNESSES.index(v)] for v in seen[: i + 1])) for i in range(len(seen) - 1)]
            assert sum(steps) / max(len(seen) - 1, 1) <= 0.3 + 1e-6
        if asked == "hierarchical":  # asthma and flu are half as far from each other as from gout
            within, across = min(max(apart[0], 0) + max(apart[1], 0), max(-apart[0], 0) + max(-apart[1], 0)), abs(apart[2])
            assert within / 2 + across <= 0.3 + 1e-6


def test_parquet_keeps_the_types_of_what_is_not_generalized(tmp_path: Path, ladders: Path) -> None:
    rows = some_rows()
    table = pa.table(
        {
            "age": pa.array([int(r[0]) for r in rows], pa.int64()),
            "sex": [r[1] for r in rows],
            "illness": [r[2] for r in rows],
            "weight": pa.array([float(i) for i in range(len(rows))]),
            "name": ["secret"] * len(rows),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    generalize(tmp_path / "in.parquet", tmp_path / "out.parquet", Asked(ladders, keep=("weight",), drop=("name",), l=("illness:2",)))
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.schema.names == ["age", "sex", "illness", "weight"]
    assert out.schema.field("weight").type == pa.float64()
    assert out["illness"].to_pylist() == [r[2] for r in rows], "a sensitive column leaves as it is"


def test_k_counts_subjects_where_they_are_named(tmp_path: Path, ladders: Path) -> None:
    rows = [(age, "F", "flu") for age in ("20", "30") for _ in range(6)]
    who = [0] * 6 + [1, 2, 3, 4, 5, 6]
    lines = ["age;sex;illness;who", *(f"{';'.join(row)};{one}" for row, one in zip(rows, who, strict=True))]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    done = generalize(tmp_path / "in.csv", tmp_path / "out.csv", Asked(ladders, k=3, suppression=0, subject="who"))
    out = read(tmp_path / "out.csv")
    assert {row["age"] for row in out} == {"any age"}, "six rows of one person are one person"
    assert "who" not in out[0]
    assert done.k == 7


def test_a_column_that_must_stay_exact_does(tmp_path: Path, ladders: Path) -> None:
    source = write(tmp_path / "in.csv", some_rows())
    plain = generalize(source, tmp_path / "out.csv", Asked(ladders, suppression=0))
    exact = generalize(source, tmp_path / "exact.csv", Asked(ladders, suppression=0, exact=("illness",)))
    assert [row["illness"] for row in read(tmp_path / "exact.csv")] == [row[2] for row in some_rows()]
    assert exact.loss >= plain.loss
    assert exact.utility["entropy"]["illness"] == 1
    assert exact.utility["granularity"] == pytest.approx(1 - exact.loss, abs=1e-6)


def test_utility_is_that_of_the_rows(tmp_path: Path, ladders: Path) -> None:
    rows: Rows = [("20", "F", "flu")] * 6 + [("39", "M", "gout")] * 2
    done = generalize(write(tmp_path / "in.csv", rows), tmp_path / "out.csv", Asked(ladders, k=3, suppression=0.25))
    assert done.utility["discernibility"] == pytest.approx((36 + 2 * 8) / 64)
    assert done.utility["average_class"] == 2
    assert done.utility["entropy"] == {"age": 1, "sex": 1, "illness": 1}, "those who are gone can still be told from the others"


def test_too_few_suppressed_rows_do_not_stand_together(tmp_path: Path, ladders: Path) -> None:
    rows: Rows = [("20", "F", "flu")] * 50 + [("39", "M", "gout")]
    done = generalize(write(tmp_path / "in.csv", rows), tmp_path / "out.csv", Asked(ladders, k=5, suppression=0.05))
    assert (done.removed, done.suppressed, done.rows_written) == (1, 0, 50)
    assert {row["age"] for row in read(tmp_path / "out.csv")} == {"20"}


def test_a_quoted_cell_arrives_as_it_was(tmp_path: Path, ladders: Path) -> None:
    text = "age,sex,illness,note\n" + '20,F,flu,"a, ""b""\nc"\n' * 6
    (tmp_path / "in.csv").write_text(text)
    generalize(tmp_path / "in.csv", tmp_path / "out.csv", Asked(ladders, keep=("note",)))
    assert (tmp_path / "out.csv").read_text() == text


def test_a_missing_value_is_a_value_of_its_own(tmp_path: Path, ladders: Path) -> None:
    rows: Rows = [("", "F", "flu")] * 6 + [("20", "F", "flu")] * 6
    generalize(write(tmp_path / "in.csv", rows), tmp_path / "out.csv", Asked(ladders))
    assert [row["age"] for row in read(tmp_path / "out.csv")] == [""] * 6 + ["20"] * 6


SECRET = "77"


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--k", "5"], "1 of 7 values of column 'age' are not in it, the first in row 3", 2),
        (["--keep", "nosuch"], "no column 'nosuch'", 2),
        (["--l", "illness:1"], "no l-diversity", 2),
        (["--t", "illness:7"], "no t-closeness", 2),
        (["--k", "500", "--drop", "age"], "k = 500 cannot be reached", 1),
        (["--delimiter", "|"], "no hierarchy file", 2),
        (["--weight", "sex:-1"], "--weight is written", 2),
    ],
)
def test_what_is_wrong_is_said_without_a_value(tmp_path: Path, ladders: Path, words: list[str], said: str, code: int) -> None:
    rows = some_rows()
    rows[2] = (SECRET, "F", "flu")
    source, target = write(tmp_path / "in.csv", rows), tmp_path / "out.csv"
    target.write_text("as it was")
    done = CliRunner().invoke(cli, ["generalize", str(source), str(target), "--hierarchies", str(ladders), *words])
    assert isinstance(done.exception, AnonymizeError)
    assert done.exception.exit_code == code
    assert said in str(done.exception)
    assert SECRET not in str(done.exception).replace(str(tmp_path), "")
    assert target.read_text() == "as it was"


def test_a_column_without_a_hierarchy_stops_it(tmp_path: Path, ladders: Path) -> None:
    (ladders / "table_hierarchy_sex.csv").unlink()
    with pytest.raises(InputError, match=r"no hierarchy file '\*_hierarchy_sex.csv' for column 'sex'.*--keep sex"):
        generalize(write(tmp_path / "in.csv", some_rows()), tmp_path / "out.csv", Asked(ladders))


@pytest.mark.parametrize("text", ["age;sex;illness\n20;F\n", "age;sex;illness\n", "", "age;age;illness\n20;20;flu\n"])
def test_a_file_that_is_none_is_said(tmp_path: Path, ladders: Path, text: str) -> None:
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(InputError):
        generalize(tmp_path / "in.csv", tmp_path / "out.csv", Asked(ladders, delimiter=";"))


def test_a_file_that_does_not_hold_is_not_left_in_place(tmp_path: Path, ladders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(flat.CsvSink):
        def write_table(self, table: pa.Table) -> None:
            super().write_table(table if table.num_rows == 1 else table.set_column(0, "age", pa.array(AGES * 10)))

    monkeypatch.setattr(one_file, "CsvSink", Faulty)
    with pytest.raises(StepFailed, match="classes have fewer than 5 subjects"):
        generalize(write(tmp_path / "in.csv", some_rows()), tmp_path / "out.csv", Asked(ladders, suppression=0))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hierarchies", "in.csv"]


def test_the_recount_knows_a_class_that_breaks(tmp_path: Path) -> None:
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"q": ["a"] * 3 + ["b"] * 3, "s": ["x", "y", "z", "x", "x", "x"]}), file)
    whole = {"s": {"x": 4, "y": 1, "z": 1}}
    assert recount(file, ["q"], Wanted(3)).failed == ()
    assert recount(file, ["q"], Wanted(4)).failed == ("2 classes have fewer than 4 subjects",)
    for variant, numbers in (("distinct", (2.0,)), ("entropy", (2.0,)), ("recursive", (2.0, 2.0))):
        assert len(recount(file, ["q"], Wanted(3, diversity=(("s", variant, numbers),))).failed) == 1
    assert recount(file, ["q"], Wanted(3, closeness=(("s", "equal", 0.33),), whole=whole)).failed[0].startswith("2 classes")
    assert recount(file, ["q"], Wanted(3, closeness=(("s", "equal", 0.34),), whole=whole)).failed == ()


def test_arx_files_load_as_they_are(data_dir: Path, tmp_path: Path) -> None:
    for name in ("adult", "fars_subset"):
        folder = data_dir / "tables" / name
        done = generalize(folder / f"{name}.csv", tmp_path / "out.csv", Asked(folder, k=5, mode="local"))
        assert done.k >= 5
        assert done.removed == done.suppressed == 0


def crowd(file: Path, rows: Rows) -> Path:
    lines = [f"{age};{sex};{illness};{2 + int(age) % 3}" for age, sex, illness in dict.fromkeys(rows)]
    file.write_text("\n".join(["years;sex;illness;persons", *lines]) + "\n")
    return file


POPULATED = ("--people-column", "age:years", "--people-count", "persons", "--delimiter", ";")


@pytest.mark.parametrize(
    ("mode", "asked"),
    [("optimal", ("--k", "1", "--k-map", "12")), ("local", ("--k", "1", "--k-map", "12")), ("optimal", ("--presence", "0..0.3"))],
)
def test_each_class_stands_for_people_of_the_population(tmp_path: Path, ladders: Path, mode: str, asked: tuple[str, ...]) -> None:
    everyone = [(age, sex, illness) for age in AGES for sex in SEXES for illness in ILLNESSES]
    people = crowd(tmp_path / "people.csv", everyone)
    source, target = write(tmp_path / "in.csv", some_rows(60)), tmp_path / "out.csv"
    words = ["generalize", str(source), str(target), "--hierarchies", str(ladders), "--population", str(people), *asked, *POPULATED]
    done = CliRunner().invoke(cli, [*words, "--mode", mode], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    above = up(ladders)
    for published, number in Counter(tuple(row.values()) for row in read(target)).items():
        stands_for = sum(
            2 + int(row[0]) % 3
            for row in everyone
            if all(cell in above[name][value] for name, cell, value in zip(above, published, row, strict=True))
        )
        assert number / stands_for <= 0.3 if asked[0] == "--presence" else stands_for >= 12


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--k-map", "5"), "these need a population"),
        (("--population", "people.csv"), "goes with --k-map"),
        (("--population", "people.csv", "--presence", "0.2"), "written LEAST..MOST"),
        (("--population", "people.csv", "--presence", "0..0.2", "--mode", "local"), "do not overlap"),
        (("--population", "people.csv", "--k-map", "5"), "no column 'age'"),
        (("--population", "people.csv", "--k-map", "5", "--people-column", "age:years", "--people-count", "sex"), "whole numbers of people"),
    ],
)
def test_what_does_not_fit_a_population_is_said(
    tmp_path: Path, ladders: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    crowd(tmp_path / "people.csv", [(age, sex, illness) for age in AGES for sex in SEXES for illness in ILLNESSES])
    write(tmp_path / "in.csv", some_rows(60))
    done = CliRunner().invoke(cli, ["generalize", "in.csv", "out.csv", "--hierarchies", str(ladders), *asked])
    assert said in str(done.exception or done.output)
    assert not (tmp_path / "out.csv").exists()


def test_a_population_whose_people_are_fewer_is_refused(tmp_path: Path, ladders: Path) -> None:
    people = crowd(tmp_path / "people.csv", some_rows(10))
    source = write(tmp_path / "in.csv", some_rows(200))
    with pytest.raises(InputError, match="not whom it was drawn from"):
        generalize(
            source, tmp_path / "o.csv", Asked(ladders, population=people, k_map=5, people_columns={"age": "years"}, people_count="persons")
        )


def test_no_value_stands_out_among_its_class(tmp_path: Path, ladders: Path) -> None:
    source, target = write(tmp_path / "in.csv", some_rows(200)), tmp_path / "out.csv"
    generalize(source, target, Asked(ladders, beta=("illness:basic:0.2",)))
    rows = read(target)
    before, classes = Counter(row["illness"] for row in rows), defaultdict(Counter)
    for row in rows:
        classes[row["age"], row["sex"]][row["illness"]] += 1
    for counts in classes.values():
        assert all(counts[v] / counts.total() <= 1.2 * before[v] / before.total() + 1e-9 for v in counts)
