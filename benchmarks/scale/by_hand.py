"""What a programmer in a hurry would write: the column arithmetic alone, in DuckDB or Polars. No check, no search, no gate, no manifest.

The same columns come out: ids as salted hashes, dates moved by each person's own number of days, quasi-identifiers at levels that somebody
has chosen beforehand, rows in the order of the pseudonym, in Parquet files of a million rows with zstd.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SALT = "not a secret"


def by_duckdb(source: Path, out: Path, span: int) -> None:
    """One query."""
    import duckdb

    out.mkdir(parents=True, exist_ok=True)
    duck = duckdb.connect(config={"memory_limit": "4GB", "threads": os.cpu_count() or 1, "temp_directory": str(out / "spill")})
    duck.execute("SET enable_progress_bar = false")
    query = f"""
        SELECT (hash('{SALT}' || stay_id) >> 1)::BIGINT AS stay_id, substr(sha256('{SALT}' || patient_id), 1, 24) AS patient_id,
               (year(birth_date) // {span} * {span}) || '-' || (year(birth_date) // {span} * {span} + {span - 1}) AS birth_date,
               sex, race, substr(zip, 1, 3) AS zip, admitted_on + off AS admitted_on, discharged_on + off AS discharged_on,
               diagnosis, round(charge / 10) * 10 AS charge
        FROM (SELECT *, (hash('{SALT}' || patient_id) % 730)::INTEGER - 365 AS off FROM read_parquet('{source}'))
        ORDER BY patient_id
    """
    duck.execute(
        f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 131072, FILE_SIZE_BYTES '40MB', OVERWRITE_OR_IGNORE)"
    )


def by_polars(source: Path, out: Path, span: int) -> None:
    """The same, lazily. Its hash is not cryptographic, for it has no other."""
    import polars as pl

    out.mkdir(parents=True, exist_ok=True)
    low = pl.col("birth_date").dt.year() // span * span
    off = pl.duration(days=(pl.col("patient_id").hash(1) % 730).cast(pl.Int64) - 365)
    table = pl.scan_parquet(source).select(
        (pl.col("stay_id").hash(2) // 2).cast(pl.Int64),
        (pl.col("patient_id").hash(3).cast(pl.String).str.zfill(20) + pl.col("patient_id").hash(4).cast(pl.String).str.slice(0, 4)).alias(
            "patient_id"
        ),
        (low.cast(pl.String) + "-" + (low + span - 1).cast(pl.String)).alias("birth_date"),
        "sex", "race", pl.col("zip").str.slice(0, 3),
        pl.col("admitted_on") + off, pl.col("discharged_on") + off,
        "diagnosis", (pl.col("charge") / 10).round() * 10,
    )  # fmt: skip
    table.sort("patient_id").sink_parquet(out / "stays.parquet", compression="zstd", row_group_size=131_072)


if __name__ == "__main__":
    {"duckdb": by_duckdb, "polars": by_polars}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
