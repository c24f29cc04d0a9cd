"""The command line: thin, with exit codes, and no value of a record in what it prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import KEY
from tests.road import hospital


def anonymize(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anonymize.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, env={**os.environ, "ANONYMIZE_KEY": KEY})


def test_from_a_policy_to_a_published_release(tmp_path: Path) -> None:
    file = hospital.policy(hospital.build(tmp_path))
    ran = anonymize("run", file, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "the release waits for a steward" in ran.stdout
    reviewed = anonymize("review", file, "--approve", "--as", "Test Steward", "--reason", "a test", cwd=tmp_path)
    assert reviewed.returncode == 0, reviewed.stderr
    opening = next(line for line in reviewed.stdout.splitlines() if "import duckdb" in line)
    assert subprocess.run([sys.executable, "-c", opening.strip()], cwd=tmp_path, check=False).returncode == 0
    assert "published" in anonymize("runs", file, cwd=tmp_path).stdout
    assert not any(name in ran.stdout + reviewed.stdout for name in ("Abernathy", "Kowalczyk", "Wilhelmina"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "none.yaml"), 2, "cannot be read"),
        (("review", "none", "--approve", "--as", "a", "--reason", "b"), 1, "no run 'none'"),
        (("review", "x", "--as", "a", "--reason", "b"), 2, "say --approve or --reject"),
        (("draft", "/none"), 1, "there is no /none"),
        (("rnu",), 2, "No such command"),
    ],
)
def test_mistakes_have_a_sentence_and_an_exit_code(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    done = anonymize(*words, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_an_unexpected_error_is_said_without_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from anonymize import cli

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Abernathy, Thaddeus")

    monkeypatch.setattr("anonymize.draft.draft", broken)
    monkeypatch.setattr(sys, "argv", ["anonymize", "draft", "anything"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert ended.value.code == 10
    assert "RuntimeError" in told
    assert "Abernathy" not in told


def test_no_worker_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    text = hospital.POLICY.replace("workers: 1", "workers: 2")
    file = hospital.policy(hospital.build(tmp_path, 3_000), text)
    run = subprocess.Popen(
        [sys.executable, "-m", "anonymize.cli", "run", str(file)], cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        workers: list[int] = []
        for _ in range(600):
            workers = [pid for pid in _children(run.pid) if b"spawn_main" in _command(pid)]
            if len(workers) == 2:
                break
            time.sleep(0.1)
        assert len(workers) == 2
        run.send_signal(signal.SIGKILL)
        run.wait()
        for _ in range(300):
            if not any(b"spawn_main" in _command(pid) for pid in workers):
                return
            time.sleep(0.1)
        pytest.fail("a worker lives on with records in its memory")
    finally:
        os.killpg(run.pid, signal.SIGKILL) if run.poll() is None else None


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(entry.parent.name))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
