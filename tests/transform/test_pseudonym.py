"""Pseudonyms: equal for equal ids, typed, of fixed length, and another's under another key, project or namespace."""

from __future__ import annotations

import hmac
import pickle

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.errors import KeyMissing
from anonymize.keys import Key
from anonymize.transform import dates, pseudonym
from anonymize.transform.digests import digests
from anonymize.transform.pseudonym import TEXT_LENGTH, pseudonymize


@pytest.fixture
def key() -> Key:
    return Key("env:ANONYMIZE_KEY", "project")


def test_equal_ids_get_equal_pseudonyms_and_nulls_stay(key: Key) -> None:
    first, second, blank, none = pseudonymize(pa.array(["17", "18", " 17 ", None]), key).to_pylist()
    assert first == blank != second
    assert none is None
    assert len(first) == TEXT_LENGTH


def test_whole_numbers_stay_whole_numbers(key: Key) -> None:
    made = pseudonymize(pa.array([17, None, 17], pa.int32()), key)
    assert made.type == pa.int64()
    assert made[0] == made[2]
    assert made[1].as_py() is None
    assert made[0].as_py() > 0


def test_project_and_namespace_separate(key: Key) -> None:
    ids = pa.array(["17"])
    other = Key("env:ANONYMIZE_KEY", "other")
    made = {pseudonymize(ids, key)[0], pseudonymize(ids, key, namespace="subject")[0], pseudonymize(ids, other)[0]}
    assert len({one.as_py() for one in made}) == 3


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), max_size=30))
def test_no_id_stands_in_its_pseudonym_and_none_collide(ids: list[str]) -> None:
    import os

    os.environ["ANONYMIZE_KEY"] = "k" * 40
    made = pseudonymize(pa.array(ids, pa.string()), Key("env:ANONYMIZE_KEY", "p")).to_pylist()
    assert len(set(made)) == len({one.strip() for one in pa.compute.utf8_trim_whitespace(pa.array(ids, pa.string())).to_pylist()})


def test_no_key_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANONYMIZE_KEY")
    with pytest.raises(KeyMissing, match="openssl rand"):
        Key("env:ANONYMIZE_KEY", "project")
    monkeypatch.setenv("ANONYMIZE_KEY", "short")
    with pytest.raises(KeyMissing, match="32 are needed"):
        Key("env:ANONYMIZE_KEY", "project")


def test_a_key_pickles_and_prints_without_its_bytes(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    secret = os.environ["ANONYMIZE_KEY"]
    key.derive("pseudonym")
    pickled = pickle.dumps(key)
    assert secret.encode() not in pickled
    assert key.derive("pseudonym") not in pickled
    assert secret not in repr(key)
    assert pickle.loads(pickled).derive("pseudonym") == key.derive("pseudonym")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([f" {n} " if n % 7 else None for n in range(5_000)]),
        pa.array([n if n % 7 else None for n in range(-50, 5_000)]),
        pa.array(["é" * (n % 90) for n in range(5_000)]),
        pa.array([str(n) * 3 for n in range(9_000)]).slice(17),
    ],
    ids=["texts", "numbers", "of every length", "slice"],
)
def test_many_at_once_are_what_each_is_alone(column: pa.Array, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    many = pseudonymize(column, key), dates.offsets(column, key)
    many[0].validate(full=True)
    monkeypatch.setattr(pseudonym, "MANY", 1 << 60)
    monkeypatch.setattr(dates, "MANY", 1 << 60)
    assert (pseudonymize(column, key), dates.offsets(column, key)) == many


def test_digests_are_those_of_pythons_hmac() -> None:
    values = ["", *("x" * n for n in range(130)), "Zoë", "日本"]
    found = digests(b"s" * 32, pa.array(values))
    assert [row.astype(">u4").tobytes() for row in found] == [hmac.digest(b"s" * 32, value.encode(), "sha256") for value in values]
