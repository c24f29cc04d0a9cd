"""One way of reading one table to Arrow batches, measured: seconds, rows, bytes of Arrow, peak memory. Prints JSON."""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.csv

from anonymize.sources import postgres_arrow  # noqa: F401 (what is imported is not measured)
from anonymize.sources.sql import SqlDatabase

#: How our source is opened for each way; `copy` is the yardstick.
WAYS: dict[str, dict[str, Any]] = {
    "copy": {},
    "fast": {},
    "fast, 2 ranges at a time": {"partitions": 2, "connections": 2},
    "usual driver": {"fast": False},
}


def read(url: str, table: str, way: str) -> Iterator[pa.RecordBatch]:
    """The table's batches in the order of its key."""
    if way == "copy":
        yield from copied(url, table)
        return
    source = SqlDatabase("bench", url, schema=None, batch_rows=10_000, folder=Path("."), **WAYS[way])
    for item in source.read(table, source.schema(table).names):
        assert isinstance(item, pa.RecordBatch)
        yield item


def copied(url: str, table: str) -> Iterator[pa.RecordBatch]:
    """`COPY … TO STDOUT` as CSV, streamed through a pipe into Arrow's reader, with the types that our source has."""
    types = SqlDatabase("bench", url, schema=None, batch_rows=1, folder=Path(".")).schema(table)
    end, start = os.pipe()

    def pump() -> None:
        with psycopg.connect(url) as connection, open(start, "wb", buffering=1 << 20) as out:
            connection.execute("SET TIME ZONE 'UTC'")
            with connection.cursor().copy(f"COPY (SELECT * FROM {table} ORDER BY id) TO STDOUT (FORMAT csv, HEADER)") as copy:  # type: ignore[arg-type]
                for data in copy:
                    out.write(data)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    options = pa.csv.ConvertOptions(
        column_types={f.name: f.type for f in types},
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["t"],
        false_values=["f"],
    )
    with io.FileIO(end) as pipe:
        yield from pa.csv.open_csv(pa.PythonFile(pipe, "r"), convert_options=options, read_options=pa.csv.ReadOptions(block_size=1 << 22))
    thread.join()


def main() -> None:
    url, table, way = sys.argv[1:]
    start, rows, size = time.perf_counter(), 0, 0
    for batch in read(url, table, way):
        rows, size = rows + batch.num_rows, size + batch.nbytes
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "rows": rows, "bytes": size, "peak": peak}), flush=True)
    os._exit(0)  # Arrow's reader of a pipe may still hold a thread, and Python's own end aborts on it


if __name__ == "__main__":
    main()
