"""The risk of files as written, counted by DuckDB; and `anonymize risk`, which tells it of any file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from anonymize.errors import AnonymizeError


def measure(
    files: Sequence[Path],
    columns: Sequence[str],
    *,
    subjects: Sequence[Path] | str | None = None,
    population: int | None = None,
    threshold: float = 0.09,
    delimiter: str | None = None,
    sensitive: Sequence[str] = (),
) -> dict[str, Any]:
    """The risk over some columns, and which of them drive it.

    files: Parquet, or a CSV with its delimiter; subjects: Parquet files of `__subject` beside them, a column that says whose a row is, or
    None: each row is somebody's own. population, threshold: as in `risk`. Returns the figures of `Risk`, `sizes` (the share of subjects in
    classes of 1, of up to 4, 10, 20, and more), `histogram` (class size -> classes),
    `drivers`: by column, the average risk were it not there; and `told`: by sensitive column, the share of subjects in classes that have a
    single value, which is told of them without finding them.
    """
    from anonymize.privacy.risk import Sizes, risk

    duck = _open(files, subjects, delimiter)
    histogram = _histogram(duck, columns)
    sizes = Sizes.of(histogram)
    figures = risk(sizes, threshold=threshold, population=population).asdict()
    shares, low = {}, 0
    for high, words in ((1, "alone"), (4, "2-4"), (10, "5-10"), (20, "11-20"), (1 << 60, "over 20")):
        part = (sizes.size > low) & (sizes.size <= high)
        shares[words] = round(float((sizes.size * sizes.count)[part].sum()) / max(sizes.subjects, 1), 6)
        low = high
    drivers = {}
    for column in columns:
        rest = Sizes.of(_histogram(duck, [name for name in columns if name != column]))
        drivers[column] = round(rest.classes / max(rest.subjects, 1), 6)
    told = {column: round(_told(duck, columns, column), 6) for column in sensitive}
    by_size = {str(size): histogram[size] for size in sorted(histogram)}
    return {**figures, "sizes": shares, "histogram": by_size, "drivers": dict(sorted(drivers.items(), key=lambda item: item[1])), "told": told}


def _open(files: Sequence[Path], subjects: Sequence[Path] | str | None, delimiter: str | None) -> Any:
    import duckdb

    duck = duckdb.connect(config={"memory_limit": "2GB"})
    duck.execute("SET enable_progress_bar = false")
    names = [str(file) for file in files]
    rows = duck.read_csv(names[0], sep=delimiter, header=True, all_varchar=True) if delimiter else duck.read_parquet(names)
    rows.create_view("data")
    if isinstance(subjects, str):
        duck.execute(f"CREATE VIEW t AS SELECT *, {_quoted(subjects)}::VARCHAR AS __subject FROM data")  # noqa: S608
    elif subjects:
        duck.read_parquet([str(file) for file in subjects]).create_view("whose")
        duck.execute("CREATE VIEW t AS SELECT * FROM data POSITIONAL JOIN whose")
    else:
        duck.execute("CREATE VIEW t AS SELECT *, NULL::VARCHAR AS __subject FROM data")
    return duck


def _histogram(duck: Any, columns: Sequence[str]) -> dict[int, int]:
    """Size -> classes. Rows of no subject count each alone."""
    keys = ", ".join(_quoted(name) for name in columns) or "'all'"
    size = "count(DISTINCT __subject) + count(*) FILTER (__subject IS NULL)"
    query = f"SELECT size, count(*) FROM (SELECT {size} AS size FROM t GROUP BY {keys}) GROUP BY size"  # noqa: S608
    return dict(duck.execute(query).fetchall())


def _told(duck: Any, columns: Sequence[str], sensitive: str) -> float:
    """The share of subjects whose class has a single value; a missing one tells nothing, so a class of nothing but those is none."""
    keys, value = ", ".join(_quoted(name) for name in columns) or "'all'", _quoted(sensitive)
    size = "count(DISTINCT __subject) + count(*) FILTER (__subject IS NULL)"
    alone = f"count(DISTINCT {value}) = 1 AND count({value}) = count(*)"
    query = f"SELECT sum(size) FILTER (alone), sum(size) FROM (SELECT {size} AS size, {alone} AS alone FROM t GROUP BY {keys})"  # noqa: S608
    one, everybody = duck.execute(query).fetchone() or (0, 0)
    return float(one or 0) / max(float(everybody or 0), 1.0)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


@click.command("risk")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--quasi", multiple=True, metavar="COLUMN", help="A quasi-identifier; default: every column but the subject.")
@click.option("--subject", metavar="COLUMN", help="Whose a row is, where a person has several.")
@click.option("--sensitive", multiple=True, metavar="COLUMN", help="Of whose values too much may be told; not a quasi-identifier.")
@click.option("--population", type=int, metavar="N", help="The people that the file was drawn from; default: itself.")
@click.option("--threshold", default=0.09, show_default=True, help="A risk over it is too high; 0.09 is EMA's.")
@click.option("--delimiter", help="Of a CSV; default: as its first line has it.")
@click.option("--report", type=click.Path(path_type=Path), metavar="R.json", help="Write the figures.")
def risk_command(
    file: Path,
    quasi: tuple[str, ...],
    subject: str | None,
    sensitive: tuple[str, ...],
    population: int | None,
    threshold: float,
    delimiter: str | None,
    report: Path | None,
) -> None:
    """How likely somebody is found in a CSV or Parquet file, and which columns it comes from."""
    from anonymize.flat import FlatFile, InputError

    source = FlatFile.open(file, delimiter)
    for name in (*quasi, *sensitive, *([subject] if subject else [])):
        if name not in source.columns:
            raise InputError(f"{file}: no column '{name}'. It has: {', '.join(source.columns)}")
    if population is not None and population < 1:
        raise InputError("--population is a number of people")
    columns = quasi or tuple(name for name in source.columns if name != subject and name not in sensitive)
    figures = measure(
        [file], columns, subjects=subject, population=population, threshold=threshold, delimiter=source.delimiter, sensitive=sensitive
    )
    if report is not None:
        report.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    click.echo(words(figures))


def words(figures: dict[str, Any]) -> str:
    """The figures as a steward reads them."""
    if not figures["subjects"]:
        raise AnonymizeError("the file has no rows, so there is no risk to tell")
    lines = [
        f"{figures['subjects']:,} subjects in {figures['classes']:,} classes",
        f"  found by one who knows she is in it:  at most {figures['highest']:.1%}, {figures['average']:.2%} on the average, "
        f"{figures['at_risk']:.1%} of the subjects over {figures['threshold']:.0%}",
        f"  by one who does not know:             at most {figures['journalist']:.1%}",
        f"  of all, by one who matches everybody: {figures['marketer']:.2%}",
        f"  alone in their class:                 {figures['unique']:.1%}; in the population {figures['population_unique']:.2%} "
        f"({figures['model']})",
        "  in classes of:                        " + ", ".join(f"{size} {share:.1%}" for size, share in figures["sizes"].items()),
        "  average risk without a column:        " + ", ".join(f"{name} {average:.2%}" for name, average in figures["drivers"].items()),
    ]
    lines += [
        f"  {column} is told of:  {share:.1%}, without finding them: their class has one value" for column, share in figures["told"].items()
    ]
    return "\n".join(lines)
