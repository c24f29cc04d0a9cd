"""`anonymize generalize`: what its options say."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from anonymize.flat import InputError
from anonymize.generalizing.one_file import Asked, generalize


@click.command("generalize")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--hierarchies", required=True, metavar="DIR", type=click.Path(path_type=Path), help="ARX's files, '*_hierarchy_COLUMN.csv'.")
@click.option("--k", default="5", show_default=True, help="Rows, or subjects, a class: a number, cms (11), ema-0070 (12), or 'risk 0.09'.")
@click.option("--l", "l", multiple=True, metavar="COLUMN:L", help="l-diversity: COLUMN:3, COLUMN:entropy:3, COLUMN:recursive:4:3.")
@click.option("--t", "t", multiple=True, metavar="COLUMN:T", help="t-closeness: COLUMN:0.2, COLUMN:ordered:0.2, COLUMN:hierarchical:0.2.")
@click.option("--beta", multiple=True, metavar="COLUMN:B", help="beta-likeness: COLUMN:1, COLUMN:basic:1.")
@click.option("--population", type=click.Path(path_type=Path), metavar="FILE", help="The people whom the rows were drawn from: CSV or Parquet.")
@click.option("--k-map", metavar="K", help="With --population: people of it a class; then --k may be 1.")
@click.option("--presence", metavar="LEAST..MOST", help="With --population: the share of a class's people who are in the file.")
@click.option("--people-column", multiple=True, metavar="COLUMN:NAME", help="What the population calls a column, where not the same.")
@click.option("--people-count", metavar="NAME", help="The population's column with the number of people of a row.")
@click.option("--mode", type=click.Choice(["local", "optimal"]), default="optimal", show_default=True)
@click.option("--suppression", default=0.05, show_default=True, help="The largest share of rows that may be suppressed.")
@click.option("--delimiter", help="Of a CSV; default: as its first line has it.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="A column without a hierarchy that leaves as it is.")
@click.option("--drop", multiple=True, metavar="COLUMN", help="A column that does not leave.")
@click.option("--subject", metavar="COLUMN", help="Whose a row is: k counts subjects. The column does not leave, unless kept.")
@click.option("--weight", multiple=True, metavar="COLUMN:W", help="How much a column's loss counts; default 1.")
@click.option("--exact", multiple=True, metavar="COLUMN", help="A quasi-identifier that is not made coarser.")
@click.option("--seconds", default=0.0, help="After the work of so many seconds the best so far is taken; 0: the best there is.")
@click.option("--report", type=click.Path(path_type=Path), metavar="R.json", help="Write what was done.")
def generalize_command(
    source: Path,
    target: Path,
    k: str,
    k_map: str | None,
    presence: str | None,
    people_column: tuple[str, ...],
    report: Path | None,
    weight: tuple[str, ...],
    **options: Any,
) -> None:
    """Generalize a CSV or Parquet file until no row stands alone in it.

    Every column needs a hierarchy file in ARX's format, or --keep or --drop. The output is recounted before it is left in place.
    """
    asked = Asked(
        k=_k(k),
        k_map=_k(k_map) if k_map else None,
        presence=_presence(presence) if presence else None,
        people_columns=_renamed(people_column),
        weights=_weights(weight),
        **options,
    )
    done = generalize(source, target, asked, click.echo)
    if report is not None:
        report.write_text(json.dumps(asdict(done), indent=2) + "\n", encoding="utf-8")
    if done.cut:
        click.echo(done.cut)
    left_out = f"; {done.removed:,} rows left out" if done.removed else ""
    click.echo(
        f"{target}: {done.rows_written:,} rows, recounted: the smallest of {done.classes:,} classes has {done.k}{left_out} "
        f"({done.seconds['all']:.1f} s)"
    )


def _k(words: str) -> int:
    from anonymize.policy.model import named_k

    try:
        return int(str(named_k(words)))
    except ValueError:
        raise InputError(f"--k is a number, cms, ema-0070 or 'risk SHARE', not '{words}'") from None


def _presence(words: str) -> tuple[float, float]:
    try:
        least, most = (float(word) for word in words.split(".."))
    except ValueError:
        least = most = -1.0
    if not 0 <= least < most <= 1:
        raise InputError("--presence is written LEAST..MOST, two shares from 0 to 1, for example 0..0.2")
    return least, most


def _renamed(words: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition(":") for text in words]
    if not all(column and name for column, _, name in pairs):
        raise InputError("--people-column is written COLUMN:NAME, NAME being the population's")
    return {column: name for column, _, name in pairs}


def _weights(words: tuple[str, ...]) -> dict[str, float]:
    weights = {}
    for text in words:
        column, _, number = text.rpartition(":")
        try:
            weights[column] = float(number)
        except ValueError:
            weights[column] = 0.0
        if not column or weights[column] <= 0:
            raise InputError("--weight is written COLUMN:W, W over 0")
    return weights
