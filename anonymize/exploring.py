"""`anonymize explore`: what a policy's data would lose at other settings, so that a steward chooses and does not guess."""

from __future__ import annotations

import csv
import html
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anonymize.errors import AnonymizeError

if TYPE_CHECKING:
    import pyarrow as pa

    from anonymize.engine import Table
    from anonymize.hierarchies import Hierarchy
    from anonymize.policy.model import Policy
    from anonymize.privacy import LocalSolution, SearchSettings, Solution
    from anonymize.privacy.learning import Learned
    from anonymize.run import Run

KS = (2, 3, 5, 11, 20, 50)
SUPPRESSIONS = (0.0, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Point:
    """A table at some settings. exact: a column that was kept at its first level; highest, average: risk, as in `Risk`; loss: 0 to 1;
    suppressed: share of the rows. frontier: no other point has both less risk and less loss. reached: False where it cannot be.

    With a target, as in `Learned`: accuracy, auc of a model trained on the release; source_accuracy, source_auc of one trained on the source;
    baseline: the accuracy of who always says the commonest class."""

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
    target: str = ""
    accuracy: float | None = None
    auc: float | None = None
    source_accuracy: float | None = None
    source_auc: float | None = None
    baseline: float | None = None


def explore(
    table: str,
    tally: pa.Table,
    hierarchies: dict[str, Hierarchy],
    settings: SearchSettings,
    *,
    subject: str | None = None,
    ks: Sequence[int] = KS,
    suppressions: Sequence[float] = SUPPRESSIONS,
    learn: Learner | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Point]:
    """Search a tally at each k and suppression budget in both modes, and at the settings' own with each column kept exact. learn: what a model
    trained on each of these releases is worth."""

    def point(asked: SearchSettings, mode: str, exact: str = "") -> Point:
        return _point(table, tally, hierarchies, asked, mode, subject, exact, learn)

    points = []
    for k, suppression in itertools.product(sorted({*ks, settings.k}), sorted({*suppressions, settings.suppression})):
        points.append(point(replace(settings, k=k, suppression=suppression), "optimal"))
    for k in sorted({*ks, settings.k}):
        points.append(point(replace(settings, k=k, suppression=0.0), "local"))
        say(f"{table}: k = {k}")
    for column in hierarchies:
        exact = replace(settings, min_levels={**settings.min_levels, column: 0}, max_levels={**settings.max_levels, column: 0})
        points.append(point(exact, "optimal", column))
    return _with_frontier(points)


class Learner:
    """Trains models on what solutions publish of some rows. rows: source values, quasi-identifiers among them; target: the column to be told;
    subjects: whose each row is. Raises AnonymizeError where the target is none."""

    def __init__(self, rows: pa.Table, target: str, subjects: pa.Array) -> None:
        from anonymize.privacy.learning import Task

        self.task, self.target = Task.of(rows, target, rows.schema.names, subjects), target
        self._source: Learned | None = None

    def __call__(self, solution: Solution | LocalSolution) -> dict[str, Any]:
        """The figures of a point."""
        import pyarrow as pa

        from anonymize.privacy.solution import SUPPRESSED

        self._source = self._source or self.task.source()
        (batch,) = self.task.rows.combine_chunks().to_batches()
        published = pa.Table.from_batches([solution.apply(batch)])
        found = self.task.release(published, published[SUPPRESSED].to_numpy().astype(bool))
        figures = {"accuracy": found.accuracy, "auc": found.auc} if found else {}
        figures |= {"source_accuracy": self._source.accuracy, "source_auc": self._source.auc, "baseline": self.task.baseline}
        return {"target": self.target, **{name: round(figure, 4) for name, figure in figures.items()}}


def _point(
    table: str,
    tally: pa.Table,
    hierarchies: dict[str, Hierarchy],
    settings: SearchSettings,
    mode: str,
    subject: str | None,
    exact: str,
    learn: Learner | None,
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
        **(learn(solution) if learn else {}),
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


def of_policy(
    run: Run, ks: Sequence[int] = KS, suppressions: Sequence[float] = SUPPRESSIONS, target: str | None = None
) -> Iterator[list[Point]]:
    """Bring a run up to its de-identified tables, and explore each that has quasi-identifiers. The run can go on afterwards.

    target: a column that leaves as it is; the tables that have it say also what a model learns. Raises AnonymizeError where none has."""
    from anonymize import pipeline

    if target is not None and not any(_has(run.policy, table, target) for table in pipeline.tables(run.policy)):
        raise AnonymizeError(f"{run.policy.file}: no table with quasi-identifiers publishes a plain or sensitive column '{target}' to be told")

    pipeline.check(run)
    for table in pipeline.tables(run.policy):
        pipeline.extract(run, table)
    pipeline.collect(run)
    for table in pipeline.tables(run.policy):
        if pipeline.quasi_rules(run.policy, table):
            pipeline.deidentify(run, table)
            known = run.engine.read(run.folder("deidentify", table))
            tally, hierarchies, settings, subject = pipeline.searchable(run, table, known)
            learn = _learner(known, run.policy, table, target) if target is not None and _has(run.policy, table, target) else None
            yield explore(table, tally, hierarchies, settings, subject=subject, ks=ks, suppressions=suppressions, learn=learn, say=run.say)


def _has(policy: Policy, table: str, target: str) -> bool:
    from anonymize import pipeline

    return bool(pipeline.quasi_rules(policy, table)) and target in _told_by(policy, table, ("sensitive", "plain"))


def _told_by(policy: Policy, table: str, roles: tuple[str, ...]) -> list[str]:
    """The published columns of some roles."""
    rules = policy.tables[table].columns.items()
    return [rule.rename or name for name, rule in rules if rule.leaves and rule.role.value in roles]


def _learner(known: Table, policy: Policy, table: str, target: str) -> Learner:
    """Of so many rows as a model needs, all of a subject's or none, always the same."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from anonymize.privacy.learning import ROWS
    from anonymize.transform.batch import SUBJECT

    columns = _told_by(policy, table, ("quasi", "sensitive", "plain", "date"))
    columns = [name for name in columns if not pa.types.is_nested(known.schema.field(name).type)]
    rows = sum(batch.num_rows for batch in known.batches())
    # Pseudonyms are a hash's output in base 32, so those up to a word are a random part of the subjects.
    share = min(1 << 20, int((1 << 20) * ROWS / max(rows, 1)))
    bound = "".join("234567abcdefghijklmnopqrstuvwxyz"[min(share, (1 << 20) - 1) >> shift & 31] for shift in (15, 10, 5, 0))
    parts, held = [], 0
    for batch in known.batches():
        some = batch.select([*columns, SUBJECT])
        if rows > ROWS:
            some = some.filter(pc.less_equal(pc.utf8_slice_codeunits(pc.fill_null(some[SUBJECT], ""), 0, 4), bound))
        parts.append(some.slice(0, max(0, 4 * ROWS - held)))
        held += len(parts[-1])
    sample = pa.Table.from_batches(parts).combine_chunks()
    return Learner(sample.select(columns), target, sample[SUBJECT].combine_chunks())


# ----------------------------------------------------------------------------------------------------------- the table, the picture


def text(points: Sequence[Point]) -> str:
    """The points as a steward reads them; `*` marks those that no other of their mode beats."""
    lines = [f"{'':2}{'table':16} {'mode':8} {'k':>4} {'budget':>7} {'kept exact':18} {'loss':>7} {'suppressed':>10} {'average risk':>12}"]
    learned = next((p for p in points if p.source_accuracy is not None), None)
    if learned is not None:
        lines[0] += f" {'told right':>10} {'auc':>6}"
        lines.append(
            f"  {learned.target}: a model of the source tells {learned.source_accuracy:.1%} right (auc {learned.source_auc:.3f}); "
            f"who always says the commonest, {learned.baseline:.1%}"
        )
    for p in points:
        figures = f"{p.loss:7.4f} {p.suppressed:10.2%} {p.average:12.2%}" if p.reached else "cannot be reached"
        figures += f" {p.accuracy:10.1%} {p.auc:6.3f}" if p.accuracy is not None else ""
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
    """An SVG: the highest risk (1/k asked for) to the right, the loss upwards, a line a mode through its frontier; with a target, under it the
    share that a model trained on the release tells right, between lines for the source and for who always says the commonest."""
    reached = [point for point in points if point.reached and not point.exact]
    learned = [point for point in reached if point.accuracy is not None]
    lost = max((point.loss for point in reached), default=1.0) * 1.05 or 1.0
    parts = [*_panel(reached, title, "information lost", 0, (0.0, lost), lambda point: point.loss)]
    if learned:
        lines = {"source": learned[0].source_accuracy or 0.0, "commonest": learned[0].baseline or 0.0}
        right = [point.accuracy or 0.0 for point in learned]
        low, high = min(*lines.values(), *right), max(*lines.values(), *right)
        room = 0.05 * ((high - low) or 1.0)
        heading, span = f"{learned[0].target}: told right by a model of the release", (low - room, high + room)
        parts += _panel(learned, heading, "told right", _HIGH, span, lambda point: point.accuracy or 0.0, lines)
    high = _HIGH * (1 + bool(learned))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {high}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{_WIDE}" height="{high}" fill="white"/>', *parts, "</svg>\n"])


def _panel(
    points: Sequence[Point],
    title: str,
    label: str,
    top: int,
    span: tuple[float, float],
    height: Callable[[Point], float],
    lines: Mapping[str, float] | None = None,
) -> Iterator[str]:
    """One picture of points, `top` from the top; lines: heights that are drawn across, with their names."""
    most = max((1 / point.k for point in points), default=1.0) * 1.05
    bottom, left, right = top + _HIGH - _EDGE, _EDGE, _WIDE - _EDGE

    def up(value: float) -> float:
        return bottom - (_HIGH - 2 * _EDGE) * (value - span[0]) / (span[1] - span[0])

    def at(point: Point) -> tuple[float, float]:
        return left + (right - left) * (1 / point.k) / most, up(height(point))

    yield f'<text x="{left}" y="{top + 28}" font-size="15">{html.escape(title)}</text>'
    yield f'<path d="M{left},{top + _EDGE} V{bottom} H{right}" fill="none" stroke="#555"/>'
    yield f'<text x="{_WIDE / 2}" y="{bottom + 42}" text-anchor="middle">highest risk (1/k)</text>'
    middle = top + _HIGH / 2
    yield f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{html.escape(label)}</text>'
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = span[0] + share * (span[1] - span[0])
        yield f'<text x="{left + (right - left) * share:.0f}" y="{bottom + 16}" text-anchor="middle">{share * most:.2f}</text>'
        yield f'<text x="{left - 6}" y="{up(value) + 4:.0f}" text-anchor="end">{value:.2f}</text>'
    for name, value in (lines or {}).items():
        yield f'<path d="M{left},{up(value):.1f} H{right}" stroke="#555" stroke-dasharray="4 3"/>'
        yield f'<text x="{right}" y="{up(value) - 4:.1f}" text-anchor="end" fill="#555">{name}</text>'
    for number, (mode, colour) in enumerate(_COLOURS.items()):
        ours = [point for point in points if point.mode == mode]
        # At one k the least loss that any budget gives: the others are dots above it.
        best = {point.k: point for point in sorted(ours, key=lambda p: -p.loss)}
        line = " ".join("{:.1f},{:.1f}".format(*at(point)) for _, point in sorted(best.items()))
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        for point in ours:
            x, y = at(point)
            said = f"{mode}, k = {point.k}, budget {point.suppression:.0%}: loss {point.loss:.4f}, suppressed {point.suppressed:.2%}"
            said += f", told right {point.accuracy:.1%}" if point.accuracy is not None else ""
            fill = colour if point.frontier else "white"
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}"><title>{html.escape(said)}</title></circle>'
        place = (left + 10, "start") if lines else (right, "end")
        yield f'<text x="{place[0]}" y="{top + _EDGE + 16 * number}" text-anchor="{place[1]}" fill="{colour}">{mode}</text>'


@click.command("explore")
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("explore"), show_default=True, help="For the picture and the table."
)
@click.option("--k", "ks", multiple=True, type=click.IntRange(2), help=f"Which k; default {', '.join(map(str, KS))}.")
@click.option("--suppression", "suppressions", multiple=True, type=click.FloatRange(0, 1), help="Which budgets; default 0, 2, 5, 10 %.")
@click.option("--target", metavar="COLUMN", help="A column that leaves as it is: how well a model trained on each release tells it.")
def explore_command(policy_file: Path, out: Path, ks: tuple[int, ...], suppressions: tuple[float, ...], target: str | None) -> None:
    """Draw risk against what is lost, over k, the suppression budget and the columns' precision.

    The records are extracted and de-identified as a run does it; a later run goes on from there.
    """
    from anonymize.policy.loader import load
    from anonymize.run import Run, exclusive

    policy = load(policy_file)
    with exclusive(policy):
        run = Run.open(policy, say=click.echo)
        try:
            found = list(of_policy(run, ks or KS, suppressions or SUPPRESSIONS, target))
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
