"""`make airflow`: Airflow with our DAGs on this machine, in one command, and all of it gone when the command ends.

Everything that Airflow writes stands in `AIRFLOW_HOME` (default `.airflow/`). It listens on this machine alone. Settings by environment:
`AIRFLOW_PORT` (default 8080; the next two ports are used as well), `ANONYMIZE_POLICIES`, `ANONYMIZE_SAMPLE`, `ANONYMIZE_KEY`; any
`AIRFLOW__…` that is set already is left as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
USERS = {"admin": "admin", "steward": "user", "deputy": "user", "researcher": "viewer"}
READY_SECONDS, STOP_SECONDS = 300, 20


def settings(home: Path, port: int, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of an Airflow that knows nothing of any other on this machine.

    Without the execution API's address a task would report to whoever has port 8080; without ports of their own two log servers collide.
    """
    ours = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(max(2, os.cpu_count() or 1)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        # A busy machine reads the policies slowly: Airflow takes a DAG away whose file was not read in half a minute.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "240",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
        "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "360",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(port + 1),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(port + 2),
        # Says nothing until AIRFLOW__OPENLINEAGE__TRANSPORT says where to.
        "AIRFLOW__OPENLINEAGE__EXTRACTORS": "anonymize_airflow.lineage.RoadExtractor",
        "AIRFLOW__OPENLINEAGE__DISABLE_SOURCE_CODE": "True",
        "PYTHONUNBUFFERED": "1",
    }
    path = {
        "PATH": f"{BIN}{os.pathsep}{given.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "dags"), given.get("PYTHONPATH")])),
    }
    return {**ours, **given, **path, "AIRFLOW_HOME": str(home)}


def ports_taken(ports: range) -> list[int]:
    """Those of the ports that something listens on already."""
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
    return taken


def make_sample(environment: Mapping[str, str]) -> None:
    """The made-up hospital that the sample policy reads, where it is not there yet."""
    folder = environment.get("ANONYMIZE_SAMPLE")
    if folder and not (Path(folder) / "ehr.db").exists():
        subprocess.run([BIN / "anonymize", "sample", folder], check=True, env=dict(environment))  # noqa: S603


def healthy(port: int) -> bool:
    """Whether the scheduler and the DAG processor say that they live."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
    except (OSError, urllib.error.URLError, ValueError):
        return False
    return all((health.get(part) or {}).get("status") == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))


def wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> bool:
    """True once Airflow is ready; False where it ended, or was not ready in time."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if healthy(port):
            return True
        time.sleep(1)
    return False


def stop(process: subprocess.Popen[bytes], ports: range) -> None:
    """End Airflow and everything it started: its parts outlive `airflow standalone` otherwise, and hold the port."""
    tree = []
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for part in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            part.terminate()
    _, alive = psutil.wait_procs(tree, timeout=STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the group is ours alone: whoever was started meanwhile is in it
    for part in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            part.kill()
    process.wait()
    deadline = time.monotonic() + STOP_SECONDS
    while ports_taken(ports) and time.monotonic() < deadline:
        time.sleep(0.2)


def welcome(home: Path, port: int) -> str:
    """Where to go, and how to get in."""
    passwords = home / "simple_auth_manager_passwords.json.generated"
    known = json.loads(passwords.read_text()) if passwords.exists() else {}
    lines = [f"Airflow is ready: http://127.0.0.1:{port}", ""]
    lines += [f"    {user:<10} password {known.get(user, '?'):<20} ({role})" for user, role in USERS.items()]
    lines += [
        "",
        f"The passwords were made for this machine alone and stand in {passwords}.",
        "Switch a DAG on, or trigger it, as admin; read, sign or reject its release as steward (Releases, in the navigation). Where a policy",
        "asks for two stewards, deputy is the other; researcher may look, and not decide.",
        "Ctrl-C ends it.",
    ]
    return "\n".join(lines)


def tail(log: Path, lines: int = 25) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def main() -> int:
    """Start, say where it is, wait for Ctrl-C or SIGTERM, and leave nothing behind."""
    home = Path(os.environ.get("AIRFLOW_HOME") or ROOT / ".airflow").resolve()
    port = int(os.environ.get("AIRFLOW_PORT") or 8080)
    ports = range(port, port + 3)
    if taken := ports_taken(ports):
        print(f"error: port {taken[0]} is in use. End what listens there, or choose another: AIRFLOW_PORT={port + 1000} make airflow")
        return 1
    if not os.environ.get("ANONYMIZE_KEY"):
        print("error: no key, no run. Give one: export ANONYMIZE_KEY=$(openssl rand -hex 32)")
        return 5
    environment = settings(home, port, os.environ)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_sample(environment)
    log = home / "standalone.log"
    print(f"starting Airflow (one to two minutes; its log: {log})", flush=True)
    with log.open("ab") as out:
        process = subprocess.Popen([BIN / "airflow", "standalone"], env=environment, stdout=out, stderr=out, start_new_session=True)  # noqa: S603
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if not wait_until_healthy(process, port):
            print(f"error: Airflow did not get ready. The end of {log}:\n{tail(log)}")
            return 1
        print(welcome(home, port), flush=True)
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        print("stopping Airflow", flush=True)
        stop(process, ports)


if __name__ == "__main__":
    sys.exit(main())
