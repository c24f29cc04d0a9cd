"""Each hierarchy as small tables in and out, and the laws that all of them keep."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.hierarchies import build, drawn, names
from anonymize.hierarchies.texts import restricted_zip3

CASES = [
    ("flat", ["a", None], [["a", None], ["*", "*"]]),
    ("age", [5, 93, 42], [["5", "90+", "42"], ["5-9", "90+", "40-44"], ["0-9", "90+", "40-49"], ["0-19", "90+", "40-59"]]),
    ("date", [dt.date(2020, 5, 6)], [["2020-05-06"], ["2020-05"], ["2020-Q2"], ["2020"], ["2020-2024"], ["2020-2029"], ["*"]]),
    ("birth-year:2026", ["1930-01-02", "1936-01-01", "1937"], [["<=1936", "<=1936", "1937"], ["<=1936", "<=1936", "1937-1939"]]),
    ("us-zip", ["02139-4307", "2139"], [["02139", "02139"], ["021**", "021**"], ["02***", "02***"]]),
    ("us-zip3", ["02139", "03601", "59001"], [["021", "000", "590"], ["02*", "00*", "59*"], ["0**", "0**", "5**"]]),
    ("icd-10-cm", ["E11.9", "E119"], [["E11.9", "E11.9"], ["E11", "E11"], ["E08-E13", "E08-E13"], ["chapter 4", "chapter 4"]]),
    (
        "icd-9-cm",
        ["250.83", "8", "V58.6", "E885"],
        [["250.83", "008", "V58.6", "E885"], ["250", "008", "V58", "E885"], ["240-279", "001-139", "V01-V91", "E000-E999"]],
    ),
    ("atc", ["C09AA05", "c09a"], [["C09AA05", "C09A"], ["C09AA", "C09A"], ["C09A", "C09A"], ["C09", "C09"], ["C", "C"]]),
    ("ordered:a<b<c<d<e", ["a", "d", "e"], [["a", "d", "e"], ["a-b", "c-d", "e"], ["a-d", "a-d", "e"]]),
    ("ranges:0..100:5,10", [3.2, 100.0, -1.0], [["[0, 5)", ">=100", "<0"], ["[0, 10)", ">=100", "<0"]]),
    ("mask:3", ["abc"], [["abc"], ["ab*"], ["a**"], ["*"]]),
    ("mask:3,left", ["abc"], [["abc"], ["*bc"], ["**c"], ["*"]]),
    ("week", [dt.date(2024, 12, 30), dt.date(2024, 12, 29)], [["2024-12-30", "2024-12-29"], ["2025-W01", "2024-W52"], ["2025", "2024"]]),
    ("coded:18..89,30..60", [17, 34, 95], [["<18", "34", ">89"], ["<30", "34", ">60"]]),
    ("us-zip-state", ["02139", "90210-1234", "00001"], [["02139", "90210", "00001"], ["021**", "902**", "000**"], ["MA", "CA", "other"]]),
    ("us-state", ["ma", "New  York", "PR"], [["MA", "NY", "PR"], ["New England", "Middle Atlantic", "territories"]]),
    ("country", ["DEU", "us", "Bosnia and Herzegovina"], [["DE", "US", "BA"], ["Western Europe", "Northern America", "Southern Europe"]]),
]


@pytest.mark.parametrize(("name", "values", "levels"), CASES, ids=[case[0] for case in CASES])
def test_levels(name: str, values: list[object], levels: list[list[str]]) -> None:
    hierarchy, column = build(name), pa.array(values)
    assert [hierarchy.generalize(column, level).to_pylist() for level in range(len(levels))] == levels
    top = len(hierarchy.levels) - 1
    assert hierarchy.generalize(column, top).to_pylist() == ["*"] * len(values)
    assert hierarchy.loss(column, top).tolist() == [1.0] * len(values)


VALUES = {
    "age": st.integers(0, 120).map(str),
    "date": st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)).map(str),
    "birth-year:2026": st.dates(dt.date(1900, 1, 1), dt.date(2026, 1, 1)).map(str),
    "us-zip": st.integers(0, 99_999).map("{:05}".format),
    "us-zip3": st.integers(0, 99_999).map("{:05}".format),
    "ranges:0..100:1,5,20": st.floats(-10, 200).map(str),
    "mask:4": st.text("abc123", min_size=4, max_size=4),
    "icd-9-cm": st.one_of(
        st.integers(1, 999).map("{:03}".format), st.floats(1, 999).map("{:.1f}".format), st.integers(10, 91).map("V{}.1".format)
    ),
    "atc": st.from_regex(r"[AB][01]\d([AB]([AB](0\d)?)?)?", fullmatch=True),
    "ordered:a<b<c<d<e<f": st.sampled_from("abcdef"),
    "mask:4,left": st.text("abc123", min_size=4, max_size=4),
    "week": st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)).map(str),
    "coded:10..90,30..60": st.integers(0, 100).map(str),
    "us-zip-state": st.integers(0, 99_999).map("{:05}".format),
    "us-state": st.sampled_from(["MA", "NY", "CA", "TX", "GU", "AE", "Ohio"]),
    "country": st.sampled_from(["US", "MEX", "Germany", "JP", "KEN", "Fiji"]),
}
#: Plans whose groups come from the values themselves.
PLANS = ["quantiles:6,3", "quantiles:20,10,5", "microaggregate:3", "microaggregate:2,median"]
NUMBERS = st.dictionaries(st.integers(-50, 50).map(lambda n: str(n / 4)), st.integers(1, 6), min_size=1, max_size=25)


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
def test_what_is_equal_at_a_level_is_equal_above_it(name: str, data: st.DataObject) -> None:
    values = pa.array(data.draw(st.lists(VALUES[name], min_size=2, max_size=12)))
    hierarchy = build(name)
    for level in range(1, len(hierarchy.levels) - 1):
        above: dict[str, str] = {}
        below = hierarchy.generalize(values, level).to_pylist()
        for value, up in zip(below, hierarchy.generalize(values, level + 1).to_pylist(), strict=True):
            assert above.setdefault(value, up) == up
        assert (hierarchy.loss(values, level) <= hierarchy.loss(values, level + 1) + 1e-12).all()


@pytest.mark.parametrize("name", PLANS)
@given(counts=NUMBERS)
def test_what_is_drawn_is_nested_and_the_same_again(name: str, counts: dict[str, int]) -> None:
    values, subjects = pa.array(counts), np.array(list(counts.values()))
    ladder = drawn(build(name), values, subjects)
    assert ladder == drawn(build(name), values.take(pa.array(range(len(values))[::-1])), subjects[::-1])
    steps = [ladder.generalize(values, level).to_pylist() for level in range(len(ladder.levels))]
    for level in range(1, len(ladder.levels)):
        above: dict[str, str] = {}
        assert all(above.setdefault(a, b) == b for a, b in zip(steps[level - 1], steps[level], strict=True))
        assert (ladder.loss(values, level - 1) <= ladder.loss(values, level) + 1e-12).all()
    with pytest.raises(ValueError, match="drawn from the data first"):
        build(name).generalize(values, 0)


@given(counts=NUMBERS, least=st.integers(2, 6))
def test_micro_aggregation_is_the_best_there_is(counts: dict[str, int], least: int) -> None:
    """Against every way to part a few values into groups of enough subjects."""
    some = dict(sorted(counts.items(), key=lambda pair: float(pair[0]))[:9])
    numbers, weights = [float(text) for text in some], list(some.values())
    values = pa.array(some)
    shown = drawn(build(f"microaggregate:{least}"), values, np.array(weights)).generalize(values, 0).to_pylist()

    def squares(a: int, b: int) -> float:
        mean = sum(n * w for n, w in zip(numbers[a:b], weights[a:b], strict=True)) / sum(weights[a:b])
        return sum(w * (n - mean) ** 2 for n, w in zip(numbers[a:b], weights[a:b], strict=True))

    if sum(weights) < least:
        assert len(set(shown)) == 1
        return
    ways = []
    for cuts in itertools.chain.from_iterable(itertools.combinations(range(1, len(numbers)), n) for n in range(len(numbers))):
        parts = list(itertools.pairwise([0, *cuts, len(numbers)]))
        if all(sum(weights[a:b]) >= least for a, b in parts):
            ways.append(sum(squares(a, b) for a, b in parts))
    groups = [[i for i, text in enumerate(shown) if text == label] for label in dict.fromkeys(shown)]
    assert all(sum(weights[i] for i in group) >= least for group in groups)
    assert sum(squares(group[0], group[-1] + 1) for group in groups) == pytest.approx(min(ways), abs=1e-6)
    for group in groups:
        mean = sum(numbers[i] * weights[i] for i in group) / sum(weights[i] for i in group)
        assert float(shown[group[0]]) == pytest.approx(mean, rel=1e-5, abs=1e-5)


@given(counts=NUMBERS)
def test_quantiles_hold_equally_many(counts: dict[str, int]) -> None:
    values, subjects = pa.array(counts), np.array(list(counts.values()))
    shown = drawn(build("quantiles:4,2"), values, subjects).generalize(values, 0).to_pylist()
    people: Counter[str] = Counter()
    for label, number in zip(shown, subjects.tolist(), strict=True):
        people[label] += number
    assert len(people) <= 4
    assert max(people.values()) <= subjects.sum() / 4 + subjects.max()


def test_a_sites_own_population_restricts_zips(tmp_path: Path) -> None:
    (tmp_path / "zcta.csv").write_text("# Census 2020\nzip,population\n02139,15000\n02140,9000\n59001,20000\n")
    hierarchy = build("us-zip3:zcta.csv", tmp_path)
    assert hierarchy.generalize(pa.array(["02139", "59001", "10001"]), 0).to_pylist() == ["021", "000", "000"]
    (tmp_path / "zcta.csv").write_text("prefix,people\n021,1\n")
    with pytest.raises(ValueError, match="must name the columns"):
        build("us-zip3:zcta.csv", tmp_path)


def test_loinc_by_a_sites_own_table(tmp_path: Path) -> None:
    lines = [
        '"LOINC_NUM","COMPONENT","CLASS","CLASSTYPE"',
        '"2345-7","Glucose","CHEM","1"',
        '"2160-0","Creatinine","CHEM","1"',
        '"8302-2","Height","BDYHGT","2"',
    ]
    (tmp_path / "Loinc.csv").write_text("\n".join(lines) + "\n")
    hierarchy, values = build("loinc:Loinc.csv", tmp_path), pa.array(["2345-7", "8302-2", None])
    assert hierarchy.generalize(values, 1).to_pylist() == ["CHEM", "BDYHGT", None]
    assert hierarchy.generalize(values, 2).to_pylist() == ["laboratory", "clinical", None]
    assert hierarchy.loss(values, 1).tolist() == [0.5, 0.0, 0.0]
    assert hierarchy.covers(pa.array(["1-1"])).to_pylist() == [False]
    (tmp_path / "Loinc.csv").write_text("LOINC_NUM,CLASS\n")
    with pytest.raises(ValueError, match="no column CLASSTYPE"):
        build("loinc:Loinc.csv", tmp_path)


@given(st.integers(0, 120))
def test_no_level_tells_an_age_over_89(age: int) -> None:
    birth = dt.date(2026 - age, 6, 30)
    for name, value in (("age", str(age)), ("birth-year:2026", str(birth))):
        hierarchy = build(name)
        coded = {hierarchy.generalize(pa.array([value]), level)[0].as_py() for level in range(len(hierarchy.levels) - 1)}
        assert (coded == {"90+" if name == "age" else "<=1936"}) == (age > 89)


@pytest.mark.parametrize("prefix", ["036", "059", "063", "102", "203", "205", "369", "556", "692", "790", "821", "823", "830", "831", "893"])
def test_small_areas_are_zero(prefix: str) -> None:
    assert build("us-zip3").generalize(pa.array([f"{prefix}01"]), 0).to_pylist() == ["000"]
    assert len(restricted_zip3()) == 19


def test_what_is_not_covered_is_said_without_the_value() -> None:
    hierarchy = build("us-zip3")
    assert hierarchy.covers(pa.array(["02139", "K1A 0B1", None])).to_pylist() == [True, False, True]
    with pytest.raises(ValueError, match="does not cover 1 values") as raised:
        hierarchy.generalize(pa.array(["K1A 0B1"]), 0)
    assert "K1A" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("agee", "Did you mean 'age'"),
        ("mask:x", "needs the length"),
        ("birth-year:26", "takes the year"),
        ("csv:none.csv", "cannot be read"),
        ("ranges:9..1:2", "under the top"),
        ("coded:18..89,10..70", "within the one before"),
        ("quantiles:10,4", "a part of the one before"),
        ("microaggregate:1", "two or more"),
    ],
)
def test_mistakes(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(name)
    assert {"us-zip", "us-zip3"} <= set(names())


def test_arx_hierarchies_load_as_they_are(data_dir: Path) -> None:
    folder = data_dir / "tables" / "adult"
    for file in sorted(folder.glob("adult_hierarchy_*.csv")):
        hierarchy = build(f"csv:{file.name}", folder)
        leaf = file.read_text().splitlines()[0].split(";")[0]
        assert hierarchy.generalize(pa.array([leaf]), 0).to_pylist() == [leaf]
        assert hierarchy.loss(pa.array([leaf]), 0).tolist() == [0.0]


@pytest.mark.parametrize(("text", "words"), [("a;b;*\nc;*\n", "line 2 has 2 cells"), ("a;x;p;*\nb;x;q;*\n", "not nested"), ("", "empty")])
def test_a_broken_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        build("csv:h.csv", tmp_path)
