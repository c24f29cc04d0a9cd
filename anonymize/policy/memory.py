"""How much memory the local engine may take, and whose each part of it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: This process with its libraries, what it writes to Parquet at a time, and a search; measured, see docs/policy.md.
PROCESS = 700_000_000
#: A worker process with the lists and the model that it reads texts with.
WORKER = 500_000_000
#: The least with which DuckDB sorts, and the least that may be under way.
DUCKDB, UNDER_WAY = 300_000_000, 50_000_000
#: Of what is left, the part that may be under way to and from workers; and so many bytes are enough for any number of them.
SHARE, MOST_UNDER_WAY = 0.1, 500_000_000
#: What DuckDB may hold where something is counted beside the engine, by a gate or for a document; less where the engine has less (`keep`). With
#: more it is hardly faster, and a release of ten million rows would take three times the memory of one of a million.
COUNTING = 600_000_000
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?((?:[KMGT]i?)?B)", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


@dataclass(frozen=True)
class Shares:
    """Who has what. workers: processes; duckdb, under_way: bytes, what DuckDB may hold before it spills to disk, and what may be on its way to
    and from workers."""

    workers: int
    duckdb: int
    under_way: int


def size(text: str) -> int:
    """Bytes of `4GB`, `512MB`, `1.5GiB`. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("'memory' is no size: write a number and its unit, for example 4GB or 1500MB")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def least(workers: int) -> int:
    """The least memory, in bytes, with which so many workers run; one works in the process itself, and its lists and model are there."""
    return PROCESS + workers * WORKER + DUCKDB + UNDER_WAY


def shares(memory: str, workers: int, *, cores: int) -> Shares:
    """Divide the memory. workers: how many are asked for; 0: one a core, as many as fit.

    Raises ValueError for no size, and for one that is too small, with what to write in its place.
    """
    total = size(memory)
    if total < least(workers or 1):
        told = f"{workers} workers" if workers > 1 else "one worker"
        fewer = " or ask for fewer workers" if workers > 1 else ""
        raise ValueError(f"{memory} is too little for {told}: this takes at least {_told(least(workers or 1))}. Give that{fewer}")
    workers = workers or max(1, min(cores, (total - least(0)) // WORKER))
    left = total - PROCESS - workers * WORKER
    under_way = min(max(UNDER_WAY, int(left * SHARE)), MOST_UNDER_WAY)
    return Shares(workers, left - under_way, under_way)


def keep(share: Shares) -> None:
    """From here on what this process counts beside the engine takes no more memory than DuckDB has within it."""
    _kept["counting"] = min(COUNTING, share.duckdb)


def counting() -> str:
    """DuckDB's `memory_limit` where something is counted beside the engine."""
    return duckdb_limit(_kept.get("counting", COUNTING))


def duckdb_limit(size: int) -> str:
    """Bytes in DuckDB's words."""
    return f"{size // 1_000_000}MB"


_kept: dict[str, int] = {}


def _told(size: int) -> str:
    return f"{-(-size // 100_000_000) / 10:g}GB"
