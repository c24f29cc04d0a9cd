"""A command in a process of its own, and what it and all that it starts take: seconds, seconds of the processor, memory at the most."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

EVERY = 0.25


@dataclass(frozen=True)
class Measured:
    """seconds: wall; processor: of all processes, in seconds; peak: bytes of memory of all processes together at the most, a page that several
    share counted once (PSS); said: the last line of its output, where that is JSON."""

    seconds: float
    processor: float
    peak: int
    said: dict[str, Any]


def watched(command: Sequence[str], *, timeout: float = 3600, env: dict[str, str] | None = None) -> Measured:
    """Run a command to its end. Raises RuntimeError, with the end of what it said, where it fails."""
    # As Python is by itself: what it compiled of a module is kept, so that only the first command of a fresh installation compiles.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    before = os.times()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**inherited, **(env or {})})
    peak, used = [0], [0.0]
    done = threading.Event()
    looking = threading.Thread(target=_look, args=(process.pid, peak, used, done), daemon=True)
    looking.start()
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeError(f"took more than {timeout:,.0f} s") from None
    finally:
        done.set()
        looking.join()
    seconds, after = time.perf_counter() - start, os.times()
    if process.returncode:
        raise RuntimeError(f"ended with {process.returncode}: {(err or out).strip()[-600:]}")
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    processor = max(processor, used[0])  # the system forgets what nobody waited for, as a Java machine that was told to go
    lines = out.strip().splitlines()
    said = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Measured(seconds, processor, peak[0], said)


def python(module: str, *arguments: object, **options: Any) -> Measured:
    """A module of ours, watched."""
    return watched([sys.executable, "-m", module, *map(str, arguments)], **options)


def processor_of(process: psutil.Process) -> float:
    """Seconds of the processor, of a process and all that it started and that are there, or were waited for."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _look(pid: int, peak: list[int], used: list[float], done: threading.Event) -> None:
    while not done.wait(EVERY):
        total = 0
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(pid)
            for process in [first, *first.children(recursive=True)]:
                total += _pss(process.pid)
            used[0] = max(used[0], processor_of(first))
        peak[0] = max(peak[0], total)


def _pss(pid: int) -> int:
    """With what is mapped from files, which the page cache gives back whenever somebody else wants memory: the stricter reading."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
