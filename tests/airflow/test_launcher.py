"""`make airflow` before it starts anything: what is in the way is said in one line."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.conftest import free_ports
from tests.conftest import KEY, ROOT

LAUNCHER = ROOT / "scripts" / "airflow_standalone.py"


def launch(home: Path, port: int, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(home / "airflow"), "AIRFLOW_PORT": str(port), **given}
    return subprocess.run([sys.executable, LAUNCHER], env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def taken() -> Any:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_port_in_use_is_named_before_anything_is_made(tmp_path: Path, taken: int) -> None:
    done = launch(tmp_path, taken, ANONYMIZE_KEY=KEY)
    assert done.returncode == 1
    assert f"port {taken} is in use" in done.stdout
    assert not (tmp_path / "airflow").exists()


def test_the_log_servers_ports_count_as_well(tmp_path: Path, taken: int) -> None:
    assert f"port {taken} is in use" in launch(tmp_path, taken - 1, ANONYMIZE_KEY=KEY).stdout


def test_no_key_no_airflow(tmp_path: Path) -> None:
    done = launch(tmp_path, free_ports())
    assert (done.returncode, "no key, no run" in done.stdout) == (5, True)
    assert not (tmp_path / "airflow").exists()


def test_settings_keep_two_airflows_apart_and_leave_what_is_set(tmp_path: Path) -> None:
    settings = runpy.run_path(str(LAUNCHER))["settings"]
    one, other = (settings(tmp_path / name, port, {"PATH": "/bin"}) for name, port in (("one", 9000), ("other", 9100)))
    apart = {name for name in one if one[name] != other[name]}
    assert apart == {
        "AIRFLOW_HOME",
        "AIRFLOW__API__BASE_URL",
        "AIRFLOW__API__PORT",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT",
    }
    assert settings(tmp_path, 9000, {"AIRFLOW__CORE__PARALLELISM": "7"})["AIRFLOW__CORE__PARALLELISM"] == "7"
    assert one["AIRFLOW__API__HOST"] == "127.0.0.1"
