"""A run's metrics on the wire: `[metrics]` as a site writes it, Airflow's own StatsD client, and what a listener hears of a run."""

from __future__ import annotations

import re
import socket
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from anonymize import pipeline, progress
from anonymize.policy.loader import load
from anonymize.run import Run
from tests.road import hospital

metrics = pytest.importorskip("anonymize_airflow.metrics")
pytest.importorskip("statsd", reason="STATSD ABSENT: pip install 'apache-airflow[statsd]' to run this test")

TABLES = ("patient", "stay", "empty")
#: All that may stand in a packet: the prefix that the site chose, words of the policy and of the docs, tags of the same words, a number.
PACKET = re.compile(
    r"ward7\.anonymize\.(?P<name>small\.[a-z]+(?:\.(?:patient|stay|empty))?\.(?:rows|rows_per_second|duration|quarantined|suppressed|k))"
    r"(?P<tags>(?:,(?:dataset=small|step=[a-z]+|table=(?:patient|stay|empty)))*):(?P<number>\d+(?:\.\d+)?)\|(?P<sort>g|ms)"
)


class Listener:
    """A StatsD server, as far as a run knows: a UDP port. What is sent on the same machine lies there once it is sent."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def packets(self) -> list[str]:
        """What came since it was last asked, without what Airflow says of itself."""
        heard = []
        while True:
            try:
                heard.append(self._socket.recv(65_535).decode())
            except BlockingIOError:
                return [packet for packet in heard if ".anonymize." in packet]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Listener]:
    """Listens to a process whose metrics are set up as Airflow sets them up for a task. Parameter: more settings of `[metrics]`."""
    from airflow.sdk._shared.observability.metrics import stats
    from airflow.sdk.observability.metrics import stats_utils

    made = Listener()
    site = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(made.port), "STATSD_PREFIX": "ward7"}
    for name, value in (site | getattr(request, "param", {})).items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", value)
    for kept in ("_factory", "_backend", "_export_legacy_names"):
        monkeypatch.setattr(stats, kept, getattr(stats, kept))
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    yield made
    client = getattr(stats._backend, "statsd", None)
    if client is not None:
        client.close()
    made.close()


def opened(folder: Path) -> Run:
    """A run of the small hospital without its notes: the models that read them take seconds to load, and their metrics are of the same kind."""
    before, _, rest = hospital.POLICY.partition("  note:\n")
    policy = before + "  empty:\n" + rest.partition("  empty:\n")[2]
    return Run.open(load(hospital.policy(hospital.build(folder), policy)), watcher=metrics.Metrics("small", lambda line: None))


def read(packets: list[str]) -> dict[str, list[float]]:
    """Each metric's numbers, in the order in which they came; fails on a packet that holds anything else."""
    numbers: dict[str, list[float]] = defaultdict(list)
    for packet in packets:
        found = PACKET.fullmatch(packet)
        assert found, f"more than names and a number: {packet}"
        assert (found["sort"] == "ms") is found["name"].endswith(".duration")
        numbers[found["name"]].append(float(found["number"]))
    return numbers


def words_of_records(folder: Path) -> set[str]:
    """Every value of the source that no count could be."""
    with sqlite3.connect(folder / "ehr.db") as db:
        values = {str(value) for table in ("patients", "stays") for row in db.execute(f"SELECT * FROM {table}") for value in row}
    return {value for value in values if len(value) > 2 and not re.fullmatch(r"[\d.]+", value)}


def test_a_listener_hears_what_the_docs_say_of_a_run(tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0)
    run = opened(tmp_path)
    pipeline.check(run)
    for table in TABLES:
        pipeline.extract(run, table)
    pipeline.collect(run)
    for table in TABLES:
        pipeline.deidentify(run, table)
    pipeline.generalize(run)
    run.close()
    packets = listener.packets()
    heard = read(packets)
    last = {name: numbers[-1] for name, numbers in heard.items()}
    for step in ("extract", "deidentify", "generalize"):
        assert {f"small.{step}.{table}.{what}" for table in TABLES for what in ("rows", "rows_per_second", "duration")} <= last.keys()
    assert {"small.check.duration", "small.collect.duration", "small.generalize.duration"} <= last.keys()
    assert all(0 < number < 600_000 for name, number in last.items() if name.endswith(".duration"))

    assert [last[f"small.extract.{table}.rows"] for table in TABLES] == [60, 119, 0]
    assert [last[f"small.extract.{table}.quarantined"] for table in TABLES] == [0, 1, 0]
    under_way = heard["small.extract.stay.rows"][:-1]
    assert under_way
    assert under_way == sorted(under_way)
    assert last["small.extract.stay.rows_per_second"] == pytest.approx(119_000 / last["small.extract.stay.duration"], rel=1e-3)
    assert last["small.generalize.patient.rows"] + last["small.generalize.patient.suppressed"] == 60
    assert last["small.generalize.patient.k"] == last["small.generalize.k"] >= 3

    words = words_of_records(tmp_path)
    assert len(words) > 200
    assert {"O'Brien", "MRN-700001", "617-555-1001", "ICU"} <= words
    assert [word for word in words for packet in packets if word in packet] == []


@pytest.mark.parametrize("listener", [{"STATSD_INFLUXDB_ENABLED": "True"}], indirect=True)
def test_who_has_tags_hears_them(tmp_path: Path, listener: Listener) -> None:
    run = opened(tmp_path)
    pipeline.check(run)
    pipeline.extract(run, "stay")
    run.close()
    packets = listener.packets()
    read(packets)
    assert "ward7.anonymize.small.extract.stay.rows,dataset=small,step=extract,table=stay:119|g" in packets
    checked = [packet.split(":")[0] for packet in packets if ".check." in packet]
    assert checked == ["ward7.anonymize.small.check.duration,dataset=small,step=check"]
