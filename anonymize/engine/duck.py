"""DuckDB where no workspace is at hand: over one file, or over a few."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb


@contextmanager
def private_duck() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own. What does not fit into memory goes into a private folder that is removed; DuckDB by itself would
    take the caller's."""
    with tempfile.TemporaryDirectory(prefix="anonymize-") as room, duckdb.connect(config={"temp_directory": room}) as duck:
        duck.execute("SET enable_progress_bar = false")
        yield duck
