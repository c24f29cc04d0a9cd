"""How fast rows are taken from a source: so that the people who work with it do not notice us."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """Keeps all readers that share it together under `rate` rows a second; without a rate it never waits.

    Counted from the first row on. What was not taken while a later step was slow is not caught up by more than a second's rows.
    """

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self.rate, self._clock, self._sleep = rate, clock, sleep
        self._due = 0.0
        self._lock = threading.Lock()

    def most(self, rows: int) -> int:
        """How many rows may be fetched at once: no more than a quarter of a second's, so that there are no bursts."""
        return rows if self.rate is None else max(1, min(rows, self.rate // 4))

    def taken(self, rows: int) -> None:
        """Say that rows were taken; returns when the next may be."""
        if self.rate is None:
            return
        with self._lock:
            now = self._clock()
            self._due = max(self._due, now - 1) + rows / self.rate
            wait = self._due - now
        if wait > 0:
            self._sleep(wait)
