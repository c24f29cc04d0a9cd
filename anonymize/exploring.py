"""`anonymize explore`: what a policy's data would lose at other settings, so that a steward chooses and does not guess."""

from __future__ import annotations

import csv
import html
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anonymize.errors import AnonymizeError

if TYPE_CHECKING:
    import pyarrow as pa

    from anonymize.hierarchies import Hierarchy
    from anonymize.privacy import SearchSettings
    from anonymize.run import Run

KS = (2, 3, 5, 11, 20, 50)
SUPPRESSIONS = (0.0, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Point:
    """A table at some settings. exact: a column that was kept at its first level; highest, average: risk, as in `Risk`; loss: 0 to 1;
    suppressed: share of the rows. frontier: no other point has both less risk and less loss. reached: False where it cannot be."""

    table: str
    mode: str
    k: int
    suppression: float
    exact: str
    reached: bool
    loss: float = 1.0
    suppressed: float = 1.0
    highest: float = 0.0
    average: float = 0.0
    frontier: bool = False


def explore(
    table: str,
    tally: pa.Table,
    hierarchies: dict[str, Hierarchy],
    settings: SearchSettings,
    *,
    subject: str | None = None,
    ks: Sequence[int] = KS,
    suppressions: Sequence[float] = SUPPRESSIONS,
    say: Callable[[str], None] = lambda _: None,
) -> list[Point]:
    """Search a tally at each k and suppression budget in both modes, and at the settings' own with each column kept exact."""
    points = []
    for k, suppression in itertools.product(sorted({*ks, settings.k}), sorted({*suppressions, settings.suppression})):
        points.append(_point(table, tally, hierarchies, replace(settings, k=k, suppression=suppression), "optimal", subject))
    for k in sorted({*ks, settings.k}):
        points.append(_point(table, tally, hierarchies, replace(settings, k=k, suppression=0.0), "local", subject))
        say(f"{table}: k = {k}")
    for column in hierarchies:
        exact = replace(settings, min_levels={**settings.min_levels, column: 0}, max_levels={**settings.max_levels, column: 0})
        points.append(_point(table, tally, hierarchies, exact, "optimal", subject, column))
    return _with_frontier(points)


def _point(
    table: str, tally: pa.Table, hierarchies: dict[str, Hierarchy], settings: SearchSettings, mode: str, subject: str | None, exact: str = ""
) -> Point:
    from anonymize.privacy import recode_locally, search

    point = Point(table, mode, settings.k, settings.suppression, exact, reached=False)
    try:
        solution = (recode_locally if mode == "local" else search)(tally, hierarchies, settings, subject=subject)
    except AnonymizeError:
        return point
    rows = int(tally["subjects"].to_numpy().sum())
    if not solution.classes:
        return point
    return replace(
        point,
        reached=True,
        loss=round(solution.loss, 6),
        suppressed=round(solution.suppressed / rows, 6),
        highest=round(1 / solution.k, 6),
        average=round(solution.classes / (rows - solution.suppressed), 6),
    )


def _with_frontier(points: list[Point]) -> list[Point]:
    def beaten(one: Point) -> bool:
        return any(
            other.reached
            and other.k >= one.k
            and other.loss <= one.loss
            and other.suppressed <= one.suppressed
            and (other.k, other.loss, other.suppressed) != (one.k, one.loss, one.suppressed)
            for other in points
            if other.mode == one.mode
        )

    return [replace(point, frontier=point.reached and not beaten(point)) for point in points]


def of_policy(run: Run, ks: Sequence[int] = KS, suppressions: Sequence[float] = SUPPRESSIONS) -> Iterator[list[Point]]:
    """Bring a run up to its de-identified tables, and explore each that has quasi-identifiers. The run can go on afterwards."""
    from anonymize import pipeline

    pipeline.check(run)
    for table in pipeline.tables(run.policy):
        pipeline.extract(run, table)
    pipeline.collect(run)
    for table in pipeline.tables(run.policy):
        if pipeline.quasi_rules(run.policy, table):
            pipeline.deidentify(run, table)
            known = run.engine.read(run.folder("deidentify", table))
            tally, hierarchies, settings, subject = pipeline.searchable(run, table, known)
            yield explore(table, tally, hierarchies, settings, subject=subject, ks=ks, suppressions=suppressions, say=run.say)


# ----------------------------------------------------------------------------------------------------------- the table, the picture


def text(points: Sequence[Point]) -> str:
    """The points as a steward reads them; `*` marks those that no other of their mode beats."""
    lines = [f"{'':2}{'table':16} {'mode':8} {'k':>4} {'budget':>7} {'kept exact':18} {'loss':>7} {'suppressed':>10} {'average risk':>12}"]
    for p in points:
        figures = f"{p.loss:7.4f} {p.suppressed:10.2%} {p.average:12.2%}" if p.reached else "cannot be reached"
        lines.append(f"{'*' if p.frontier else '':2}{p.table:16} {p.mode:8} {p.k:4} {p.suppression:7.0%} {p.exact:18} {figures}")
    return "\n".join(lines)


def write_csv(points: Sequence[Point], file: Path) -> None:
    """One row a point."""
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.DictWriter(out, [field.name for field in fields(Point)])
        rows.writeheader()
        rows.writerows(asdict(point) for point in points)


_WIDE, _HIGH, _EDGE = 640, 420, 60
_COLOURS = {"optimal": "#0b6fa4", "local": "#c2571a"}


def picture(points: Sequence[Point], title: str) -> str:
    """An SVG: the highest risk (1/k asked for) to the right, the loss upwards; a line a mode through its frontier."""
    reached = [point for point in points if point.reached and not point.exact]
    most = max((1 / point.k for point in reached), default=1.0) * 1.05
    lost = max((point.loss for point in reached), default=1.0) * 1.05 or 1.0

    def at(point: Point) -> tuple[float, float]:
        return _EDGE + (_WIDE - 2 * _EDGE) * (1 / point.k) / most, _HIGH - _EDGE - (_HIGH - 2 * _EDGE) * point.loss / lost

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDE}" height="{_HIGH}" fill="white"/><text x="{_EDGE}" y="28" font-size="15">{html.escape(title)}</text>',
        f'<path d="M{_EDGE},{_EDGE} V{_HIGH - _EDGE} H{_WIDE - _EDGE}" fill="none" stroke="#555"/>',
        f'<text x="{_WIDE / 2}" y="{_HIGH - 18}" text-anchor="middle">highest risk (1/k)</text>',
        f'<text x="18" y="{_HIGH / 2}" text-anchor="middle" transform="rotate(-90 18 {_HIGH / 2})">information lost</text>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = _EDGE + (_WIDE - 2 * _EDGE) * share, _HIGH - _EDGE - (_HIGH - 2 * _EDGE) * share
        parts.append(f'<text x="{x:.0f}" y="{_HIGH - _EDGE + 16}" text-anchor="middle">{share * most:.2f}</text>')
        parts.append(f'<text x="{_EDGE - 6}" y="{y + 4:.0f}" text-anchor="end">{share * lost:.2f}</text>')
    for number, (mode, colour) in enumerate(_COLOURS.items()):
        ours = [point for point in reached if point.mode == mode]
        # At one k the least loss that any budget gives: the others are dots above it.
        best = {point.k: point for point in sorted(ours, key=lambda p: -p.loss)}
        line = " ".join("{:.1f},{:.1f}".format(*at(point)) for _, point in sorted(best.items()))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for point in ours:
            x, y = at(point)
            said = html.escape(
                f"{mode}, k = {point.k}, budget {point.suppression:.0%}: loss {point.loss:.4f}, suppressed {point.suppressed:.2%}"
            )
            fill = colour if point.frontier else "white"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}"><title>{said}</title></circle>')
        parts.append(f'<text x="{_WIDE - _EDGE}" y="{_EDGE + 16 * number}" text-anchor="end" fill="{colour}">{mode}</text>')
    return "\n".join([*parts, "</svg>\n"])


