"""A server's bulk export, on a server that fails as real ones do: what comes is the same, and is asked for once."""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from anonymize.errors import SourceError
from anonymize.policy.origins import FhirSource
from anonymize.sources.base import Malformed
from anonymize.sources.fhir.asking import retry_after
from anonymize.sources.fhir.bulk import Export, Waiting
from anonymize.sources.fhir.reading import Resource, resources
from anonymize.sources.fhir.server import FhirServer
from anonymize.sources.fhir.smart import secret
from tests.fhir_server import FhirService

PATIENTS = 40


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    people = [{"resourceType": "Patient", "id": f"p{n}", "name": [{"family": f"Planted{n}", "text": "x" * 500}]} for n in range(PATIENTS)]
    notes = [{"resourceType": "DocumentReference", "id": f"d{n}", "subject": {"reference": f"Patient/p{n}"}} for n in range(5)]
    (folder / "Patient.000.ndjson").write_text("".join(json.dumps(one) + "\n" for one in people))
    (folder / "DocumentReference.000.ndjson").write_text("".join(json.dumps(one) + "\n" for one in notes))
    return folder


@pytest.fixture
def service(data: Path) -> Iterator[FhirService]:
    with FhirService(data) as service:
        yield service


def export(service: FhirService, room: Path, slept: list[float] | None = None, **settings: Any) -> Export:
    asked = FhirSource.model_validate({"type": "fhir", "url": service.url, **settings})
    sleep = (lambda _: None) if slept is None else slept.append
    return Export(asked, url=service.url, where="source 'ehr'", room=room, types=["Patient", "DocumentReference"], sleep=sleep)


def ids(one: Export) -> list[str]:
    return [item.record["id"] for file in sorted(one.files.glob("Patient.*")) for item in resources(file) if isinstance(item, Resource)]


WHOLE = [f"p{n}" for n in range(PATIENTS)]


def test_an_export_is_asked_for_waited_for_fetched_and_taken_back(service: FhirService, tmp_path: Path) -> None:
    service.polls, service.retry_after = 3, "7"
    service.deleted, service.errors = ["Patient/p99", "Observation/o1"], ["Mrs. Planted could not be read"]
    slept: list[float] = []
    one = export(service, tmp_path / "room", slept, filters=["Patient?active=true"], since="2026-01-31T00:00:00+01:00", group="g1")
    one.ensure()
    assert ids(one) == WHOLE
    assert slept == [7.0, 7.0, 7.0]
    assert ("GET", "/fhir/Group/g1/$export") in service.said
    asked = {
        "_outputFormat": ["application/fhir+ndjson"],
        "_type": ["DocumentReference,Patient"],
        "_since": ["2026-01-31T00:00:00+01:00"],
        "_typeFilter": ["Patient?active=true"],
    }
    assert service.asked == [asked]
    assert one.transaction_time == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert list(one.deleted()) == ["Patient/p99", "Observation/o1"]
    assert one.counts() == {"export_files": 4, "export_bytes": one.counts()["export_bytes"], "export_errors": 1, "attachments_missing": 0}
    assert service.removed == 1
    assert [oct(file.stat().st_mode & 0o777) for file in (one.room / "export.json", *one.files.glob("Patient.*"))] == ["0o600", "0o600"]


