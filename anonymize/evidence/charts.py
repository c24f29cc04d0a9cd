"""The pictures of a release: rows and what became of them, class sizes, attackers against the threshold, findings by kind, the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from anonymize.evidence.drawing import WIDTH, Drawing, Line, Paint, Rect, Shape, Side, Text
from anonymize.evidence.model import Audit, Evidence, TableHeld, TableRisk
from anonymize.evidence.wording import number, percent

Utility = Mapping[str, Any]
"""A table's, or a part of it, of the shape of `anonymize.privacy.utility.Utility`."""
MUCH_LOST = 0.75
"""A column that lost more than this of its precision is drawn in another colour."""
ROW = 34.0
"""Height of a bar with its words above it."""


@dataclass(frozen=True)
class Bar:
    """One bar: its label, its value, and the value in words."""

    label: str
    value: float
    words: str
    paint: Paint = "bar"


def bars(title: str, told: str, rows: Sequence[Bar], *, limit: tuple[float, str] | None = None, most: float | None = None) -> Drawing:
    """Horizontal bars, each under its words. limit: a value and its words, drawn as a dashed line; most: where the scale ends."""
    end = most or max([row.value for row in rows] + ([limit[0] * 1.25] if limit else []), default=1.0) or 1.0
    top = 20.0 if limit else 2.0
    shapes: list[Shape] = []
    for place, row in enumerate(rows):
        y = top + place * ROW
        shapes += [
            Text(0, y + 13, row.label),
            Text(WIDTH, y + 13, row.words, "ink", 12, "end", True),
            Rect(0, y + 18, WIDTH, 9, "pale"),
            *([Rect(0, y + 18, max(WIDTH * min(row.value / end, 1), 1.5), 9, row.paint)] if row.value > 0 else []),
        ]
    height = top + len(rows) * ROW
    if limit:
        x = WIDTH * min(limit[0] / end, 1)
        at: Side = "end" if x > WIDTH / 2 else "start"
        shapes += [Line(x, 14, x, height - 4, "ink", 1.25, True), Text(x, 10, limit[1], "soft", 11, at)]
    return Drawing(title, told, height, tuple(shapes))


def columns(title: str, told: str, rows: Sequence[Bar], *, limit: tuple[int, str] | None = None) -> Drawing:
    """Upright bars over their labels. limit: before which bar a dashed line stands, and its words."""
    high, top, floor = max([row.value for row in rows], default=0) or 1.0, 34.0, 164.0
    wide = WIDTH / max(len(rows), 1)
    shapes: list[Shape] = [Line(0, floor, WIDTH, floor, "grid")]
    for place, row in enumerate(rows):
        tall = (floor - top - 16) * row.value / high
        x = place * wide
        shapes += [
            *([Rect(x + wide * 0.14, floor - tall, wide * 0.72, tall, row.paint)] if row.value > 0 else []),
            Text(x + wide / 2, floor - tall - 5, row.words, "ink", 11, "middle", True),
            Text(x + wide / 2, floor + 15, row.label, "soft", 11, "middle"),
        ]
    if limit:
        x = limit[0] * wide
        shapes += [Line(x, 16, x, floor, "ink", 1.25, True), Text(x + 4, 12, limit[1], "soft", 11)]
    return Drawing(title, told, floor + 22, tuple(shapes))


# ---------------------------------------------------------------------------------------------------------------------------- of rows


def fates(held: Sequence[TableHeld], rows: dict[str, int]) -> Drawing:
    """What became of each table's rows, as shares of all that were read. rows: those that go out."""
    shapes: list[Shape] = []
    kinds: list[tuple[str, Paint]] = [("goes out", "bar"), ("suppressed", "other"), ("of people not published", "warn"), ("quarantined", "bad")]
    said = []
    for place, one in enumerate(held):
        y, x = place * ROW, 0.0
        parts = [rows.get(one.table, 0), one.suppressed, one.no_subject, one.quarantined]
        total = max(sum(parts), 1)
        said.append(f"{one.table} {percent(parts[0] / total)}")
        shapes += [
            Text(0, y + 13, one.table),
            Text(WIDTH, y + 13, f"{number(parts[0])} of {number(sum(parts))} rows", "ink", 12, "end", True),
            Rect(0, y + 18, WIDTH, 9, "pale"),
        ]
        for part, (_, paint) in zip(parts, kinds, strict=True):
            if part:
                wide = max(WIDTH * part / total, 2)
                shapes.append(Rect(min(x, WIDTH - wide), y + 18, max(wide - 1, 1), 9, paint))
                x += wide
    y, x = len(held) * ROW + 16, 0.0
    for words, paint in kinds:
        shapes += [Rect(x, y - 9, 10, 10, paint), Text(x + 14, y, words, "soft", 11)]
        x += 26 + 5.9 * len(words)
    told = f"Share of the rows that go out, by table: {', '.join(said)}."
    return Drawing("What became of the rows", told, y + 8, tuple(shapes))


