"""Killed at any write, a retraction leaves every reader with a whole version and a true trail, and ends the same when called again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anonymize import trail
from anonymize.publish import Store, open_version
from anonymize.publish import store as store_module
from anonymize.publish.backends import open_backend
from anonymize.taking_back import retracting, withheld
from anonymize.taking_back.retracting import resume, retract
from anonymize.trail import verify
from anonymize.trail.lines import parse
from tests.publish.test_store import Dying, Killed
from tests.taking_back.conftest import make_policy, make_version

WHY = {"reason": "erasure", "by": "Ada Steward"}
pytestmark = pytest.mark.timeout(400)


def snapshot(uri: str) -> dict[str, bytes]:
    backend = open_backend(uri)
    return {f"icu/{path}": backend.read_bytes(f"icu/{path}") or b"" for path in backend.files("icu")}


def restore(uri: str, files: dict[str, bytes]) -> None:
    backend = open_backend(uri)
    backend.delete("icu")
    for path, data in files.items():
        backend.put_bytes(path, data)


def said(policy: Any) -> list[str]:
    """The actions on the trail, which nobody tampered with."""
    assert verify(trail.open_trail(policy)).holds
    return [line.action for data in trail.open_trail(policy).lines() if (line := parse(data)) is not None]


def readers_are_well(uri: str) -> None:
    """Whoever opens the dataset, or lists it and opens a version, reads a whole one."""
    store = Store(uri)
    for name in ["latest", *store.versions("icu")]:
        problems = [p for p in open_version(uri, "icu", name).verify() if "not in the manifest" not in p]
        assert problems == []


def steps(uri: str) -> range:
    """S3 as moto speaks it is slow: some of the steps there, every third one in a folder."""
    return range(4, 100, 9) if "://" in uri else range(1, 100, 3)


def test_a_retraction_killed_anywhere_in_the_store(tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_policy(tmp_path / "first", store_uri)
    old = make_version(first, tmp_path, range(24))
    before = snapshot(store_uri)
    aim = retract(first, ["7"], **WHY).versions[0].replaced_by
    dead = 0
    for step in steps(store_uri):
        restore(store_uri, before)
        policy = make_policy(tmp_path / f"step-{step}", store_uri)
        with monkeypatch.context() as patch:
            dying = Dying(open_backend(store_uri), step, half=step % 2 == 1)
            patch.setattr(store_module, "open_backend", lambda uri, dying=dying: dying)
            try:
                retract(policy, ["7"], **WHY)
            except Killed:
                dead += 1
            else:
                break
        readers_are_well(store_uri)
        assert open_version(store_uri, "icu").manifest.version in (old, aim)
        assert set(said(policy)) <= {"retract-asked", "republished", "tombstoned"}
        [proof] = resume(policy) if step % 4 else [retract(policy, ["7"], **WHY)]
        assert [one.replaced_by for one in proof.versions] == [aim]
        assert Store(store_uri).versions("icu") == [aim]
        assert open_version(store_uri, "icu", verify=True).manifest.version == aim
        assert open_backend(store_uri).files(f"icu/versions/{old}") == ["tombstone.json"]
        assert not [path for path in snapshot(store_uri) if ".tmp" in path or ".publishing" in path]
        assert sorted(said(policy)) == sorted(["retract-asked", "republished", "tombstoned", "retracted"])
    assert dead >= (4 if "://" in store_uri else 14)


def test_a_retraction_of_encrypted_columns_killed_on_its_way_ends_with_one_version(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every encryption gives other bytes: what was sealed before the end is what is published after it."""
    for name in ("ICU_FOOTER", "ICU_TEXT"):
        monkeypatch.setenv(name, f"the secret of {name}, 0123456789 0123456789")
    encrypted = ", encryption: {footer: env:ICU_FOOTER, columns: {note.body: env:ICU_TEXT}}"
    old = make_version(make_policy(tmp_path, folder, release=encrypted), tmp_path, range(24))
    before = snapshot(folder)
    for step in (4, 13):
        restore(folder, before)
        policy = make_policy(tmp_path / f"step-{step}", folder, release=encrypted)
        with monkeypatch.context() as patch:
            dying = Dying(open_backend(folder), step, half=True)
            patch.setattr(store_module, "open_backend", lambda uri, dying=dying: dying)
            with pytest.raises(Killed):
                retract(policy, ["7"], **WHY)
        readers_are_well(folder)
        [proof] = resume(policy)
        made = proof.versions[0].replaced_by
        assert Store(folder).versions("icu") == [made] != [old]
        assert open_version(folder, "icu", verify=True).dataset("note").count_rows() == 23
        assert sorted(said(policy)) == sorted(["retract-asked", "republished", "tombstoned", "retracted"])


def test_a_retraction_killed_between_its_own_writes(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_policy(tmp_path / "first", folder)
    make_version(first, tmp_path, range(24))
    before = snapshot(folder)
    aim = retract(first, ["7"], **WHY).versions[0].replaced_by
    dead = 0
    for step in range(1, 40):
        restore(folder, before)
        policy = make_policy(tmp_path / f"step-{step}", folder)
        calls = iter(range(1, 100))

        def mortal(real: Any, calls: Any = calls, step: int = step) -> Any:
            def call(*given: Any, **options: Any) -> Any:
                if next(calls) == step:
                    raise Killed
                return real(*given, **options)

            return call

        with monkeypatch.context() as patch:
            for module in (retracting, withheld):
                patch.setattr(module, "write_whole", mortal(module.write_whole))  # type: ignore[attr-defined]
            patch.setattr(trail, "record", mortal(trail.record))
            try:
                retract(policy, ["7"], **WHY)
            except Killed:
                dead += 1
            else:
                break
        readers_are_well(folder)
        retract(policy, ["7"], **WHY)
        assert Store(folder).versions("icu") == [aim]
        actions = said(policy)
        assert actions.count("republished") == actions.count("tombstoned") == actions.count("retracted") == 1
        assert retracting.unfinished(policy) == []
    assert dead >= 8
