"""Evidence as the rows of tables and the figures of tiles: what page and report say alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from anonymize.evidence import charts
from anonymize.evidence.comparing import Changed, Comparison, Figure
from anonymize.evidence.drawing import Drawing
from anonymize.evidence.model import Evidence, Expectation, TableRisk
from anonymize.evidence.wording import number, percent
from anonymize.publish.manifest import Stated

Row = list[str]
NONE = "–"
SHOWN_AT_ONCE = 3
"""Columns whose distributions are shown without being asked for, by table: those that lost most."""


class Tile(Stated):
    """One figure of the summary; beside: what it is to be held against."""

    name: str
    figure: str
    beside: str = ""


def tiles(e: Evidence, c: Comparison) -> list[Tile]:
    """The figures that a steward knows a release by."""
    found = [
        Tile(name="People", figure=number(e.subjects), beside=_since(c.subjects, max)),
        Tile(name="Rows", figure=number(e.rows), beside=_since(c.rows, sum)),
        Tile(name="Smallest class", figure=_or_none(e.privacy.reached), beside=f"people; asked: {e.privacy.k}"),
    ]
    if e.risk:
        worst = max(e.risk, key=lambda one: one.highest)
        found.append(Tile(name="Highest risk", figure=percent(worst.highest), beside=f"threshold {percent(worst.threshold)}"))
    about = [held for held in e.held_back.by_table if held.rows_in and held.suppressed]
    if e.held_back.by_table and not e.privacy.sampled:
        worst_held = max((held.suppressed / held.rows_in for held in about), default=0.0)
        found.append(Tile(name="Suppressed", figure=percent(worst_held), beside=f"at most {percent(e.privacy.suppression)} is allowed"))
    kept = [utility["granularity"] for utility in e.utility.values() if utility.get("granularity") is not None]
    if kept:
        found.append(Tile(name="Precision kept", figure=percent(min(kept)), beside="of the quasi-identifiers"))
    if e.text.columns:
        audit = e.text.audit
        recall = percent(audit.recall) if audit else "not yet"
        found.append(
            Tile(name="Recall in text", figure=recall, beside=f"{percent(audit.recall_low)} or more" if audit else "no note is labelled")
        )
    return found


def _since(figures: Iterable[Figure], together: Any) -> str:
    pairs = [(figure.before or 0, figure.now or 0) for figure in figures]
    if not pairs:
        return ""
    moved = together(now for _, now in pairs) - together(before for before, _ in pairs)
    return f"{signed(moved)} since the last" if moved else "as in the last"


def signed(value: float, *, share: bool = False) -> str:
    """`+12`, `−3`; of a share in percentage points."""
    sign = "+" if value > 0 else "\u2212" if value < 0 else "±"
    return f"{sign}{100 * abs(value):.1f} points" if share else f"{sign}{number(abs(value))}"


def _or_none(value: float | None) -> str:
    return NONE if value is None else number(value)


def _share(value: float | None) -> str:
    return NONE if value is None else percent(value)


# -------------------------------------------------------------------------------------------------------------------- out, and held


def tables_out(e: Evidence) -> list[Row]:
    """A row a table: name, rows, people, columns, description."""
    return [[t.name, number(t.rows), _or_none(t.subjects), str(len(t.columns)), t.description] for t in e.tables]


def columns_out(e: Evidence) -> dict[str, list[Row]]:
    """By table a row a column: name, role, method, precision, type, description."""
    return {t.name: [[c.name, c.role, c.method, c.precision or NONE, c.type, c.description] for c in t.columns] for t in e.tables}


def rows_held(e: Evidence) -> list[Row]:
    """A row a table: read, out, suppressed, of people not published, quarantined, reasons."""
    out = {table.name: table.rows for table in e.tables}
    return [
        [
            held.table,
            *(number(n) for n in (held.rows_in + held.quarantined, out.get(held.table, 0), held.suppressed, held.no_subject, held.quarantined)),
            ", ".join(f"{reason}: {number(count)}" for reason, count in held.reasons.items()) or NONE,
        ]
        for held in e.held_back.by_table
    ]


def columns_held(e: Evidence) -> list[Row]:
    """A row a table: name, dropped, not named."""
    return [[held.table, ", ".join(held.dropped) or NONE, ", ".join(held.not_named) or NONE] for held in e.held_back.by_table]


# ------------------------------------------------------------------------------------------------------------------------------- risk


def risk_view(risk: TableRisk, k: int) -> dict[str, Any]:
    """The pictures and tables of one table's risk."""
    over = {name: getattr(risk, name) > risk.threshold + 1e-9 for name in charts.ATTACKERS}
    head, told = _told(risk)
    return {
        "risk": risk,
        "sizes": charts.class_sizes(risk, k) if risk.histogram else None,
        "attackers": charts.attackers(risk),
        "chances": [
            [words, percent(getattr(risk, name)), percent(risk.threshold), "✗ over" if over[name] else "✓ at or under"]
            for name, words in charts.ATTACKERS.items()
        ],
        "bins": _bins(risk, k),
        "drivers": [[column, percent(average)] for column, average in risk.drivers.items()],
        "told_head": head,
        "told": told,
    }


