"""The risk of files as written, counted by DuckDB; and `anonymize risk`, which tells it of any file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from anonymize.errors import AnonymizeError
from anonymize.policy import memory

if TYPE_CHECKING:
    from anonymize.privacy.attacks import Profiles


def measure(
    files: Sequence[Path],
    columns: Sequence[str],
    *,
    subjects: Sequence[Path] | str | None = None,
    population: int | None = None,
    threshold: float = 0.09,
    delimiter: str | None = None,
    sensitive: Sequence[str] = (),
    scratch: Path | None = None,
) -> dict[str, Any]:
    """The risk over some columns, and which of them drive it.

    files: Parquet, or a CSV with its delimiter; subjects: Parquet files of `__subject` beside them, a column that says whose a row is, or
    None: each row is somebody's own. population, threshold: as in `risk`; scratch: a private folder for what does not fit into memory; None: a
    folder of the system's, made for it and removed. Returns the figures of `Risk`, `sizes` (the share of subjects in
    classes of 1, of up to 4, 10, 20, and more), `histogram` (class size -> classes), `drivers`: by column, the average risk were it not there,
    lowest first, so what to make coarser first; `told`: by sensitive column, the share of subjects in classes that have a single value, which
    is told of them without finding them; and `attacks`: by sensitive column, the figures of `privacy.attacks.Attacks`.
    """
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with TemporaryDirectory(prefix="risk-", dir=scratch) as room, closing(_open(files, subjects, delimiter, room)) as duck:
        return _measured(duck, columns, population=population, threshold=threshold, sensitive=sensitive)


def _measured(duck: Any, columns: Sequence[str], *, population: int | None, threshold: float, sensitive: Sequence[str]) -> dict[str, Any]:
    from anonymize.privacy.attacks import attacks
    from anonymize.privacy.risk import Sizes, risk

    _people(duck, columns)
    people = _size(duck)
    histogram = _histogram(duck, range(len(columns)), people)
    sizes = Sizes.of(histogram)
    figures = risk(sizes, threshold=threshold, population=population).asdict()
    shares, low = {}, 0
    for high, words in ((1, "alone"), (4, "2-4"), (10, "5-10"), (20, "11-20"), (1 << 60, "over 20")):
        part = (sizes.size > low) & (sizes.size <= high)
        shares[words] = round(float((sizes.size * sizes.count)[part].sum()) / max(sizes.subjects, 1), 6)
        low = high
    drivers = {}
    for place, column in enumerate(columns):
        rest = Sizes.of(_histogram(duck, [n for n in range(len(columns)) if n != place], people))
        drivers[column] = round(rest.classes / max(rest.subjects, 1), 6)
    seen = {column: attacks(*_profiles(duck, columns, column, people)).asdict() for column in sensitive}
    told = {column: one["told"] for column, one in seen.items()}
    by_size = {str(size): histogram[size] for size in sorted(histogram)}
    ordered = dict(sorted(drivers.items(), key=lambda item: item[1]))
    return {**figures, "sizes": shares, "histogram": by_size, "drivers": ordered, "told": told, "attacks": seen}


def _open(files: Sequence[Path], subjects: Sequence[Path] | str | None, delimiter: str | None, room: str) -> Any:
    import duckdb

    duck = duckdb.connect(config={"memory_limit": memory.counting(), "temp_directory": room})
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


def _people(duck: Any, columns: Sequence[str]) -> None:
    """A table `people`: each subject once with each class of all columns (`k0`, `k1` …) that she is in; whoever has no subject stands alone."""
    cells = _cells(columns)
    known = f"SELECT DISTINCT {cells}__subject AS who FROM t WHERE __subject IS NOT NULL"  # noqa: S608
    alone = f"SELECT {cells}NULL AS who FROM t WHERE __subject IS NULL"  # noqa: S608
    duck.execute(f"CREATE TEMP TABLE people AS {known} UNION ALL {alone}")


def _cells(columns: Sequence[str]) -> str:
    return "".join(f"{_quoted(name)} AS k{n}, " for n, name in enumerate(columns)) or "0 AS k0, "


def _histogram(duck: Any, places: Sequence[int], people: str) -> dict[int, int]:
    """Size -> classes, of the columns at some places. people: how they are counted (`_size`)."""
    keys = ", ".join(f"k{n}" for n in places) or "'all'"
    query = f"SELECT size, count(*) FROM (SELECT {people} AS size FROM people GROUP BY {keys}) GROUP BY size"  # noqa: S608
    return dict(duck.execute(query).fetchall())


def _size(duck: Any) -> str:
    """How the people of `people` are counted, rows of no subject each alone: where nobody is in two classes, rows are people, and are counted in
    a fraction of the time."""
    once = duck.execute("SELECT count(DISTINCT who) = count(who) FROM people").fetchone()[0]
    return "count(*)" if once else "count(DISTINCT who) + count(*) FILTER (who IS NULL)"


def _profiles(duck: Any, columns: Sequence[str], sensitive: str, people: str) -> tuple[Profiles, float]:
    """How the classes hold a column, in subjects; and the share of its commonest value in all."""
    import numpy as np

    from anonymize.privacy.attacks import Profiles

    keys, cells = ", ".join(f"k{n}" for n in range(len(columns))) or "k0", _cells(columns)
    # Each subject once with each class and value; whoever has no subject stands alone. Then rows are people.
    known = f"SELECT DISTINCT {cells}{_quoted(sensitive)}::VARCHAR AS v, __subject AS who FROM t WHERE __subject IS NOT NULL"  # noqa: S608
    alone = f"SELECT {cells}{_quoted(sensitive)}::VARCHAR AS v, NULL AS who FROM t WHERE __subject IS NULL"  # noqa: S608
    duck.execute(f"CREATE OR REPLACE TEMP TABLE valued AS {known} UNION ALL {alone}")
    held = f"SELECT {keys}, v, 0 AS whole, count(*) AS n FROM valued GROUP BY {keys}, v"  # noqa: S608
    counted = f"{held} UNION ALL SELECT {keys}, NULL, 1, {people} FROM people GROUP BY {keys}"  # noqa: S608
    known = "WHERE whole = 0 AND v IS NOT NULL"
    each = (
        f"SELECT max(n) FILTER (WHERE whole = 1) AS size, max(n, 4) FILTER ({known}) AS top, sum(n) FILTER (WHERE whole = 0)::BIGINT AS total, "  # noqa: S608
        f"count(*) FILTER ({known}) AS vals, coalesce(sum(n) FILTER (WHERE whole = 0 AND v IS NULL), 0)::BIGINT AS missing "
        f"FROM ({counted}) GROUP BY {keys}"
    )
    profiles = duck.execute(f"SELECT size, top, total, vals, missing, count(*) FROM ({each}) GROUP BY ALL ORDER BY ALL").fetchall()  # noqa: S608
    size, total, values, missing, count = (np.array([row[c] for row in profiles], np.int64) for c in (0, 2, 3, 4, 5))
    top = np.array([[*(row[1] or []), 0, 0, 0, 0][:4] for row in profiles], np.int64).reshape(-1, 4)
    whole = duck.execute(f"SELECT v, {people} FROM valued GROUP BY v").fetchall()  # noqa: S608
    most = max((n for v, n in whole if v is not None), default=0)
    return Profiles(size, top, total, values, missing, count), most / max(sum(n for _, n in whole), 1)


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
    first, lowest = next(iter(figures["drivers"].items()), ("", 1.0))
    if figures["at_risk"] and lowest < figures["average"]:
        lines.append(f"  make coarser first:                   {first} (without it the average risk is {lowest:.2%})")
    for column, seen in figures["attacks"].items():
        lines += [
            f"  {column}: told of {seen['told']:.1%} without finding them (their class has one value); a class has {seen['values']:.1f} values "
            f"on the average",
            f"    its commonest value is right of {seen['commonest']:.1%} in their class, of {seen['baseline']:.1%} in the whole table",
            "    sure of a share of the subjects, who can rule out so many values: "
            + ", ".join(f"{one['ruled_out']} {one['certain']:.1%}" for one in seen["knowing"]),
        ]
    return "\n".join(lines)
