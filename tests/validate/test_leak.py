"""The leak gate finds an identifier however it is written and wherever it stands, and lets through what is nobody's."""

from __future__ import annotations

import base64
import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.errors import StepFailed
from anonymize.keys import Key
from anonymize.policy.loader import load
from anonymize.transform import dates
from anonymize.transform.pseudonym import pseudonymize
from anonymize.validate.leak import Columns, search
from anonymize.validate.needles import Needles
from anonymize.validate.opened import opened
from tests.road import hospital
from tests.validate.conftest import Finder, needles_of, search_column

MARIA = [
    ("name", "Maria", "first"), ("name", "García-López", "last"), ("mrn", "MRN-00123456", "mrn"), ("phone", "(555) 123-4567", "phone"),
    ("email", "m.garcia@example.org", "email"), ("address", "1234 Elm Street Apt 5", "street"), ("date", "1950-03-04", "born"),
    ("ssn", "123-45-6789", "ssn"), ("license", "S99958025", "licence"), ("id", "3f2a9c1e-77b0-4d5e-9a41-0c6d2e8b1f00", "id"),
    ("ip", "192.168.17.23", "ip"), ("url", "https://people.example.org/maria/42", "url"), ("address", "Springfield", "city"),
    ("facility", "Mercy General Hospital", "site"),
]  # fmt: skip
HOPE = [("name", "Hope", "first"), ("name", "White", "last"), ("mrn", "MRN-00987654", "mrn")]
OTHERS = {f"s{n}": [("name", name, "last")] for n, name in enumerate(["O'Brien", "Müller", "Ng", "Kowalczyk", "Sørensen", "Lee", "McKenna"], 3)}
PEOPLE = {"s1": MARIA, "s2": HOPE, **OTHERS}
Make = Callable[[dict[str, object]], Finder]