# ------------------------------------------------------------------------------------------------------------------------------- risk


def bins(risk: TableRisk, k: int) -> list[tuple[str, float]]:
    """The share of people in classes under k, of k to 2k - 1, and so on, doubling; by words for the sizes."""
    largest = max(risk.histogram, default=k)
    edges = [1, k]
    while edges[-1] <= largest and len(edges) < 8:
        edges.append(edges[-1] * 2)
    people = max(sum(size * classes for size, classes in risk.histogram.items()), 1)
    found = []
    for low, high in pairwise(edges):
        last = high == edges[-1] and largest >= high
        inside = sum(size * classes for size, classes in risk.histogram.items() if low <= size and (size < high or last))
        words = f"under {k}" if low == 1 else f"{low}+" if last else f"{low}–{high - 1}"
        found.append((words, inside / people))
    return found


def class_sizes(risk: TableRisk, k: int) -> Drawing:
    """How many people share their class with how many, with a line at k."""
    found = bins(risk, k)
    rows = [Bar(words, share, percent(share), "bad" if place == 0 else "bar") for place, (words, share) in enumerate(found)]
    under = found[0][1]
    told = f"{percent(under)} of the people of {risk.table} are in classes of fewer than {k}; " + ", ".join(
        f"{percent(share)} in classes of {words}" for words, share in found[1:]
    )
    return columns(f"People of {risk.table} by the size of their class", told + ".", rows, limit=(1, f"k = {k}"))


ATTACKERS = {
    "highest": "Prosecutor: knows the person is in it; worst class",
    "average": "Prosecutor; on the average",
    "journalist": "Journalist: does not know it; worst class",
    "marketer": "Marketer: matches everybody",
}
"""The figures that are held against the threshold, in words. Source: El Emam (2013)."""


def attackers(risk: TableRisk) -> Drawing:
    """The chances of being found, against the threshold."""
    rows = []
    for name, words in ATTACKERS.items():
        value = getattr(risk, name)
        over = value > risk.threshold + 1e-9
        rows.append(Bar(words, value, f"{'✗ over' if over else '✓'} {percent(value)}", "bad" if over else "bar"))
    told = f"Threshold {percent(risk.threshold)}. " + "; ".join(f"{row.label}: {percent(row.value)}" for row in rows) + "."
    title = f"Chance that a person of {risk.table} is found"
    return bars(title, told, rows, limit=(risk.threshold, f"threshold {percent(risk.threshold)}"))


# ------------------------------------------------------------------------------------------------------------------------------- text


def by_kind(evidence: Evidence) -> dict[str, int]:
    """Findings of all tables by kind, most first."""
    total: dict[str, int] = {}
    for kinds in evidence.text.findings.values():
        for kind, found in kinds.items():
            total[kind] = total.get(kind, 0) + found
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def findings(evidence: Evidence, *, most: int = 12) -> Drawing:
    """Findings in free text by kind."""
    found = by_kind(evidence)
    shown = list(found.items())[:most]
    rest = sum(found.values()) - sum(n for _, n in shown)
    rows = [Bar(kind, n, number(n)) for kind, n in shown] + ([Bar("all others", rest, number(rest))] if rest else [])
    told = f"{number(sum(found.values()))} findings; most of them {', '.join(kind for kind, _ in shown[:3])}."
    return bars("Findings in free text by kind", told, rows)


