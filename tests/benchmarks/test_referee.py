"""The outside referee on Adult: it finds people in the source and nobody in a release."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.privacy import cases, referee


def test_anonymeter_singles_out_the_source_and_no_release(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anonymeter", reason="requirements-referee.txt is not installed")
    monkeypatch.setattr(cases, "DATA", data_dir)
    monkeypatch.setattr(referee, "ATTACKS", 100)
    monkeypatch.setattr(referee, "ATTEMPTS", 1_000)
    rows, _, _ = cases.load("adult")
    found = {}
    for name, people, control, published in referee.releases(rows):
        known = [column for column in people.columns if column != referee.SECRET]
        judge = referee._singling_out(*(referee._texts(frame[known]) for frame in (people, published, control)))
        found[name] = judge.results().n_success
        if name != "source":
            sizes = published.groupby(known, observed=True).size()
            assert sizes.min() >= referee.K
            assert found[name] == 0, "no query that matches one row of the release matches one person"
    assert found["source"] > 10
    assert len(found) == 3


@pytest.mark.parametrize("name", ["local, k = 5"])
def test_people_stand_in_the_words_of_their_release(name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "DATA", data_dir)
    rows, _, _ = cases.load("adult")
    _, people, control, published = next(one for one in referee.releases(rows) if one[0] == name)
    assert len(people) == len(published), "local recoding suppresses nobody"
    assert sorted(people.value_counts().items()) == sorted(published.value_counts().items())
    assert len(control) == referee.CONTROL