@click.command("explore")
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("explore"), show_default=True, help="For the picture and the table."
)
@click.option("--k", "ks", multiple=True, type=click.IntRange(2), help=f"Which k; default {', '.join(map(str, KS))}.")
@click.option("--suppression", "suppressions", multiple=True, type=click.FloatRange(0, 1), help="Which budgets; default 0, 2, 5, 10 %.")
def explore_command(policy_file: Path, out: Path, ks: tuple[int, ...], suppressions: tuple[float, ...]) -> None:
    """Draw risk against what is lost, over k, the suppression budget and the columns' precision.

    The records are extracted and de-identified as a run does it; a later run goes on from there.
    """
    from anonymize.policy.loader import load
    from anonymize.run import Run, exclusive

    policy = load(policy_file)
    with exclusive(policy):
        run = Run.open(policy, say=click.echo)
        try:
            found = list(of_policy(run, ks or KS, suppressions or SUPPRESSIONS))
        finally:
            run.close()
    if not found:
        raise AnonymizeError(f"{policy_file}: no table has quasi-identifiers, so there is nothing to weigh")
    out.mkdir(parents=True, exist_ok=True)
    for points in found:
        table = points[0].table
        (out / f"{table}.svg").write_text(picture(points, f"{policy.dataset}: {table}"), encoding="utf-8")
        write_csv(points, out / f"{table}.csv")
        click.echo(text(points))
        click.echo(f"{out / table}.svg, {out / table}.csv")