@pytest.fixture
def find(finder: Make) -> Finder:
    return finder(PEOPLE)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("name", "Maria was seen"), ("name", "MARIA"), ("name", "maria"), ("name", "Mrs. Garcia-Lopez"), ("name", "GARCÍA LÓPEZ"),
        ("name", "garcialopez"), ("name", "Garcia\u2010Lopez"), ("name", "Gar-\ncia came"), ("name", "Ga\u200brcia"),
        ("name", "Ｇａｒｃｉａ"),
        ("name", "Lopez_2"), ("name", "<b>Lopez</b>"), ("name", "\\nLopez said"), ("name", "(Lopez)"),
        ("mrn", "MRN 00123456"), ("mrn", "mrn:123456"), ("mrn", "MRN-00123-456"),
        ("mrn", "chart 00-12-34-56"), ("mrn", "#00123\n456"), ("mrn", "MRN 00123 456"),
        ("phone", "555-123-4567"), ("phone", "5551234567"), ("phone", "+1 (555) 123.4567"), ("phone", "(555) 123-\n4567"),
        ("phone", "555 123\n4567"), ("phone", "call 123-4567"), ("phone", "1-555-123-4567 x12"),
        ("email", "M.GARCIA@EXAMPLE.ORG"), ("email", "mailto:m.garcia@example.org>"), ("email", "m garcia at: m_garcia@example.org"),
        ("address", "1234 Elm Street"), ("address", "1234 ELM ST."), ("address", "1234, Elm\nStreet"), ("address", "in springfield"),
        ("ssn", "123456789"), ("ssn", "123 45 6789"), ("ssn", "SSN:123.45.6789"), ("license", "s99958025"), ("license", "S-99958025"),
        ("id", "3F2A9C1E77B04D5E9A410C6D2E8B1F00"), ("id", "3f2a9c1e 77b0 4d5e 9a41 0c6d2e8b1f00"),
        ("ip", "from 192.168.17.23:80"), ("url", "people.example.org/maria/42"), ("facility", "at MERCY GENERAL hospital"),
        ("date", "DOB 1950-03-04"), ("date", "born 3/4/50"), ("date", "born on March 4th, 1950"), ("date", "born 4 Mar 1950"),
        ("date", "dob: 04.03.1950"), ("date", "birthdate 19500304"),
        ("date", "Born the 4th of March 1950"), ("date", "DOB 1950-03-04T00:00:00Z"),
    ],
)  # fmt: skip
def test_a_subjects_own_identifier_is_found_in_text_however_it_is_written(find: Finder, kind: str, text: str) -> None:
    assert (kind, True) in find([f"Note. {text} and so on."], "s1", text=True)
    assert (kind, True) in find([text], "s1", text=True)


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("s2", "Ms. White is well"), ("s2", "WHITE, HOPE"), ("s2", "Hope is well"),
        ("s3", "obrien"), ("s3", "O’BRIEN"), ("s3", "O'Brien's"),
        ("s4", "Mueller"), ("s4", "MÜLLER"), ("s4", "Muller"),
        ("s5", "Mrs. Ng"), ("s6", "KOWALCZYK-Nowak"), ("s7", "Sorensen"),
        ("s7", "Sørensen"), ("s9", "Mc Kenna"), ("s9", "MCKENNA"), ("s9", "mckenna"),
    ],
)  # fmt: skip
def test_names_of_all_kinds_are_found(find: Finder, subject: str, text: str) -> None:
    assert find([text], subject, text=True) == [("name", True)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("name", "spoke to Maria Garcia"), ("name", "GARCIA, MARIA"),
        ("name", "Maria E. Lopez"), ("mrn", "MRN 123456"), ("phone", "555.123.4567"),
        ("email", "m.garcia@example.org"), ("ssn", "123-45-6789"),
        ("ssn", "123456789"), ("license", "S99958025"), ("address", "1234 Elm Street"),
        ("id", "3f2a9c1e-77b0-4d5e-9a41-0c6d2e8b1f00"), ("ip", "192.168.17.23"), ("url", "https://people.example.org/maria/42"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("subject", ["s6", None])
def test_a_distinctive_identifier_is_found_in_anybodys_row(find: Finder, kind: str, text: str, subject: str | None) -> None:
    assert (kind, False) in find([text], [subject], text=True)


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("s2", "I hope the white count falls"), ("s2", "white, hope"),
        ("s6", "Maria is a common name"), ("s6", "Springfield"), ("s5", "ng tube"),
        ("s1", "[NAME] [MRN] [PHONE] was seen on 2010-01-01"),
        ("s1", "ward 17, bed 4, BP 120/80, 36.6 C"), ("s1", "on 4 March 1950 a shifted day"),
        ("s1", "1 2 3 4 5 6 7 8 9"), ("s1", "1234 patients"),
        ("s1", "General hospital"), ("s8", "leeway"), ("s8", "k7lee2abcdefghijklmn2345"),
    ],
)  # fmt: skip
def test_what_is_nobodys_passes(find: Finder, subject: str, text: str) -> None:
    assert find([text], subject, text=True) == []


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("name", "seen: Gar<b>cia</b>, <i>well</i>"), ("name", "&#71;arcia"), ("name", "<p title='Dr Garcia'>x</p>"),
        ("name", "<p>x</p><!-- Garcia -->"),
        ("name", "<garcia@x>"), ("phone", "<td>555</td>-<td>123-</td>4567 <u>555</u>-123-<u>4567</u>"), ("mrn", "<x id='MRN-00123456'/>"),
        ("name", r"{\rtf1\ansi Mr {\b Gar}cia}"), ("name", r"{\rtf1 Garc\'eda}"), ("name", r"{\rtf1 \u71?arc\u237?a\par}"),
        ("name", r"{\rtf1{\info{\author Garcia}}x}"), ("mrn", r"{\rtf1 MRN-00\b 123\b0 456}"),
        ("name", b64("was seen by Garcia today")), ("ssn", b64("<p>123-45-<b>6789</b></p>")), ("name", b64(r"{\rtf1 Mr Gar{\b cia} was}")),
        ("name", base64.encodebytes(("was well. " * 20 + "Maria García").encode()).decode()), ("name", b64(b64("was seen by Garcia today"))),
        ("name", "&lt;b&gt;Gar&lt;/b&gt;cia"),
    ],
)  # fmt: skip
def test_what_stands_in_markup_and_base64_is_found(find: Finder, kind: str, text: str) -> None:
    assert (kind, True) in find([text], "s1", text=True)
    assert (kind, True) in find(["", "plain", text, None], "s1")


@pytest.mark.parametrize(
    "text",
    [
        "BP <120 and >90", "a <b and c> d", "AT&T", b64("nobody was seen here today"), "<p align='center'>x</p>",
        r"{\rtf1 nobody}", "{\\rtf", "<", "&#", "=" * 20,
    ],
)  # fmt: skip
def test_markup_of_nobody_passes(find: Finder, text: str) -> None:
    assert find([text], "s1", text=True) == []


