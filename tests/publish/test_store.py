"""A version is whole or absent, whatever ends a publish, in a folder and on S3."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from anonymize.errors import ReviewMissing, StoreError
from anonymize.publish import Store, catalogue, open_version, prepare, publish, review
from anonymize.publish import store as store_module
from anonymize.publish.backends import Folder, open_backend
from anonymize.publish.review import Decision
from tests.publish.conftest import START, make_facts, make_stage


def signed(stage: Path) -> Decision:
    return review.decide(review.request(stage), stage.parent / "review", approve=True, steward="A. Steward", reason="Looked at it", at=START)


def stages(root: Path, salt: int, *, run: str, hours: int) -> tuple[Path, Any]:
    stage = make_stage(root / run, salt=salt)
    facts = make_facts(stage, run=run, started=START + timedelta(hours=hours))
    prepare(stage, facts)
    return stage, facts


def everything(uri: str) -> dict[str, str | None]:
    """Every file of a store with its hash."""
    backend = open_backend(uri)
    return {path: backend.sha256(path) for path in backend.files("")} if isinstance(backend, Folder) else _remote(backend)


def _remote(backend: Any) -> dict[str, str | None]:
    return {f"icu/{path}": backend.sha256(f"icu/{path}") for path in backend.files("icu")}


def test_a_published_version_is_what_was_staged(stage: Path, store_uri: str) -> None:
    release = publish(stage, store_uri, make_facts(stage), signed(stage))
    assert release.version.startswith("20261121T101500Z-")
    assert release.version.endswith(release.manifest.content_sha256[:8])
    found = open_version(store_uri, "icu", verify=True)
    assert found.manifest == release.manifest
    assert found.dataset("patient").count_rows() == 40
    assert found.dataset("patient").schema.names == ["patient_id", "born", "zip3", "race"]
    assert [file.path for file in found.manifest.table("note").files] == ["data/note/part-00000.parquet", "data/note/part-00001.parquet"]
    assert found.manifest.decision is not None
    assert found.manifest.decision.files == {p.relative_to(stage).as_posix(): review.hash_file(p) for p in stage.rglob("*") if p.is_file()}
    paths = {path.partition(release.version)[2] for path in everything(store_uri)}
    assert paths >= {"/manifest.json", "/README.md", "/dictionary.csv", "/data/note/part-00001.parquet"}
    assert not any("publishing" in path or "tmp" in path for path in everything(store_uri))


def test_publishing_again_changes_nothing(stage: Path, store_uri: str) -> None:
    decision = signed(stage)
    first = publish(stage, store_uri, make_facts(stage), decision)
    before = everything(store_uri)
    assert publish(stage, store_uri, make_facts(stage), decision) == first
    assert everything(store_uri) == before


def test_another_run_cannot_take_a_versions_name(stage: Path, store_uri: str) -> None:
    decision = signed(stage)
    publish(stage, store_uri, make_facts(stage), decision)
    before = everything(store_uri)
    with pytest.raises(StoreError, match="published by run icu-1"):
        publish(stage, store_uri, make_facts(stage, run="icu-2"), decision)
    assert everything(store_uri) == before


def test_versions_stand_side_by_side_and_latest_is_the_newest_run(tmp_path: Path, store_uri: str) -> None:
    newer, newer_facts = stages(tmp_path, 2, run="icu-2", hours=2)
    older, older_facts = stages(tmp_path, 1, run="icu-1", hours=1)
    second = publish(newer, store_uri, newer_facts, signed(newer))
    first = publish(older, store_uri, older_facts, signed(older))
    assert Store(store_uri).versions("icu") == [first.version, second.version]
    assert open_version(store_uri, "icu").manifest.version == second.version
    assert open_version(store_uri, "icu", first.version, verify=True).manifest.run == "icu-1"


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """A backend whose n-th change of the store does half of its work, or all of it, and is the last thing its process does."""

    def __init__(self, backend: Any, at: int, *, half: bool) -> None:
        self.backend, self.left, self.half = backend, at, half

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self.backend, name)
        return self._mortal(name, verb) if name in ("put_file", "put_bytes", "create_bytes", "delete", "delete_file") else verb

    def _mortal(self, name: str, verb: Any) -> Any:
        def call(path: str, *rest: Any) -> Any:
            self.left -= 1
            if self.left > 0:
                return verb(path, *rest)
            if not self.half:
                verb(path, *rest)
            elif name.startswith(("put", "create")):
                data = rest[0].read_bytes() if name == "put_file" else rest[0]
                self._torn(path, data[: len(data) // 2])
            raise Killed

        return call

    def _torn(self, path: str, data: bytes) -> None:
        """What a killed write leaves: a folder keeps an unfinished file beside the true name, an object store may keep half an object."""
        if isinstance(self.backend, Folder):
            path = path.rpartition("/")[0] + f"/.{path.rpartition('/')[2]}.{socket.gethostname()}.999999999.tmp"
        self.backend.put_bytes(path, data)


@pytest.mark.parametrize("half", [True, False], ids=["half", "whole"])
def test_a_publish_that_is_killed_anywhere_leaves_a_whole_store_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    killed_at_every_step(tmp_path, str(tmp_path / "store"), monkeypatch, lambda step: half)


def test_a_publish_to_s3_that_is_killed_anywhere_leaves_a_whole_store_and_ends_the_same(
    tmp_path: Path, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is slow beside a folder, so each step is half done or done in turn."""
    killed_at_every_step(tmp_path, s3_uri, monkeypatch, lambda step: step % 2 == 1)