def _bins(risk: TableRisk, k: int) -> list[Row]:
    shares = charts.bins(risk, k) if risk.histogram else list(risk.sizes.items())
    return [[words, percent(share)] for words, share in shares]


def _told(risk: TableRisk) -> tuple[Row, list[Row]]:
    if not risk.attacks:
        return ["Column", "#Told"], [[column, percent(share)] for column, share in risk.told.items()]
    rows = []
    for column, one in risk.attacks.items():
        knowing = {k["ruled_out"]: k["certain"] for k in one.get("knowing", ())}
        figures = [one.get("told"), one.get("likely"), one.get("commonest"), one.get("baseline"), knowing.get(1)]
        rows.append([column, *(_share(figure) for figure in figures)])
    return ["Column", "#Told", "#Likely", "#Commonest", "#Guessing", "#Knowing one"], rows


def joined(e: Evidence) -> str:
    """What the releases tell together, in the gate's words."""
    return "; ".join(gate.words for gate in e.gates if gate.gate == "differences")


# ---------------------------------------------------------------------------------------------------------------------------- utility


def utility_rows(e: Evidence) -> list[Row]:
    """A row a table: rows left, people left, precision and information kept."""
    found = []
    for table in utility_order(e):
        one = e.utility[table]
        rows, people = (f"{number(one[f'{what}_after'])} of {number(one[f'{what}_before'])}" for what in ("rows", "subjects"))
        found.append([table, rows, people, _share(one.get("granularity")), _share(one.get("information"))])
    return found


def utility_order(e: Evidence) -> list[str]:
    """The tables that were made coarser, first."""
    return sorted(e.utility, key=lambda table: e.utility[table].get("granularity") is None)


def utility_view(table: str, utility: Mapping[str, Any]) -> dict[str, Any]:
    """The pictures and tables of one table's utility."""
    columns = utility["columns"]
    order = sorted(
        columns, key=lambda name: -(columns[name]["loss"] if columns[name]["loss"] is not None else columns[name]["total_variation"] or 0)
    )
    drawn: list[Drawing] = []
    for name in order:
        shown = columns[name]["histogram"]
        # One bar alone says nothing that the loss does not say.
        if shown and len(shown["bars"]) + (shown["others"] is not None) > 1:
            drawn.append(charts.before_after(name, shown, utility))
    return {
        "table": table,
        "coarser": utility.get("granularity") is not None,
        "losses": charts.losses(table, utility),
        "first": drawn[:SHOWN_AT_ONCE],
        "rest": drawn[SHOWN_AT_ONCE:],
        "columns": [
            [name, columns[name]["role"], *(_share(columns[name][key]) for key in ("loss", "information", "total_variation", "earth_mover"))]
            for name in order
        ],
        "pairs": [[" and ".join(pair["columns"]), f"{pair['v_before']:.2f}", f"{pair['v_after']:.2f}"] for pair in _pairs(utility)],
        "bars": [_bars(name, columns[name]["histogram"]) for name in order if columns[name]["histogram"] and columns[name]["histogram"]["bars"]],
        "left_out": list(utility.get("left_out", ())),
    }


