"""`make bench-extract`: our streaming from PostgreSQL beside `COPY … TO STDOUT` and Arrow's CSV reader, each in a process of its own.

The table is like a hospital's labs: keys, codes, times, numbers, a short text. The goal is 60 % of COPY's speed in flat memory; the same is
shown for the usual driver, for ranges side by side, and for notes. Turns alternate, and the best of each is taken: others use the machine too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import psycopg

from benchmarks.extract.one import WAYS
from tests.servers import postgres

GOAL = 0.60
TABLES = {
    "labs": "SELECT n AS id, 'P' || n % 50000 AS patient, n / 7 AS encounter, "
    "'2020-01-01T00:00Z'::timestamptz + n * interval '1 minute' AS taken_at, "
    "date '2020-01-01' + n % 1500 AS day, 'LOINC-' || n % 300 AS code, (n % 1000) / 7.0::float8 AS value, n % 97 = 0 AS abnormal, "
    "CASE WHEN n % 5 = 0 THEN NULL ELSE 'mmol/L' END AS unit, (n % 10000)::numeric / 100 AS cost FROM generate_series(1, {rows}) n",
    "notes": "SELECT n AS id, 'P' || n % 50000 AS patient, '2020-01-01'::timestamp + n * interval '1 minute' AS written_at, "
    "repeat('Seen today for follow-up, stable on current treatment. ', 20 + n % 60) AS body FROM generate_series(1, {rows} / 40) n",
}


@click.command()
@click.option("--rows", default=2_000_000, show_default=True, help="Rows of the larger labs; the smaller have a quarter.")
@click.option("--turns", default=3, show_default=True, help="How often each way is measured.")
def main(rows: int, turns: int) -> None:
    """Measure, print, and say whether the goal was met."""
    lines = ["| table | rows | way | rows/s | MB/s (Arrow) | of COPY | peak memory, MB |", "| --- | --- | --- | --- | --- | --- | --- |"]
    shares, peaks = {}, {}
    with postgres() as url:
        for table, select in TABLES.items():
            for size in (rows // 4, rows):
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(f"DROP TABLE IF EXISTS {table}")  # type: ignore[arg-type]
                    connection.execute(f"CREATE TABLE {table} AS {select.format(rows=size)}")  # type: ignore[arg-type]
                    connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")  # type: ignore[arg-type]
                    connection.execute(f"VACUUM ANALYZE {table}")  # type: ignore[arg-type]
                best = {way: min((one(url, table, way) for _ in range(turns)), key=lambda m: m["seconds"]) for way in WAYS}
                for way, found in best.items():
                    share = best["copy"]["seconds"] / found["seconds"]
                    shares[table, size, way], peaks[table, size, way] = share, found["peak"]
                    speed, volume = found["rows"] / found["seconds"], found["bytes"] / found["seconds"] / 1e6
                    figures = f"{speed:,.0f} | {volume:,.0f} | {share:.0%} | {found['peak'] / 1e6:,.0f}"
                    lines.append(f"| {table} | {found['rows']:,} | {way} | {figures} |")
                    click.echo(lines[-1])
    text = "\n".join(lines)
    click.echo("\n" + text)
    slow = [f"{table} of {size:,} labs: {share:.0%}" for (table, size, way), share in shares.items() if way == "fast" and share < GOAL]
    click.echo(f"\nNot met (goal {GOAL:.0%} of COPY): {', '.join(slow)}" if slow else f"\nMet: at least {GOAL:.0%} of COPY")
    grown = {table: peaks[table, rows, "fast"] / peaks[table, rows // 4, "fast"] for table in TABLES}
    click.echo("Memory at four times the rows: " + ", ".join(f"{table} x {growth:.2f}" for table, growth in grown.items()))
    (Path(__file__).parent / "results.md").write_text(f"# As `make bench-extract` printed it last\n\n{text}\n")


def one(url: str, table: str, way: str) -> dict[str, float]:
    """One measurement, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.extract.one", url, table, way], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