@pytest.mark.parametrize(
    "faults",
    [
        ["429"],
        ["429-date"],
        ["429-poll", "500-poll"],
        ["429-file", "500-file"],
        ["half"],
        ["half", "half", "500-file", "half"],
        ["short"],
        ["html"],
        ["expired"],
        ["half", "expired"],
        ["gone"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("way", ["ranges", "no ranges", "packed"])
def test_what_comes_is_whole_whatever_fails_on_the_way(service: FhirService, tmp_path: Path, faults: list[str], way: str) -> None:
    service.faults, service.ranges, service.packed = list(faults), way != "no ranges", way == "packed"
    one = export(service, tmp_path / "room", [])
    one.ensure()
    assert ids(one) == WHOLE
    assert not service.faults
    assert service.exports == (2 if "gone" in faults else 1)
    assert one.missing("Patient") == 0


def test_a_file_that_breaks_off_goes_on_where_it_was(service: FhirService, tmp_path: Path) -> None:
    service.faults = ["half"]
    one = export(service, tmp_path / "room")
    one.ensure()
    whole = sum(file.stat().st_size for file in service.files())
    assert service.sent_bytes == pytest.approx(whole, abs=2), "no byte came twice"


def test_a_run_that_is_killed_goes_on_with_the_same_export(service: FhirService, tmp_path: Path) -> None:
    service.polls = 2
    first = export(service, tmp_path / "room")
    first.begin()
    assert isinstance(first.poll(), Waiting)
    second = export(service, tmp_path / "room")
    second.begin()
    while second.poll() is not None:
        pass
    service.faults = ["half-for-ever"]
    with pytest.raises(SourceError, match="breaks off again and again"):
        second.load()
    service.faults = []
    third = export(service, tmp_path / "room")
    third.ensure()
    third.ensure()
    assert (ids(third), service.exports, service.removed) == (WHOLE, 1, 1)
    export(service, tmp_path / "room", group="other").ensure()
    assert service.exports == 2, "another request is another export"


def test_what_was_counted_and_not_sent_is_quarantined_one_by_one(service: FhirService, tmp_path: Path) -> None:
    service.counts = {"Patient": PATIENTS + 3}
    settings = FhirSource.model_validate({"type": "fhir", "url": service.url})
    source = FhirServer(
        "ehr", settings, url=service.url, mapping="us-core", policy_folder=tmp_path, room=tmp_path / "room", tables=["patient", "media"]
    )
    items = list(source.read("patient", ["id", "family"]))
    assert Counter(item.reason for item in items if isinstance(item, Malformed)) == {"not-sent": 3}
    assert sum(item.num_rows for item in items if isinstance(item, pa.RecordBatch)) == PATIENTS
    assert service.asked[0]["_type"] == ["Media,Patient"], "no type is asked for that no table needs"
    assert [item.num_rows for item in source.read("media", ["id"]) if isinstance(item, pa.RecordBatch)] == [0]
    assert source.cursor == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert source.told("patient")["export_files"] == 1


def test_without_a_run_nothing_is_exported(service: FhirService, tmp_path: Path) -> None:
    settings = FhirSource.model_validate({"type": "fhir", "url": service.url, "types": ["Patient"]})
    source = FhirServer("ehr", settings, url=service.url, mapping="us-core", policy_folder=tmp_path)
    assert {"patient", "patient_name"} <= set(source.tables())
    assert "family" in source.schema("patient").names
    assert not [row for item in source.read("patient", ["id"]) if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    assert service.said == []


def test_attachments_of_this_server_are_fetched_and_of_no_other(service: FhirService, tmp_path: Path) -> None:
    def note(id: str, url: str) -> dict[str, Any]:
        content = [{"attachment": {"contentType": "text/plain", "url": url}}]
        return {"resourceType": "DocumentReference", "id": id, "subject": {"reference": "Patient/p1"}, "content": content}

    urls = ["Binary/b1", f"{service.url}/Binary/b2", "https://elsewhere.example/Binary/b1x", "Binary/lost", f"{service.url}/$export"]
    lines = [json.dumps(note(f"d{n}", url)) + "\n" for n, url in enumerate(urls)]
    (service.folder / "DocumentReference.000.ndjson").write_text("".join(lines))
    text = base64.b64encode(b"Seen today.").decode()
    service.binaries = {id: {"resourceType": "Binary", "id": id, "contentType": "text/plain", "data": text} for id in ("b1", "b2", "b1x")}
    settings = FhirSource.model_validate({"type": "fhir", "url": service.url})
    room = tmp_path / "room"
    source = FhirServer("e", settings, url=service.url, mapping="us-core", policy_folder=tmp_path, room=room, tables=["document_reference"])
    got = [row["text"] for item in source.read("document_reference", ["text"]) if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    assert got == ["Seen today.", "Seen today.", "[UNREADABLE: attachment]", "[UNREADABLE: attachment]", "[UNREADABLE: attachment]"]
    assert source.told("document_reference")["attachments_missing"] == 1
    assert service.exports == 1
    assert not [path for _, path in service.said if path.endswith("b1x")]


def test_a_manifest_of_several_pages_is_one(service: FhirService, tmp_path: Path) -> None:
    service.pages = 2
    one = export(service, tmp_path / "room")
    one.ensure()
    assert (ids(one), len(list(one.files.glob("*.ndjson")))) == (WHOLE, 2)


def test_limits(service: FhirService, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="larger than"):
        export(service, tmp_path / "a", **{"largest-gb": 1e-6}).ensure()
    service.polls, service.retry_after = 10_000, "60"
    with pytest.raises(SourceError, match=r"not done after 0\.01 hours"):
        export(service, tmp_path / "b", **{"timeout-hours": 0.01}).ensure()
    assert service.removed == 2, "what is given up is taken back"


# ---------------------------------------------------------------------------------------------------------------- who we are

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP384R1())


def pem(key: Any) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def jwk(key: rsa.RSAPrivateKey) -> str:
    from jwt.algorithms import RSAAlgorithm

    return json.dumps({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, json.loads(RSAAlgorithm.to_jwk(key)) | {"kid": "one"}]})


@pytest.mark.parametrize(("key", "text"), [(RSA, pem(RSA)), (EC, pem(EC)), (RSA, jwk(RSA)), (RSA, pem(RSA).replace("\n", "\\n"))])
def test_backend_services_with_a_token_that_ends(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: Any, text: str) -> None:
    monkeypatch.setenv("EHR_KEY", text)
    with FhirService(data, public_key=key.public_key(), faults=["401"]) as service:
        one = export(service, tmp_path / "room", auth={"client": service.client, "key": "env:EHR_KEY"})
        one.ensure()
        assert ids(one) == WHOLE
        assert len(service.issued) == 2, "the token that the server took for ended was renewed, once"
        assert "token-" not in (tmp_path / "room" / "export.json").read_text()


def test_a_token_is_renewed_before_it_ends(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHR_KEY", pem(RSA))
    with FhirService(data, public_key=RSA.public_key(), token_seconds=20) as service:
        export(service, tmp_path / "room", auth={"client": service.client, "key": "env:EHR_KEY"}).ensure()
        assert len(service.issued) > 3


def test_a_token_goes_nowhere_else(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHR_KEY", pem(RSA))
    auth = {"client": "research-export", "key": "env:EHR_KEY"}
    with FhirService(data) as other, FhirService(data, public_key=RSA.public_key()) as service:
        service.files_url = other.url + "/files"
        with pytest.raises(SourceError, match="not https"):
            export(service, tmp_path / "a", auth=auth).ensure()
        service.files_url = "https://files.example/x"
        with pytest.raises(SourceError, match="token sent to another host"):
            export(service, tmp_path / "b", auth=auth).ensure()
        service.files_url, service.token_files = "", False
        export(service, tmp_path / "c", auth=auth).ensure()
        assert not [path for path, token in service.tokens_sent if token and "/files/" in path], "nor where none is asked for"
        assert other.said == []


def test_no_secret_and_no_word_of_the_server_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHR_KEY", pem(RSA))
    told: list[str] = []
    with FhirService(data, public_key=EC.public_key() and RSA.public_key()) as service:
        for client, faults, words in (
            ("another", [], "no token was given: HTTP 400, invalid_client"),
            ("research-export", ["501"], r"does not begin an export.*HTTP 501, exception"),
            ("research-export", ["half-for-ever"], "breaks off"),
        ):
            service.faults = list(faults)
            with pytest.raises(SourceError, match=words) as raised:
                export(service, tmp_path / f"{client}{words[:5]}", auth={"client": client, "key": "env:EHR_KEY"}).ensure()
            told.append(str(raised.value))
    for secret_words in ("SECRET", "Planted", "127.0.0.1", "PRIVATE", "token-"):
        assert not [one for one in told if secret_words in one]


SHORT, OTHER = rsa.generate_private_key(public_exponent=65537, key_size=1024), ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("text", ["", "nonsense", pem(SHORT), pem(OTHER)])
def test_a_key_that_cannot_be_used_is_refused(service: FhirService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EHR_KEY", text)
    with pytest.raises(SourceError, match=r"is not set|neither a PEM|must be RSA"):
        export(service, tmp_path / "room", auth={"client": "c", "key": "env:EHR_KEY"}).ensure()


@pytest.mark.parametrize(
    "connection",
    [
        json.dumps({"conn_type": "http", "password": "s3cret", "extra": {}}),
        json.dumps({"conn_type": "http", "extra": json.dumps({"private_key": "s3cret"})}),
        "http://client:s3cret@host/",
        "http://client@host/?__extra__=%7B%22private_key%22%3A+%22s3cret%22%7D".replace("+", "%20"),
    ],
)
def test_secrets_of_an_airflow_connection(connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FHIR", connection)
    assert secret("connection:fhir", "here", None) == "s3cret"
    assert secret("connection:fhir", "here", lambda _: connection) == "s3cret"


def test_the_servers_certificate_is_judged(data: Path, tmp_path: Path) -> None:
    made = "openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=localhost".split()
    if subprocess.run([*made, "-addext", "subjectAltName=DNS:localhost"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("NO OPENSSL: the test of certificates is not run")
    with FhirService(data, certificate=(str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))) as service:
        with pytest.raises(SourceError, match=r"does not answer as it should .ConnectError"):
            export(service, tmp_path / "a").ensure()
        settings = FhirSource.model_validate({"type": "fhir", "url": service.url})
        trusted = tmp_path / "c.pem"
        one = Export(settings, url=service.url, where="here", room=tmp_path / "b", types=["Patient"], sleep=lambda _: None, ca=trusted)
        one.ensure()
        assert ids(one) == WHOLE
    with pytest.raises(SourceError, match="'ca' is no file of certificates"):
        Export(settings, url=service.url, where="here", room=tmp_path / "c", ca=tmp_path / "k.nothing")


@pytest.mark.parametrize(("said", "seconds"), [("5", 5), ("", None), ("soon", None), ("1e9", None), ("999999", 3600), ("-3", None)])
def test_retry_after(said: str, seconds: float | None) -> None:
    assert retry_after(httpx.Response(202, headers={"Retry-After": said})) == seconds


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "x", "url": "https://x"}, "either 'path'"),
        ({}, "either 'path'"),
        ({"path": "x", "group": "g"}, "belongs to a server's 'url'"),
        ({"url": "https://x", "since": "2026-01-01T00:00:00"}, "needs a time zone"),
        ({"url": "https://x", "auth": {"client": "c"}}, "give either 'client' and 'key'"),
        ({"url": "https://x", "auth": {"bearer": "eyJ0"}}, "pattern"),
    ],
)
def test_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FhirSource.model_validate({"type": "fhir", **settings})