def _pairs(utility: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The pairs whose association moved most, first."""
    return sorted(utility.get("pairs", ()), key=lambda pair: -abs(pair["v_before"] - pair["v_after"]))


def _bars(name: str, histogram: Mapping[str, Any]) -> dict[str, Any]:
    shown = [*histogram["bars"], *([{**histogram["others"], "label": "others"}] if histogram["others"] else [])]
    return {
        "caption": f"{name}, by {histogram['level']}",
        "rows": [[str(bar["label"]), number(bar["before"]), number(bar["after"])] for bar in shown],
    }


# ----------------------------------------------------------------------------------------------------------- text, checks, differences


def findings(e: Evidence) -> tuple[Row, list[Row]]:
    """The heads of the columns, and a row a kind: all tables together, then each."""
    tables = list(e.text.findings)
    total = charts.by_kind(e)
    rows = [[kind, number(n), *(number(e.text.findings[table].get(kind, 0)) for table in tables)] for kind, n in total.items()]
    return ["#All", *(f"#{table}" for table in tables)], rows


def expectation_rows(found: Iterable[Expectation]) -> list[Row]:
    """Where, what, cells that are not so."""
    return [[_where(one), one.expectation, _or_none(one.failed)] for one in found]


def expectation_verdicts(found: Iterable[Expectation]) -> list[Row]:
    """Where, what, verdict."""
    return [[_where(one), one.expectation, "✓ met" if one.passed else "✗ not met"] for one in found]


def expectation_lines(found: Iterable[Expectation]) -> list[Row]:
    """Where, what, verdict, cells that are not so."""
    return [[_where(one), one.expectation, "✓ met" if one.passed else "✗ not met", _or_none(one.failed)] for one in found]


def _where(one: Expectation) -> str:
    return f"{one.table}.{one.column}" if one.column else one.table


def changed_rows(found: Iterable[Changed]) -> list[Row]:
    """Where, change, before, now."""
    signs = {"added": "+\u00a0added", "removed": "\u2212\u00a0removed", "changed": "≠\u00a0changed"}
    return [[one.what, signs[one.change], one.before or NONE, one.now or NONE] for one in found]


def sizes_rows(c: Comparison) -> list[Row]:
    """A row a table: rows then and now and their change, people then and now and their change."""
    people = {one.what: one for one in c.subjects}
    rows = []
    for one in c.rows:
        who = people.get(one.what)
        rows.append([one.what, *_moved(one), *(_moved(who) if who else [NONE] * 3)])
    return rows


def _moved(one: Figure) -> Row:
    then, now = (NONE if value is None else number(value) for value in (one.before, one.now))
    return [then, now, "new" if one.before is None else "gone" if one.now is None else signed(one.difference or 0)]


def figure_rows(found: Iterable[Figure]) -> list[Row]:
    """What, last, now, change, verdict; only of those that moved."""
    rows = []
    for one in found:
        shown = percent if one.share else number
        moved = signed(one.difference, share=one.share) if one.difference is not None else "new" if one.before is None else "gone"
        verdict = {True: "!\u00a0worse", False: "✓\u00a0better", None: ""}[one.worse]
        rows.append([one.what, *(NONE if v is None else shown(v) for v in (one.before, one.now)), moved, verdict])
    return rows


def figure_tables(c: Comparison) -> list[tuple[str, tuple[Figure, ...], list[Figure]]]:
    """Caption, all figures, and those that moved; of rows and people `sizes_rows` tells."""
    named = {"Risk": c.risk, "Utility": c.utility, "Held back": c.held_back, "Findings in text": c.text}
    return [(caption, figures, [one for one in figures if one.before != one.now]) for caption, figures in named.items() if figures]


# ------------------------------------------------------------------------------------------------------------------------------ files


def provenance(e: Evidence) -> list[tuple[str, str]]:
    """Names and words of what the release is made by and for."""
    said = [
        ("Recipient", e.recipient),
        ("Purpose", e.purpose),
        ("Licence", e.licence),
        ("Contact", e.contact),
        ("Cite as", e.citation),
        ("Run", e.run),
        ("Begun", moment(e.started)),
        ("Policy, SHA-256", e.policy_sha256),
        ("Code", f"anonymize {e.code_version}"),
        ("Key", f"id {e.key_id}"),
    ]
    return [(name, words) for name, words in said if words]


def file_rows(e: Evidence) -> list[Row]:
    """Path, rows, bytes, hash."""
    return [[file.path, _or_none(file.rows), number(file.bytes), file.sha256] for file in e.files]


def moment(at: datetime) -> str:
    """`2026-11-21 10:15:00 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def day(at: datetime) -> str:
    """`21 November 2026`."""
    months = "January February March April May June July August September October November December".split()
    local = at.astimezone(UTC)
    return f"{local.day} {months[local.month - 1]} {local.year}"