def killed_at_every_step(tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch, half: Callable[[int], bool]) -> None:
    old, old_facts = stages(tmp_path, 1, run="icu-1", hours=1)
    new, new_facts = stages(tmp_path, 2, run="icu-2", hours=2)
    first = publish(old, store_uri, old_facts, signed(old))
    aim = publish(new, undisturbed(store_uri), new_facts, signed(new))
    dead = 0
    for step in range(1, 100):
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "open_backend", lambda uri, step=step: Dying(open_backend(uri), step, half=half(step)))
            try:
                publish(new, store_uri, new_facts, signed(new))
            except Killed:
                dead += 1
            else:
                break
        catalogue_is_whole(store_uri)
        seen = open_version(store_uri, "icu", verify=False)
        assert seen.manifest.version in (first.version, aim.version)
        assert [p for p in seen.verify() if "not in the manifest" not in p] == []
        assert Store(store_uri).versions("icu")[0] == first.version
        assert publish(new, store_uri, new_facts, signed(new)).manifest == aim.manifest
        assert open_version(store_uri, "icu", verify=True).manifest == aim.manifest
        assert not any(".tmp" in path or ".publishing" in path for path in open_backend(store_uri).files("icu"))
        assert catalogue.rebuild(Store(store_uri)) == []
        open_backend(store_uri).delete(f"icu/versions/{aim.version}")
        Store(store_uri).settle("icu")
        catalogue.rebuild(Store(store_uri))
        open_backend(store_uri).delete_file(f"icu/{aim.version}.html")
    assert open_version(store_uri, "icu", first.version, verify=True).manifest == first.manifest
    assert dead >= 16  # every write: the mark, 4 data files, 7 documents, the manifest, the pointer, away with the mark, 3 pages


def catalogue_is_whole(uri: str) -> None:
    """Every page ends as pages end, and every version that the dataset's page names has its page. An object store may keep half an object
    of a page that a killed put was writing in a test; a real one does not (a put is whole or not at all), so there pages are not held to it."""
    backend = open_backend(uri)
    pages = {name: (backend.read_bytes(name) or b"").decode() for name in ("index.html", "icu/index.html")}
    if not isinstance(backend, Folder):
        return
    for name, page in pages.items():
        assert page.endswith("</html>"), name
    for version in re.findall(r'href="([^"/]+)\.html"', pages["icu/index.html"]):
        assert version == "index" or (backend.read_bytes(f"icu/{version}.html") or b"").endswith(b"</html>"), version


def undisturbed(uri: str) -> str:
    """Another store beside the one under test."""
    return uri.replace("/research", "/calm", 1) if "://" in uri else uri + "-calm"


