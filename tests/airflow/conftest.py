"""One Airflow for all tests of this room: started as `make airflow` starts it, with a folder and ports of its own, and ended that way."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.airflow import ward
from tests.conftest import KEY, ROOT

# Airflow makes a folder and a configuration when it is imported: away with them after the tests.
os.environ["AIRFLOW_HOME"] = _home = tempfile.mkdtemp(prefix="airflow-imported-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
sys.path[:0] = [str(ROOT / "dags"), str(ROOT / "plugins")]

AIRFLOW_KEY = "key-of-the-secrets-backend-0123456789abcdef"
ENDED = ("success", "failed")
SECONDS = 900
"""For a run to get where a test waits for it: half a minute on two quiet cores, and room for very busy ones."""


@dataclass
class Airflow:
    """What a client of the REST API sees. folder: holds source, policies, workspace, store and Airflow's home."""

    folder: Path
    port: int
    said: Path
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def call(self, method: str, path: str, body: Any = None, *, user: str = "admin", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token(user)}", "Accept": "application/json"}
        url = f"http://127.0.0.1:{self.port}/api/v2/{path}"
        answer = requests.request(method, url, json=body, headers=headers, timeout=120, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def token(self, user: str) -> str:
        if user not in self.tokens:
            password = json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())[user]
            url = f"http://127.0.0.1:{self.port}/auth/token"
            self.tokens[user] = requests.post(url, json={"username": user, "password": password}, timeout=120).json()["access_token"]
        return self.tokens[user]

    def trigger(self, dag: str, **params: Any) -> str:
        self.call("PATCH", f"dags/{dag}", {"is_paused": False})
        return str(self.call("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "conf": params})["dag_run_id"])

    def states(self, dag: str, run: str) -> dict[str, str | None]:
        """The state of each task, `extract[patient]` where it is mapped."""
        found = self.call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {f"{t['task_id']}[{t['rendered_map_index']}]" if t["map_index"] >= 0 else t["task_id"]: t["state"] for t in found}

    def until(self, dag: str, run: str, met: Callable[[dict[str, str | None]], bool], seconds: float = SECONDS) -> dict[str, str | None]:
        """The tasks' states once the condition is met; fails where the DAG run ends before, or time does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            states = self.states(dag, run)
            if met(states):
                return states
            ended = self.call("GET", f"dags/{dag}/dagRuns/{run}")["state"] in ENDED
            if ended and not met(states := self.states(dag, run)):
                pytest.fail(f"{dag}: the run ended with {states}")
            time.sleep(1)
        pytest.fail(f"{dag}: not within {seconds} s: {self.states(dag, run)}")

    def end(self, dag: str, run: str) -> tuple[str, dict[str, str | None]]:
        """The state of the DAG run when it ended, and of its tasks."""
        deadline = time.monotonic() + SECONDS
        while (state := self.call("GET", f"dags/{dag}/dagRuns/{run}")["state"]) not in ENDED:
            assert time.monotonic() < deadline, f"{dag} did not end: {self.states(dag, run)}"
            time.sleep(1)
        return state, self.states(dag, run)

    def asked(self, dag: str, run: str, task: str = "review") -> dict[str, Any]:
        """What the steward is shown, once the task waits and the scheduler has taken note of it: a task that is answered before, in the
        seconds that this takes, is failed by the scheduler."""
        self.until(dag, run, lambda states: states[task] == "awaiting_input")
        noted = re.compile(f"Received executor event.*dag_id='{dag}', task_id='{task}', run_id='{re.escape(run)}'")
        _wait_for(lambda: noted.search((self.home / "standalone.log").read_text(errors="replace")) is not None, 60)
        return dict(self.call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails", user="steward"))

    def answer(self, dag: str, run: str, choice: str, reason: str, *, task: str = "review", user: str = "steward") -> None:
        body = {"chosen_options": [choice], "params_input": {"reason": reason}}
        self.call("PATCH", f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails", body, user=user)

    def desk(self, method: str, path: str = "", *, user: str | None = "steward", **options: Any) -> requests.Response:
        """An answer of the steward's desk, to a client with a bearer token, or without any user."""
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {self.token(user)}"} if user else {})
        url = f"http://127.0.0.1:{self.port}/desk/{path}"
        return requests.request(method, url, headers=headers, timeout=120, allow_redirects=False, **options)

    def run_id(self, dag: str, run: str) -> str:
        """The id of our run, by its DAG run's."""
        entries = self.call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances/check/xcomEntries/return_value")
        return str(entries["value"])

    def log(self, dag: str, run: str, task: str, map_index: int = -1) -> str:
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/1"
        return json.dumps(self.call("GET", path, params={"map_index": map_index}))


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """A running Airflow with the ward's policies. After the tests: no process of it lives, and its ports are free."""
    folder = tmp_path_factory.mktemp("airflow")
    ward.write_files(folder / "source")
    ward.write_database(folder / "ehr.db")
    ward.write_policies(folder / "policies")
    port, said = free_ports(), folder / "launcher.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "ANONYMIZE", "PYTEST"))}
    environment |= {"AIRFLOW_HOME": str(folder / "home"), "AIRFLOW_PORT": str(port), "ANONYMIZE_KEY": KEY}
    # The policies do not change while the tests run: read again and again, they cost a fifth of a core.
    environment |= {"ANONYMIZE_POLICIES": str(folder / "policies"), "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600"}
    lineage = {"type": "file", "log_file_path": str(folder / "home" / "lineage.jsonl"), "append": True}
    environment |= {"AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(lineage)}
    with said.open("wb") as out:
        launcher = subprocess.Popen([sys.executable, ROOT / "scripts" / "airflow_standalone.py"], env=environment, stdout=out, stderr=out)
    try:
        _wait_for(lambda: "Airflow is ready" in said.read_text() or launcher.poll() is not None, 300)
        assert "Airflow is ready" in said.read_text(), said.read_text()
        started = Airflow(folder, port, said)
        _wait_for(lambda: {"ward", "shared-ward", "ehr", "spoiled"} <= {dag["dag_id"] for dag in started.call("GET", "dags")["dags"]}, 120)
        yield started
    finally:
        tree = psutil.Process(launcher.pid).children(recursive=True) if launcher.poll() is None else []
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(timeout=90)
    _, alive = psutil.wait_procs(tree, timeout=10)
    assert not alive, f"outlived the launcher: {alive}"
    assert all(_is_free(one) for one in range(port, port + 3)), "a port is still held"


def _wait_for(met: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.5)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports() -> int:
    """The first of three free ports in a row."""
    for port in range(28080 + os.getpid() % 1000 * 3, 65000, 3):
        if all(_is_free(one) for one in range(port, port + 3)):
            return port
    raise RuntimeError("no three free ports in a row")