def interval(audit: Audit) -> Drawing:
    """The recall with its interval, on a scale that ends at 100 %."""
    low = min(0.9, audit.recall_low)
    floor = int(low * 20) / 20

    def at(share: float) -> float:
        return 8 + (WIDTH - 16) * (share - floor) / (1 - floor)

    shapes: list[Shape] = [Line(8, 40, WIDTH - 8, 40, "grid")]
    for tick in range(5):
        share = floor + (1 - floor) * tick / 4
        where: Side = "start" if tick == 0 else "end" if tick == 4 else "middle"
        shapes += [Line(at(share), 36, at(share), 44, "grid"), Text(at(share), 60, percent(share), "soft", 11, where)]
    left, right = at(audit.recall_low), at(audit.recall_high)
    shapes += [
        Rect(left, 35, max(right - left, 2), 10, "bar"),
        Line(at(audit.recall), 28, at(audit.recall), 52, "ink", 2.5),
        Text(at(audit.recall), 20, percent(audit.recall), "ink", 12, "end" if audit.recall > (1 + floor) / 2 else "start", True),
    ]
    told = (
        f"{percent(audit.recall)} of the identifiers were replaced; 95 % interval {percent(audit.recall_low)} to {percent(audit.recall_high)}."
    )
    return Drawing("Recall, as estimated from labelled notes", told, 66, tuple(shapes))


# ---------------------------------------------------------------------------------------------------------------------------- utility


def losses(table: str, utility: Utility) -> Drawing | None:
    """How much each generalized column lost; None where none has a hierarchy."""
    found = {name: column["loss"] for name, column in utility["columns"].items() if column["loss"] is not None}
    if not found:
        return None
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    rows = [Bar(name, loss, percent(loss), "other" if loss >= MUCH_LOST else "bar") for name, loss in ranked]
    told = "Loss of precision, by column: " + ", ".join(f"{name} {percent(loss)}" for name, loss in ranked) + "."
    return bars(f"Precision lost in {table}", told, rows, most=1.0)


def before_after(column: str, histogram: Utility, utility: Utility) -> Drawing:
    """The shares of a column's values before and after: the wide pale bar is before, the narrow dark one after."""
    people = (max(utility["subjects_before"], 1), max(utility["subjects_after"], 1))
    shown = [*histogram["bars"], *([{**histogram["others"], "label": "others"}] if histogram["others"] else [])]
    shares = [(str(bar["label"]), bar["before"] / people[0], bar["after"] / people[1]) for bar in shown]
    widest = max((abs(after - before) for _, before, after in shares), default=0.0)
    told = (
        f"Shares of people with each value of {column}, by {histogram['level']}, before and after; the largest difference is {percent(widest)}."
    )
    draw = _few if len(shares) <= 6 else _many
    return draw(f"{column}, by {histogram['level']}: before and after", told, shares)


def _few(title: str, told: str, shares: Sequence[tuple[str, float, float]]) -> Drawing:
    most = max([max(before, after) for _, before, after in shares], default=1) or 1
    shapes: list[Shape] = _key(0)
    for place, (label, before, after) in enumerate(shares):
        y = 22 + place * (ROW + 4)
        shapes += [
            Text(0, y + 13, cut(label, 34)),
            Text(WIDTH, y + 13, f"{percent(before)} → {percent(after)}", "ink", 12, "end", True),
            Rect(0, y + 18, max(WIDTH * before / most, 1), 14, "faint"),
            Rect(0, y + 22, max(WIDTH * after / most, 1), 6, "bar"),
        ]
    return Drawing(title, told, 22 + len(shares) * (ROW + 4), tuple(shapes))


def _many(title: str, told: str, shares: Sequence[tuple[str, float, float]]) -> Drawing:
    most = max(max(before, after) for _, before, after in shares) or 1
    top, floor, wide = 30.0, 150.0, WIDTH / len(shares)
    shapes: list[Shape] = [*_key(0), Line(0, floor, WIDTH, floor, "grid")]
    step = -(-len(shares) // 6)
    for place, (label, before, after) in enumerate(shares):
        x, tall = place * wide, [(floor - top) * share / most for share in (before, after)]
        shapes += [
            Rect(x + wide * 0.08, floor - tall[0], wide * 0.84, tall[0], "faint"),
            Rect(x + wide * 0.3, floor - tall[1], wide * 0.4, tall[1], "bar"),
        ]
        if place % step == 0:
            at: Side = "start" if place == 0 else "middle"
            shapes.append(Text(x if place == 0 else x + wide / 2, floor + 15, cut(label, 11), "soft", 10.5, at))
    return Drawing(title, told, floor + 22, tuple(shapes))


def _key(y: float) -> list[Shape]:
    return [
        Rect(0, y + 1, 12, 12, "faint"),
        Text(17, y + 11, "before", "soft", 11),
        Rect(66, y + 4, 12, 6, "bar"),
        Text(83, y + 11, "after", "soft", 11),
    ]


def cut(words: str, most: int) -> str:
    """Words that fit."""
    return words if len(words) <= most else words[: most - 1] + "…"
