"""What only some stores can: conditional puts and encryption at rest on S3, and stores through fsspec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anonymize.errors import StoreError
from anonymize.publish import Store, open_version, publish
from anonymize.publish.backends import open_backend
from anonymize.publish.s3 import at_rest
from anonymize.publish.verifying import verify
from tests.publish.conftest import make_facts
from tests.publish.test_store import signed, undisturbed


@pytest.fixture(params=["memory", "local"])
def fsspec_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store behind an fsspec driver."""
    name = f"anonymize{abs(hash(tmp_path))}"
    return {"memory": f"memory://{name}", "local": f"local://{tmp_path}/store"}[request.param]


def test_a_version_is_published_to_any_file_system_that_fsspec_knows(stage: Path, fsspec_uri: str) -> None:
    release = publish(stage, fsspec_uri, make_facts(stage), signed(stage))
    assert publish(stage, fsspec_uri, make_facts(stage), signed(stage)) == release
    found = open_version(fsspec_uri, "icu", verify=True)
    assert found.manifest == release.manifest
    assert found.dataset("patient").to_table().num_rows == 40
    assert [(one.name, one.problems) for one in verify(fsspec_uri)] == [(f"icu {release.version}", ())]
    assert b"ICU stays" in (open_backend(fsspec_uri).read_bytes("index.html") or b"")
    assert open_backend(fsspec_uri).folders("icu/versions") == [release.version]


def test_a_scheme_that_nothing_serves_says_so() -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_backend("nosuchscheme://u:secret@host/x")


def test_a_file_is_created_once(store_uri: str) -> None:
    backend = open_backend(store_uri)
    assert backend.create_bytes("icu/versions/v/manifest.json", b"one")
    assert not backend.create_bytes("icu/versions/v/manifest.json", b"two")
    assert backend.read_bytes("icu/versions/v/manifest.json") == b"one"
    assert backend.files("icu") == ["versions/v/manifest.json"]


def test_of_two_runs_that_publish_one_version_one_does_and_the_other_writes_nothing(stage: Path, store_uri: str) -> None:
    facts, decision = make_facts(stage), signed(stage)
    store = Store(store_uri)
    version = publish(stage, undisturbed(store_uri), facts, decision).version
    store.begin("icu", version, "icu-7")
    with pytest.raises(StoreError, match="is being published by run icu-7"):
        publish(stage, store_uri, facts, decision)
    assert store.backend.files("icu") == [f"versions/{version}/.publishing.json"]
    other = publish(stage, store_uri, facts.model_copy(update={"run": "icu-7"}), decision)
    with pytest.raises(StoreError, match="exists already"):
        store.begin("icu", version, "icu-1")  # it had looked before the other was done, and looks again
    assert open_version(store_uri, "icu", verify=True).manifest == other.manifest
    assert store.backend.files(f"icu/versions/{version}") == sorted([file.path for file in other.manifest.files()] + ["manifest.json"])


def test_a_manifest_is_put_only_where_there_is_none(stage: Path, store_uri: str) -> None:
    release = publish(stage, store_uri, make_facts(stage), signed(stage))
    store = Store(store_uri)
    store.finish(release.manifest)
    with pytest.raises(StoreError, match="another publisher"):
        store.finish(release.manifest.model_copy(update={"run": "icu-7"}))
    assert open_version(store_uri, "icu", verify=True).manifest == release.manifest


@pytest.mark.parametrize(
    ("asked", "said"),
    [("sse-s3", ("AES256", None)), ("sse-kms:1234abcd-12ab-34cd-56ef-1234567890ab", ("aws:kms", "1234abcd-12ab-34cd"))],
)
def test_every_object_is_encrypted_at_rest_as_the_policy_says(
    stage: Path, s3_uri: str, s3_server: str, asked: str, said: tuple[str, Any]
) -> None:
    import boto3

    release = publish(stage, s3_uri, make_facts(stage), signed(stage), server_encryption=asked)
    client = boto3.client("s3", endpoint_url=f"http://{s3_server}", region_name="us-east-1")
    bucket = s3_uri.removeprefix("s3://").partition("/")[0]
    objects = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert len(objects) == 4 + 7 + 2 + 3  # data, documents, manifest and pointer, pages
    for one in objects:
        head = client.head_object(Bucket=bucket, Key=one["Key"])
        assert head["ServerSideEncryption"] == said[0], one["Key"]
        assert said[1] is None or said[1] in head["SSEKMSKeyId"]
    assert open_version(s3_uri, "icu", verify=True).manifest == release.manifest


def test_encryption_at_rest_is_asked_of_s3_alone(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is for stores on S3"):
        Store(tmp_path, server_encryption="sse-s3")
    with pytest.raises(StoreError, match="no server-side encryption 'aes'"):
        at_rest("aes")
    with pytest.raises(StoreError, match="no option 'regoin'"):
        open_backend("s3://bucket/x?regoin=eu")


def test_a_large_file_goes_up_in_parts_and_its_hash_is_of_what_was_sent(s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    from anonymize.publish import s3

    monkeypatch.setattr(s3, "_PART", 5 << 20)
    data = bytes(range(256)) * (6 << 12)
    (tmp_path / "large").write_bytes(data)
    backend = open_backend(s3_uri)
    assert backend.put_file("icu/large", tmp_path / "large") == hashlib.sha256(data).hexdigest() == backend.sha256("icu/large")
