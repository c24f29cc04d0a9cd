"""A stage folder as the road leaves it, and the two kinds of stores: a folder, and S3 as moto speaks it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anonymize.policy.model import Policy
from anonymize.publish import GateFact, PrivacyFact, ReleaseFacts, prepare, published_schema, release_facts, table_facts

START = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)


def make_policy() -> Policy:
    return Policy.model_validate(
        {
            "dataset": "icu",
            "description": "Stays on the ICU.",
            "subject": "patient.patient_id",
            "sources": {"ehr": {"type": "csv", "path": "."}},
            "tables": {
                "patient": {
                    "description": "One row a person.",
                    "columns": {
                        "patient_id": "identifier pseudonym mrn",
                        "name": "drop name",
                        "born": {"role": "date", "method": "shift", "description": "Date of birth"},
                        "zip": {"role": "quasi", "hierarchy": "us-zip3", "rename": "zip3"},
                        "race": {"role": "plain", "values": ["White", "Black"]},
                    },
                },
                "note": {"columns": {"patient_id": "identifier pseudonym mrn", "text": "text", "lab": "plain round 1"}},
            },
            "release": {"store": "store", "title": "ICU stays", "contact": "data@example.org", "licence": "DUA-1"},
        }
    )


def make_stage(root: Path, rows: int = 40, salt: int = 0) -> Path:
    """`root/stage/<table>/part-0000n.parquet`, two files a table, and `root/subjects/<table>/` beside it."""
    policy = make_policy()
    ids = [f"p{salt}{n:022}" for n in range(rows)]
    patient = pa.table(
        {
            "__subject": ids,
            "patient_id": ids,
            "born": pa.array([date(1950, 1, 1 + n % 28) for n in range(rows)]),
            "zip3": ["021**" if n % 2 else "100**" for n in range(rows)],
            "race": ["White" if n % 3 else None for n in range(rows)],
        }
    )
    note = pa.table({"__subject": ids, "patient_id": ids, "text": ["[NAME] is well"] * rows, "lab": [n / 2 for n in range(rows)]})
    for name, table in {"patient": patient, "note": note}.items():
        schema = published_schema(policy, name, table.schema, levels={"zip3": "3 digits"})
        for folder, part in (
            (root / "stage" / name, table.select(schema.names).cast(schema)),
            (root / "subjects" / name, table.select(["__subject"])),
        ):
            folder.mkdir(parents=True)
            for number in range(2):
                pq.write_table(part.slice(number * rows // 2, rows // 2), folder / f"part-0000{number}.parquet", compression="zstd")
    return root / "stage"


def make_facts(stage: Path, *, run: str = "icu-1", started: datetime = START) -> ReleaseFacts:
    policy = make_policy()
    tables = [table_facts(policy, name, stage / name, stage.parent / "subjects" / name, levels={"zip3": "3 digits"}) for name in policy.tables]
    return release_facts(
        policy,
        run=run,
        started=started,
        code_version="0.1.0",
        key_id="0a1b2c3d",
        privacy=PrivacyFact(k=5, reached=13, suppressed=2),
        tables=tables,
        gates=(GateFact(gate="leak", passed=True, words="No identifier was found."),),
        held_back={"quarantined": 1},
    )


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    made = make_stage(tmp_path)
    prepare(made, make_facts(made))
    return made


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server of the tests' own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def s3_uri(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store on S3."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    import boto3

    bucket = f"b{abs(hash(tmp_path))}"
    boto3.client("s3", endpoint_url=f"http://{s3_server}", region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/research?endpoint_override={s3_server}&scheme=http&region=us-east-1"


@pytest.fixture(params=["folder", "s3"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of either kind."""
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_uri")
