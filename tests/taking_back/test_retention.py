"""Versions expire by the policy; what somebody pinned is announced before it goes, and not deleted before the announced day."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anonymize import trail
from anonymize.cli import cli
from anonymize.errors import AnonymizeError, PolicyError, StoreError
from anonymize.policy.model import Policy
from anonymize.publish import Store, open_version
from anonymize.publish import store as store_module
from anonymize.publish.backends import open_backend
from anonymize.publish.pins import announcement, pins
from anonymize.taking_back.retention import due, end_of, expire, pin, unpin
from anonymize.trail import verify
from anonymize.trail.lines import parse
from tests.publish.test_store import Dying, Killed
from tests.taking_back.conftest import make_policy, make_version
from tests.taking_back.test_killed import readers_are_well, restore, snapshot

TODAY = date(2026, 11, 22)
DAY = timedelta(days=1)


def keeping(folder: Path, store: str, keep: str) -> Policy:
    policy = make_policy(folder, store)
    policy.file.write_text(policy.file.read_text().replace("title: ICU stays", f"title: ICU stays, keep: {keep}"))
    from anonymize.policy.loader import load

    return load(policy.file)


def three(policy: Policy, root: Path) -> list[str]:
    return [make_version(policy, root, range(6), hours=hours) for hours in (0, 24 * 30, 24 * 60)]


def actions(policy: Policy) -> list[str]:
    assert verify(trail.open_trail(policy)).findings == ()
    return [line.action for data in trail.open_trail(policy).lines() if (line := parse(data)) is not None]


def test_the_newest_versions_stay_and_the_others_go(tmp_path: Path, store_uri: str) -> None:
    policy = keeping(tmp_path, store_uri, "2 versions")
    versions = three(policy, tmp_path)
    assert [one.version for one in due(policy, today=TODAY)] == versions[:1]
    said: list[str] = []
    assert expire(policy, by="Ada Steward", today=TODAY, say=said.append) == []
    assert said == [f"{versions[0]}: expired and deleted"]
    store = Store(store_uri)
    assert store.versions("icu") == versions[1:]
    with pytest.raises(StoreError, match=f"was expired on 2026-11-22: expired: the policy keeps 2 versions.* Use {versions[2]}"):
        store.open("icu", versions[0])
    assert store.backend.files(f"icu/versions/{versions[0]}") == ["tombstone.json"]
    assert expire(policy, by="Ada Steward", today=TODAY) == []
    assert actions(policy) == ["expired", "tombstoned"]


@pytest.mark.parametrize(("keep", "today", "number"), [("30 days", 20, 0), ("30 days", 30, 1), ("1 month", 61, 2), ("1 year", 9999, 2)])
def test_the_newest_never_expires(tmp_path: Path, folder: str, keep: str, today: int, number: int) -> None:
    policy = keeping(tmp_path, folder, keep)
    versions = three(policy, tmp_path)
    assert [one.version for one in due(policy, today=date(2026, 11, 21) + today * DAY)] == versions[:number]


@pytest.mark.parametrize(
    ("start", "number", "unit", "end"),
    [
        (date(2024, 2, 29), 1, "year", date(2025, 2, 28)),
        (date(2026, 1, 31), 1, "month", date(2026, 2, 28)),
        (date(2026, 11, 21), 14, "month", date(2028, 1, 21)),
        (date(2026, 11, 21), 10, "day", date(2026, 12, 1)),
    ],
)
def test_the_day_on_which_a_time_is_over(start: date, number: int, unit: str, end: date) -> None:
    assert end_of(start, number, unit) == end


def test_what_is_pinned_is_announced_and_goes_on_the_announced_day(tmp_path: Path, folder: str) -> None:
    policy = keeping(tmp_path, folder, "1 version")
    old, middle, _ = three(policy, tmp_path)
    store = Store(folder)
    pin(store, "icu", old, by="R. Searcher", until=TODAY + 90 * DAY, today=TODAY)
    pin(store, "icu", old, by="B. Other", until=TODAY + 5 * DAY, today=TODAY)
    [one] = expire(policy, by="Ada", today=TODAY)
    assert (one.version, one.goes, set(one.pinned_by)) == (old, TODAY + 90 * DAY, {"R. Searcher", "B. Other"})
    assert middle not in store.versions("icu")
    page = (Path(folder) / "icu" / "index.html").read_text()
    assert "goes on 2027-02-20: expired: the policy keeps 1 version" in page
    assert "goes on 2027-02-20" in CliRunner().invoke(cli, ["datasets", folder]).output
    with pytest.raises(AnonymizeError, match="goes on 2027-02-20"):
        pin(store, "icu", old, by="C. Late", until=TODAY + 900 * DAY, today=TODAY)
    unpin(store, "icu", old, by="R. Searcher")
    for later in (1, 40, 89):
        expire(policy, by="Ada", today=TODAY + later * DAY)
        assert old in store.versions("icu")
    assert expire(policy, by="Ada", today=TODAY + 90 * DAY) == []
    assert old not in store.versions("icu")
    assert pins(store, "icu", old) == []
    assert announcement(store, "icu", old) is None
    assert actions(policy).count("announced") == 1


def test_a_pin_that_ran_out_keeps_nothing_and_a_short_one_gets_the_notice(tmp_path: Path, folder: str) -> None:
    policy = keeping(tmp_path, folder, "1 version, notice-days: 10")
    old, middle, _ = three(policy, tmp_path)
    store = Store(folder)
    pin(store, "icu", old, by="A", until=TODAY, today=TODAY)
    pin(store, "icu", middle, by="B", until=TODAY + 2 * DAY, today=TODAY)
    [one] = expire(policy, by="Ada", today=TODAY + DAY)
    assert (one.version, one.goes) == (middle, TODAY + 11 * DAY)
    assert old not in store.versions("icu")


@pytest.mark.parametrize("keep", ["5", "0 versions", "many versions", "-1 days", "5 weeks"])
def test_a_span_that_is_none_is_refused(tmp_path: Path, keep: str) -> None:
    with pytest.raises(PolicyError, match=r"keep takes a number of versions, years, months or days|in quotes"):
        keeping(tmp_path, str(tmp_path / "store"), keep)


def test_a_policy_that_keeps_all_says_so(tmp_path: Path, policy: Policy) -> None:
    with pytest.raises(AnonymizeError, match="the policy keeps all versions"):
        due(policy)


def test_an_expiry_killed_anywhere_ends_the_same(tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = keeping(tmp_path / "first", store_uri, "1 version")
    old, newest = [make_version(first, tmp_path, range(6), hours=hours) for hours in (0, 24)]
    before = snapshot(store_uri)
    dead = 0
    for step in range(4, 60, 10) if "://" in store_uri else range(1, 60, 2):
        restore(store_uri, before)
        policy = keeping(tmp_path / f"step-{step}", store_uri, "1 version")
        with monkeypatch.context() as patch:
            dying = Dying(open_backend(store_uri), step, half=step % 4 == 1)
            patch.setattr(store_module, "open_backend", lambda uri, dying=dying: dying)
            try:
                expire(policy, by="Ada", today=TODAY)
            except Killed:
                dead += 1
            else:
                break
        readers_are_well(store_uri)
        assert open_version(store_uri, "icu").manifest.version == newest
        expire(policy, by="Ada", today=TODAY)
        assert open_backend(store_uri).files(f"icu/versions/{old}") == ["tombstone.json"]
        assert actions(policy) == ["expired", "tombstoned"]
    assert dead >= (2 if "://" in store_uri else 9)


def test_the_commands(tmp_path: Path, folder: str) -> None:
    policy = keeping(tmp_path, folder, "2 versions")
    old, *_ = three(policy, tmp_path)

    def run(*words: str, **environment: str) -> Any:
        return CliRunner(env=environment).invoke(cli, list(words), catch_exceptions=False)

    known = {"ANONYMIZE_POLICIES": str(tmp_path)}
    assert (
        f"icu {old} is pinned by R. Searcher until 2099-01-01"
        in run("pin", "icu", old, "--by", "R. Searcher", "--until", "2099-01-01", **known).output
    )
    assert f"{old}: goes on 2099-01-01, pinned by R. Searcher" in run("expire", str(policy.file), "--dry-run").output
    assert run("unpin", "icu", old, "--by", "R. Searcher", ANONYMIZE_STORE=folder).exit_code == 0
    assert f"{old}: expired and deleted" in run("expire", "--dataset", "icu", "--as", "Ada", **known).output
    assert actions(policy) == ["pinned", "expired", "tombstoned"]