def test_a_full_disk_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    old, old_facts = stages(tmp_path, 1, run="icu-1", hours=1)
    new, new_facts = stages(tmp_path, 2, run="icu-2", hours=2)
    first = publish(old, store, old_facts, signed(old))
    before = everything(str(store))
    real = os.fsync
    calls = iter(range(100))

    def full(handle: int) -> None:
        if next(calls) == 4:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"cannot write icu/versions/.*No space left on device"):
            publish(new, store, new_facts, signed(new))
    assert open_version(store, "icu", verify=True).manifest == first.manifest
    assert before.items() <= everything(str(store)).items()
    publish(new, store, new_facts, signed(new))
    assert open_version(store, "icu", verify=True).manifest.run == "icu-2"


def test_a_store_that_cannot_be_reached_says_so(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    uri = "s3://user:topsecret@bucket/x?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
    with pytest.raises(StoreError) as error:
        open_backend(uri).read_bytes("icu/latest.json")
    assert "cannot read icu/latest.json" in str(error.value)
    assert "topsecret" not in str(error.value)
    assert open_backend(uri).uri == "s3://bucket/x"


def test_a_manifest_and_the_pointer_are_one_put_on_s3(stage: Path, s3_uri: str, caplog: pytest.LogCaptureFixture) -> None:
    decision = signed(stage)
    with caplog.at_level("INFO", logger="werkzeug"):
        publish(stage, s3_uri, make_facts(stage), decision)
    writes = [record.getMessage() for record in caplog.records if '"PUT ' in record.getMessage() or '"POST ' in record.getMessage()]
    for name in ("manifest.json", "latest.json"):
        assert len([line for line in writes if f"{name} " in line]) == 1, name
        assert not [line for line in writes if f"{name}?" in line]
    order = [name for line in writes for name in ("data/", "manifest.json", "latest.json") if name in line]
    assert order[-2:] == ["manifest.json", "latest.json"]


def test_leftovers_of_killed_publishes_go_but_not_those_of_a_live_run(stage: Path, store_uri: str) -> None:
    backend = open_backend(store_uri)
    now, old = START.now(START.tzinfo), START.now(START.tzinfo) - timedelta(days=2)
    marks = {"live": ("icu-9", now), "killed": ("icu-8", old), "mine": ("icu-1", now)}
    for name, (run, at) in marks.items():
        backend.put_bytes(f"icu/versions/{name}/data/note/part-00000.parquet", b"x")
        backend.put_bytes(f"icu/versions/{name}/.publishing.json", json.dumps({"run": run, "at": at.isoformat()}).encode())
    backend.put_bytes("icu/versions/torn/manifest.json", b'{"format": 1, "data')
    if isinstance(backend, Folder):
        (backend.root / "icu" / "versions" / "begun").mkdir()  # by another publisher, a moment before it puts its mark
    release = publish(stage, store_uri, make_facts(stage), signed(stage))
    assert Store(store_uri).versions("icu") == [release.version]
    begun = ["begun"] if isinstance(backend, Folder) else []
    assert backend.folders("icu/versions") == sorted([release.version, "live", *begun])


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_only_what_was_signed_is_published(stage: Path, tmp_path: Path, change: str) -> None:
    decision = signed(stage)
    file = stage / "patient" / "part-00001.parquet"
    if change == "changed":
        file.write_bytes((stage / "patient" / "part-00000.parquet").read_bytes())
    elif change == "added":
        (stage / "patient" / "part-00002.parquet").write_bytes(file.read_bytes())
    else:
        file.unlink()
    with pytest.raises(ReviewMissing, match=f"{change} patient/part-0000"):
        publish(stage, tmp_path / "store", make_facts(stage), decision)
    assert not (tmp_path / "store").exists()


def test_a_file_that_changes_while_it_is_copied_publishes_nothing(stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Folder.put_file

    def meddled(self: Folder, path: str, source: Path) -> str:
        if path.endswith("note/part-00001.parquet"):
            source.write_bytes(b"other bytes")
        return real(self, path, source)

    decision = signed(stage)
    monkeypatch.setattr(Folder, "put_file", meddled)
    with pytest.raises(StoreError, match="changed while it was published"):
        publish(stage, tmp_path / "store", make_facts(stage), decision)
    assert Store(tmp_path / "store").versions("icu") == []


def test_a_release_without_review_needs_a_policy_that_asks_for_none(stage: Path, tmp_path: Path) -> None:
    with pytest.raises(ReviewMissing, match="waits for a steward"):
        publish(stage, tmp_path / "store", make_facts(stage), None)
    facts = make_facts(stage).model_copy(update={"review_required": False})
    assert publish(stage, tmp_path / "store", facts, None).manifest.decision is None


def test_a_staged_table_that_the_policy_does_not_name_is_refused(stage: Path, tmp_path: Path) -> None:
    (stage / "extra").mkdir()
    (stage / "extra" / "part-00000.parquet").write_bytes((stage / "note" / "part-00000.parquet").read_bytes())
    with pytest.raises(StoreError, match="of no table of this release"):
        publish(stage, tmp_path / "store", make_facts(stage), signed(stage))


def test_verification_finds_every_kind_of_damage(stage: Path, tmp_path: Path) -> None:
    release = publish(stage, tmp_path / "store", make_facts(stage), signed(stage))
    folder = Path(release.uri)
    (folder / "README.md").write_text("rewritten")
    (folder / "data/note/part-00000.parquet").unlink()
    (folder / "data/note/stray.parquet").write_bytes(b"")
    problems = open_version(tmp_path / "store", "icu").verify()
    assert [problem.partition(":")[0] for problem in problems] == ["data/note/part-00000.parquet", "README.md", "data/note/stray.parquet"]
    with pytest.raises(StoreError, match="is not what was published"):
        open_version(tmp_path / "store", "icu", verify=True)


@pytest.mark.parametrize("name", ["../icu", "a/b", "", ".hidden"])
def test_names_cannot_point_out_of_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError):
        Store(tmp_path).open("icu", name or "..")


def test_readers_are_told_what_there_is(stage: Path, tmp_path: Path) -> None:
    release = publish(stage, tmp_path / "store", make_facts(stage), signed(stage))
    with pytest.raises(StoreError, match=f"It has: {release.version}"):
        open_version(tmp_path / "store", "icu", "19990101T000000Z-00000000")
    with pytest.raises(StoreError, match="It has: patient, note"):
        open_version(tmp_path / "store", "icu").dataset("lab")


def _publish_until_killed(stage: Path, store: Path, run: str, hours: int) -> None:
    publish(stage, store, make_facts(stage, run=run, started=START + timedelta(hours=hours)), review.read_decision(stage.parent / "review"))


def test_publishers_at_the_same_time_end_with_all_versions_whole(tmp_path: Path) -> None:
    made = [stages(tmp_path, n, run=f"icu-{n}", hours=n) for n in range(3)]
    for stage, _ in made:
        signed(stage)
    spawn = multiprocessing.get_context("spawn")
    running = [spawn.Process(target=_publish_until_killed, args=(s, tmp_path / "store", f"icu-{n}", n)) for n, (s, _) in enumerate(made)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0, 0]
    versions = Store(tmp_path / "store").versions("icu")
    assert len(versions) == 3
    assert open_version(tmp_path / "store", "icu", verify=True).manifest.version == versions[-1]
    assert all(open_version(tmp_path / "store", "icu", version, verify=True) for version in versions)


def test_publishers_at_the_same_time_on_s3(tmp_path: Path, s3_uri: str) -> None:
    made = [stages(tmp_path, n, run=f"icu-{n}", hours=n) for n in range(3)]
    decisions = [signed(stage) for stage, _ in made]
    with ThreadPoolExecutor(3) as pool:
        releases = list(pool.map(lambda one: publish(one[0][0], s3_uri, one[0][1], one[1]), zip(made, decisions, strict=True)))
    assert Store(s3_uri).versions("icu") == [release.version for release in releases]
    assert open_version(s3_uri, "icu", verify=True).manifest == releases[-1].manifest


def _killed_for_good(stage: Path, store: Path) -> None:
    real = os.link

    def link(source: Any, target: Any) -> None:
        if str(target).endswith("manifest.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)

    os.link = link
    _publish_until_killed(stage, store, "icu-1", 0)


def test_a_process_killed_before_the_manifest_has_published_nothing(stage: Path, tmp_path: Path) -> None:
    decision = signed(stage)
    process = multiprocessing.get_context("spawn").Process(target=_killed_for_good, args=(stage, tmp_path / "store"))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert Store(tmp_path / "store").versions("icu") == []
    release = publish(stage, tmp_path / "store", make_facts(stage), decision)
    assert open_version(tmp_path / "store", "icu", verify=True).manifest == release.manifest
