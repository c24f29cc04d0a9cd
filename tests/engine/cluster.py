"""A Spark standalone cluster of real processes: a master and two workers, started and stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def standalone(folder: Path, secrets: dict[str, str]) -> Iterator[str]:
    """The master's URL. All that the cluster writes lies in `folder`; secrets: in the workers' environment, and so in their executors'."""
    import pyspark

    start = [f"{pyspark.__path__[0]}/bin/spark-class"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("ANONYMIZE", "SPARK"))}
    plain |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(folder / "local"), "PYSPARK_PYTHON": sys.executable}
    folder.mkdir(parents=True)
    processes = []
    try:
        master = [*start, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        processes.append(_start(master, folder / "master.log", plain))
        url = _said(folder / "master.log", r"Starting Spark master at (spark://\S+)")
        for number in (1, 2):
            one = ["--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", "1g"]
            one += ["--work-dir", str(folder / f"work-{number}"), url]
            log = folder / f"worker-{number}.log"
            processes.append(_start([*start, "org.apache.spark.deploy.worker.Worker", *one], log, plain | secrets))
        for number in (1, 2):
            _said(folder / f"worker-{number}.log", r"(Successfully registered with master)")
        yield url
    finally:
        for process in reversed(processes):
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _start(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True, cwd=log.parent)


def _said(log: Path, pattern: str) -> str:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found = re.search(pattern, log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.2)
    raise TimeoutError(f"{log.name} did not say {pattern}:\n{log.read_text(errors='replace')[-2000:]}")