@pytest.mark.parametrize("piece", ["<a ", "<!-- ", "&#71;", "<b>x</b>", "{\\rtf1 ", "\\b", "<", "A1b2", "\\u71?"])
def test_opening_takes_linear_time(piece: str) -> None:
    times = []
    for size in (100_000, 800_000):
        column = pa.array(["{\\rtf1 " * piece.startswith("\\") + piece * (size // len(piece))], pa.large_string())
        began = time.perf_counter()
        assert len(opened(column)) == 1
        times.append(time.perf_counter() - began)
    assert times[1] < 40 * max(times[0], 0.02)


SUBJECTS = [f"p{n}" for n in range(40)]
COLOURS = ["White", "Black", "Young", "Long"]


def named(n: int) -> str:
    return "White" if n == 7 else f"{'BCDFGHJKLM'[n % 10]}{'aeio'[n // 10]}rvick"


@pytest.fixture
def cells(finder: Make) -> Finder:
    """Forty people of whom one is called White; each has a surname of their own, a short id and a number."""
    return finder({s: [("name", named(n), "last"), ("id", str(n + 1), "pid"), ("mrn", f"7{n:06}1", "mrn")] for n, s in enumerate(SUBJECTS)})


def test_a_category_that_others_hold_is_nobodys_name(cells: Finder) -> None:
    race = [COLOURS[n % 4] for n in range(40)]
    race[7] = "White"
    assert cells(race, SUBJECTS) == []
    assert cells([f"{value} or other" for value in race], SUBJECTS) == []


def test_a_category_that_too_few_others_hold_may_be_the_name(cells: Finder) -> None:
    race = ["Black"] * 40
    race[7] = race[8] = race[9] = race[10] = "White"
    assert cells(race, SUBJECTS) == [("name", True)]
    assert cells(race, SUBJECTS, allowed={"c": ["White", "Black"]}) == []


def test_cells_that_come_as_a_list_of_distinct_ones_are_read_alike(cells: Finder) -> None:
    race = pa.array([COLOURS[n % 4] for n in range(36)] + [None, named(37), named(38), "80000017"])
    listed = race.dictionary_encode()
    assert cells(listed, SUBJECTS) == cells(race, SUBJECTS) == [("name", True)]
    # A file's list holds values that stand in other rows alone.
    assert cells(listed.slice(30), SUBJECTS[30:]) == cells(race.slice(30), SUBJECTS[30:])
    allowed = {"c": [*COLOURS, named(37), named(38)]}
    assert cells(listed, SUBJECTS, allowed=allowed) == cells(race, SUBJECTS, allowed=allowed) == []


def test_a_category_is_settled_once_and_names_are_found_after_it(tmp_path: Path) -> None:
    needles = needles_of({s: [("name", named(n), "last")] for n, s in enumerate(SUBJECTS)}, tmp_path / "needles")
    race = [["White"] * 40, [named(n) if n == 3 else "White" for n in range(40)]]
    batches = iter([pa.RecordBatch.from_arrays([pa.array(cells)], names=["c"]) for cells in race])
    (leak,) = search(batches, iter([pa.array(SUBJECTS)] * 2), needles, table="t")
    assert (leak.kind, leak.own, leak.rows, leak.first) == ("name", True, 1, (43,))


@pytest.mark.parametrize(
    "write", [str, str.upper, str.lower, "Patient {}".format, "{}, X.".format], ids=["as is", "upper", "lower", "in words", "comma"]
)
def test_a_column_of_names_never_passes(cells: Finder, write: Callable[[str], str]) -> None:
    assert cells([write(named(n)) for n in range(40)], SUBJECTS) == [("name", True)]


def test_a_column_of_one_shared_surname_never_passes(finder: Make) -> None:
    find = finder({s: [("name", "Smith", "last")] for s in SUBJECTS})
    assert find(["Smith"] * 40, SUBJECTS) == [("name", True)]


def test_a_place_in_a_quasi_identifier_is_shared_and_a_name_there_is_a_leak(find: Finder) -> None:
    assert find(["Springfield", "1950-03-04"], "s1", quasi=True) == []
    assert find(["Springfield", "1950-03-04"], "s1") == [("address", True), ("date", True)]
    assert find(["Lopez"], "s1", quasi=True) == [("name", True)]
    assert find(["123456"], "s1", quasi=True) == [("mrn", True)]


def test_a_single_name_in_a_column_of_cells_is_found(cells: Finder) -> None:
    assert cells([None] * 7 + ["white"] + [None] * 32, SUBJECTS) == [("name", True)]


def test_short_ids_are_found_where_they_fill_a_column(cells: Finder) -> None:
    assert cells(pa.array(range(1, 41), pa.int32()), SUBJECTS) == [("id", True)]
    assert cells([f"{n:03}" for n in range(1, 41)], SUBJECTS) == [("id", True)]
    assert cells(pa.array([n % 5 for n in range(40)]), SUBJECTS) == []
    assert cells([f"visit {n}" for n in range(1, 41)], SUBJECTS, text=True) == []


@pytest.mark.parametrize("type", [pa.int64(), pa.float64(), pa.string(), pa.decimal128(20, 0), pa.large_string(), pa.uint32()], ids=str)
def test_numbers_are_found_whatever_the_columns_type(cells: Finder, type: pa.DataType) -> None:
    numbers = pa.array([70000001 + 10 * n for n in range(40)]).cast(type)
    assert cells(numbers, SUBJECTS) == [("mrn", True)]
    assert cells(numbers.slice(3, 1), ["p9"]) == [("mrn", False)]


def test_nested_and_encoded_columns_are_read(find: Finder) -> None:
    assert find(pa.array([["well"], ["seen Maria"]]), "s1") == [("name", True)]
    assert find(pa.array([{"a": 1, "b": ["x", "Lopez"]}]), "s1") == [("name", True)]
    assert find(pa.array(["Lopez", None, "Lopez"]).dictionary_encode(), "s1") == [("name", True)]
    assert find(pa.array([b"\xffLopez"]), "s1") == [("name", True)]
    assert find(pa.array([None, None]), "s1") == []
    assert find(pa.array([], pa.string()), []) == []


def test_a_column_that_cannot_be_read_stops_the_release(find: Finder) -> None:
    with pytest.raises(StepFailed, match=r"leak gate t\.c"):
        find(pa.array([dt.timedelta(1)]), "s1")


def test_chance_numbers_of_others_do_not_stop_a_release_but_many_do(finder: Make) -> None:
    rng = np.random.default_rng(0)
    find = finder({f"p{n}": [("mrn", f"{1_000_000 + n * 9}", "mrn")] for n in range(1000)})
    chance = pa.array(rng.integers(1_000_000, 9_999_999, 20_000))
    assert np.isin(chance.to_numpy(), 1_000_000 + np.arange(1000) * 9).sum() > 0
    assert find(chance, ["p0"] * 20_000) == []
    place = np.arange(20_000)
    planted = pa.array(np.where(place % 100 == 0, 1_000_000 + 9 * (place // 100), chance.to_numpy()))
    assert find(planted, ["p500"] * 20_000) == [("mrn", False)]


def test_of_many_ids_of_records_one_in_a_column_of_codes_is_chance_but_a_column_of_them_is_none(finder: Make) -> None:
    rng = np.random.default_rng(1)
    own = rng.permutation(900_000)[:20_000] + 100_000
    people = [f"p{n % 20}" for n in range(20_000)]
    find = finder({f"p{s}": [("id", str(i), "measurement_id") for i in own[s::20]] for s in range(20)})
    codes = rng.choice(rng.integers(100_000, 999_999, 400), 20_000)
    codes[np.flatnonzero(np.arange(20_000) % 20 == 3)[:50]] = own[3]
    assert find(pa.array(codes), people) == []
    assert find(pa.array(own), people) == [("id", True)]
    assert find([f"measurement {own[3]} of today"], ["p3"], text=True) == [("id", True)]
    assert find([f"measurement {own[3]} of today"], ["p4"], text=True) == []


def test_the_day_within_the_id_of_a_record_is_no_hit_and_its_number_is_one(finder: Make) -> None:
    find = finder({"s1": [("id", "LAB20210323_1176586", "message"), ("id", "REQ-20190704", "request"), ("mrn", "M20180501-77001", "mrn")]})
    assert find(["2021-03-23"], "s1", shifted=True) == []
    assert find(["seen on 2021-03-23"], "s1", text=True) == []
    for said in ("LAB20210323_1176586", "lab 20210323 1176586", "no 1176586", "request 20190704", "chart 20180501"):
        assert find([said], "s1", text=True), said


def test_days_of_birth_are_found_in_columns_of_dates(finder: Make) -> None:
    born = [dt.date(1950, 1, 1) + dt.timedelta(n * 31) for n in range(40)]
    find = finder({s: [("date", day.isoformat(), "born")] for s, day in zip(SUBJECTS, born, strict=True)})
    moved = [day + dt.timedelta(100) for day in born]
    for column in (pa.array(born), pa.array(born).cast(pa.timestamp("us")), pa.array([f"{d:%m/%d/%Y}" for d in born])):
        assert find(column, SUBJECTS) == [("date", True)]
        assert find(column, SUBJECTS, shifted=True) == [("date", True)]
    assert find(pa.array(moved), SUBJECTS, shifted=True) == []
    assert find(pa.array([born[0], *moved[1:]]), SUBJECTS, shifted=True) == []
    assert find(pa.array([born[0], *moved[1:]]), SUBJECTS) == [("date", True)]


def test_a_result_names_places_and_counts_but_no_value(tmp_path: Path) -> None:
    needles = needles_of(PEOPLE, tmp_path)
    cells = pa.array(["x", "Maria", "x", "Kowalczyk"] * 10)
    found = search_column(needles, cells, ["s1"] * 40, text=True)
    assert [leak.counts() for leak in found] == [
        {"table": "t", "column": "c", "kind": "name", "rows": 10, "own": True, "first": [1, 5, 9, 13, 17]}
    ]
    said = json.dumps([leak.counts() for leak in found]) + str(found[0]) + json.dumps(needles.counts)
    for record in PEOPLE.values():
        assert not any(value.lower() in said.lower() for _, value, _ in record)


def test_needles_on_disk_hold_no_value_and_are_the_same_again(tmp_path: Path) -> None:
    first, second = needles_of(PEOPLE, tmp_path / "a"), needles_of(dict(reversed(PEOPLE.items())), tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        data = file.read_bytes()
        assert data == (tmp_path / "b" / file.name).read_bytes()
        assert not any(value.encode() in data for record in PEOPLE.values() for _, value, _ in record)
    assert first.counts == second.counts
    assert (np.diff(first.own.hash) > 0).all()
    assert len(Needles.open(tmp_path / "a", Key("env:ANONYMIZE_KEY", "other")).own.hash) == len(first.own.hash)


def test_what_is_not_searched_for_is_counted(tmp_path: Path) -> None:
    needles = needles_of({"a": [("name", "Unknown", "n"), ("name", "X", "m"), ("name", "Ito", "l"), ("age", "44", "age")]}, tmp_path)
    assert needles.counts["values"] == {"name": 3, "age": 1}
    assert needles.counts["unsearched"] == {"name": 2, "age": 1}


def test_a_value_of_many_subjects_is_nobodys_in_others_rows(finder: Make) -> None:
    find = finder({f"p{n}": [("phone", "555-000-1111", "phone"), ("phone", f"555-222-{n:04}", "cell")] for n in range(12)})
    assert find(["555-000-1111"], ["p99"], text=True) == []
    assert find(["555-000-1111"], ["p3"], text=True) == [("phone", True)]
    assert find(["555-222-0004"], ["p99"], text=True) == [("phone", False)]


def test_no_identifiers_no_leaks(finder: Make) -> None:
    assert finder({})(["Maria 123456789"], "s1") == []


def test_subjects_that_do_not_stand_beside_the_rows_stop_the_release(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(["x", "y"])], names=["c"])
    needles = needles_of(PEOPLE, tmp_path)
    with pytest.raises(StepFailed, match="fewer subjects than rows"):
        search(iter([batch]), iter([pa.array(["s1"])]), needles, table="t")
    with pytest.raises(StepFailed, match="more subjects than rows"):
        search(iter([batch]), iter([pa.array(["s1", "s1", "s2"])]), needles, table="t")
    assert search(iter([batch, batch]), iter([pa.array(["s1"]), pa.array(["s1"] * 3)]), needles, table="t") == []


def test_hits_of_several_batches_and_slices_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anonymize.validate.tokens.SLICE_BYTES", 64)
    needles = needles_of(PEOPLE, tmp_path)
    texts = [("word " * 20 + "Maria") if n % 7 == 3 else "word " * (n % 9) for n in range(70)]
    batches = [pa.RecordBatch.from_arrays([pa.array(texts[low : low + 13])], names=["c"]) for low in range(0, 70, 13)]
    subjects = [pa.array(["s1"] * batch.num_rows) for batch in batches]
    found = search(iter(batches), iter(subjects), needles, table="t")
    assert [(leak.kind, leak.rows, leak.first) for leak in found] == [("name", 10, (3, 10, 17, 24, 31))]


def test_a_note_of_five_megabytes_is_searched_to_its_end(find: Finder) -> None:
    note = "The patient is stable, BP 120/80 on 2010-01-01. " * 105_000
    assert find([note], "s1", text=True) == []
    assert find([note + "García"], "s1", text=True) == [("name", True)]


FILL = st.text(st.sampled_from(" \n\t.,;:()[]<>/\\\"'*|=_-!?&%$@#abcdefgh0123456789éßЖ中\u200b"), max_size=40)
WRAP = st.sampled_from([" {} ", "({})", "[{}]", "\n{}\n", '"{}"', "<p>{}</p>", "/{}/", ":{};", ",{},", "={}&", "|{}|", "{}.", "'{}'", "_{}_"])
CASES = st.sampled_from([str, str.upper, str.title, str.lower])
PLANTED = st.sampled_from([(s, kind, value) for s, record in PEOPLE.items() for kind, value, _ in record if kind not in ("date", "age")])


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Needles:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANONYMIZE_KEY", "k" * 40)
        return needles_of(PEOPLE, tmp_path_factory.mktemp("needles"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILL, PLANTED, WRAP, CASES, FILL, st.booleans())
def test_an_identifier_planted_anywhere_is_found(
    people: Needles, before: str, planted: tuple[str, str, str], wrap: str, case: Callable[[str], str], after: str, text: bool
) -> None:
    subject, kind, value = planted
    if kind == "name" and case is str.lower and value in ("Hope", "White", "Ng", "Lee"):
        case = str.upper
    cell = before + " " + wrap.format(case(value)) + " " + after
    found = search_column(people, pa.array(["-", cell, None]), [subject] * 3, text=text)
    assert (kind, True, (1,)) in [(leak.kind, leak.own, leak.first) for leak in found]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9), st.dates(dt.date(1920, 1, 1), dt.date(2030, 1, 1)), st.lists(st.integers(0, 10**7), min_size=5, max_size=40))
def test_pseudonyms_tags_and_shifted_dates_are_no_leaks(
    tmp_path_factory: pytest.TempPathFactory, seed: int, day: dt.date, ids: list[int]
) -> None:
    key = Key("env:ANONYMIZE_KEY", f"project {seed}")
    source = pa.array([str(i) for i in ids])
    subjects = pseudonymize(source, key, namespace="subject")
    known = {
        s: [*HOPE, ("name", "Lee", "x"), ("mrn", f"{i:08}", "m"), ("date", f"{day}", "d")]
        for s, i in zip(subjects.to_pylist(), ids, strict=True)
    }
    needles = needles_of(known, tmp_path_factory.mktemp("needles"))
    moved = dates.shift(pa.array([day] * len(ids)), dates.offsets(source, key))
    texts = pa.array([f"[NAME] ([MRN]) was seen on {d:%m/%d/%Y}, [DATE]" for d in moved.to_pylist()])
    for column, options in (
        (subjects, {}), (pseudonymize(source, key), {}), (pseudonymize(pa.array(ids), key), {}),
        (moved, {"shifted": True}), (texts, {"text": True}),
        (pa.array([f"{p} {d}" for p, d in zip(subjects.to_pylist(), moved.to_pylist(), strict=True)]), {"text": True}),
    ):  # fmt: skip
        assert search_column(needles, column, subjects.to_pylist(), **options) == []  # type: ignore[arg-type]


def test_a_day_in_a_text_may_be_chance_only_where_the_dates_of_texts_are_shifted(tmp_path: Path) -> None:
    shifted = Columns.of(load(hospital.policy(tmp_path)), "note")
    cut = Columns.of(load(hospital.policy(tmp_path, hospital.SAFE_HARBOR)), "note")
    assert shifted.text == cut.text == {"body"}
    assert (shifted.shifted, cut.shifted) == ({"body", "written"}, frozenset())
