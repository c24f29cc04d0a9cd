"""What the machine itself gives: the same loop in one process, and in several at the same time."""

from __future__ import annotations

import subprocess
import sys

#: As detection does: Python's own steps, and numpy's over what a cache holds. Prints its wall seconds.
LOOP = """
import time
import numpy as np
a, x = np.random.default_rng(1).random((200, 200)), 0
start = time.perf_counter()
for i in range(300):
    a = a * 1.0001 % 1
    for j in range(40_000):
        x = (x * 31 + j) & 0xFFFFFF
print(time.perf_counter() - start)
"""


def times_one(processes: int) -> float:
    """How many times the work of one process so many do in the same time; as many, where each has a core of its own."""
    return processes * _seconds(1) / _seconds(processes)


def _seconds(processes: int) -> float:
    command = [sys.executable, "-c", LOOP]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return max(float(process.communicate()[0]) for process in started)
