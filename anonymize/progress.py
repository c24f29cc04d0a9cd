"""How far a run is: rows, rate and time left. Counts and names of tables, never a value of a record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

SECONDS = 5
"""How often a long step says in a log how far it is."""
RENEWED = 0.2
"""How often the line on a terminal is written anew, in seconds."""


@dataclass(frozen=True)
class Progress:
    """How far a step is with a table. rows: done; of: all of them, None where nobody knows; rate: rows a second since the first came, for what
    came before them is the start of processes and models."""

    step: str
    table: str
    rows: int
    of: int | None
    rate: float

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at this rate."""
        return (self.of - self.rows) / self.rate if self.of is not None and self.rate else None

    def __str__(self) -> str:
        of = f" of {self.of:,}" if self.of is not None else ""
        left = f", about {_duration(self.left)} left" if self.left is not None else ""
        return f"{self.step} {self.table}: {self.rows:,}{of} rows, {self.rate:,.0f} rows/s{left}"


class Watcher(Protocol):
    """Who is told of a run. A step says a line when it is done; a long one is watched on its way."""

    def line(self, text: str) -> None:
        """A line of counts, for a person."""
        ...

    def progress(self, progress: Progress) -> None:
        """How far a step is; told after every batch, so often."""
        ...

    def done(self, step: str, table: str | None, counts: dict[str, Any], seconds: float) -> None:
        """A step was done now (and not before), with what it recorded."""
        ...

    def rest(self) -> None:
        """Nothing is under way any more."""
        ...


class Lines:
    """Plain lines, as for a log: of a table's progress one every few seconds."""

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        self._say = say
        self._told: dict[tuple[str, str], float] = {}

    def line(self, text: str) -> None:
        self._say(text)

    def progress(self, progress: Progress) -> None:
        if self.due(progress):
            self._say(str(progress))

    def due(self, progress: Progress) -> bool:
        """Whether it is time to tell of a table: a few seconds after its first rows or the last time, and not at its end, of which a line is
        said."""
        now = time.monotonic()
        last = self._told.setdefault((progress.step, progress.table), now)
        if now - last < SECONDS or progress.rows == progress.of:
            return False
        self._told[progress.step, progress.table] = now
        return True

    def done(self, step: str, table: str | None, counts: dict[str, Any], seconds: float) -> None:  # noqa: ARG002
        self._told = {told: at for told, at in self._told.items() if told != (step, table)}

    def rest(self) -> None:
        """Lines stay as they are."""


class OnTerminal(Lines):
    """Lines, and beneath them one that renews itself. terminal: a stream that is one (`isatty`)."""

    def __init__(self, say: Callable[[str], None], terminal: TextIO) -> None:
        super().__init__(say)
        self._terminal = terminal
        self._drawn = 0.0

    def line(self, text: str) -> None:
        self._write("")
        super().line(text)

    def progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._drawn >= RENEWED:
            self._drawn = now
            part = f"{progress.rows / progress.of:4.0%}  " if progress.of else ""
            self._write(f"{part}{progress}")

    def rest(self) -> None:
        self._write("")

    def _write(self, text: str) -> None:
        try:
            width = os.get_terminal_size(self._terminal.fileno()).columns or 80
        except OSError:
            width = 80
        self._terminal.write(f"\r\x1b[K{text[: width - 1]}")
        self._terminal.flush()


def paced(say: Callable[[str], None], what: str) -> Callable[[object], None]:
    """A function that says what it is told, in words, but only every few seconds."""
    told = time.monotonic()

    def tell(progress: object) -> None:
        nonlocal told
        if time.monotonic() - told > SECONDS:
            told = time.monotonic()
            say(f"{what}: {progress}")

    return tell


def _duration(seconds: float | None) -> str:
    whole = round(seconds or 0)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"
