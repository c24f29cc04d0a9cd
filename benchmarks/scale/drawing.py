"""The plots of what `benchmarks.scale` measured: over rows, over processes, over the lengths of notes. What was not measured is not drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.plots import Line, Panel, plot

GB = 1e9
#: What is asked at the size that it is asked of.
ASKED = 10_000_000
Runs = Sequence[dict[str, Any]]


def draw(found: dict[str, Any], folder: Path) -> None:
    """found: the content of scale.json."""
    if any(one["rows"] != found["tables"][0]["rows"] for one in found.get("tables", [])):
        _rows(found["tables"], folder / "performance-rows.svg")
    if len({one["workers"] for one in found.get("texts", [])}) > 1:
        _cores(found["texts"], folder / "performance-cores.svg")
    if len({one["notes"] for one in found.get("lengths", [])}) > 1:
        _lengths(found["lengths"], folder / "performance-lengths.svg")


def medians(runs: Runs, by: str, what: str) -> dict[float, float]:
    """Of runs that were repeated, by one of their figures."""
    return {key: median(one[what] for one in runs if one[by] == key) for key in sorted({one[by] for one in runs})}


def _rows(tables: Runs, file: Path) -> None:
    ways = {way: [one for one in tables if one["way"] == way] for way in dict.fromkeys(one["way"] for one in tables)}
    lines = {way: some for way, some in ways.items() if len(some) > 1}

    def panel(title: str, what: str, unit: float, most: float) -> Panel:
        return Panel(title, [(way, [o["rows"] for o in some], [o[what] / unit for o in some]) for way, some in lines.items()], [(ASKED, most)])

    panels = [panel("seconds", "seconds", 1, 40), panel("GB at the most", "peak", GB, 4)]
    plot(file, "rows", panels, size_word="stays, 12 columns, Parquet to release")


def _cores(texts: Runs, file: Path) -> None:
    rates = [{**one, "rate": one["notes"] / one["deidentify"], "each": 1_000 * one["used"] / one["notes"]} for one in texts]
    given = medians(rates, "workers", "gives")
    first = medians(rates, "workers", "rate")[1]
    machine: Line = ("what the machine gives", list(given), [first * times for times in given.values()])
    lines = [("notes/s", *_line(rates, "workers", "rate")), machine]
    panels = [
        Panel("notes a second", lines, points=[(one["workers"], one["rate"]) for one in rates], through=0),
        Panel(
            "processor ms a note",
            [("all processes", *_line(rates, "workers", "each"))],
            points=[(one["workers"], one["each"]) for one in rates],
            through=None,
        ),
    ]
    about = texts[0]
    plot(file, "processes", panels, size_word=f"{about['notes']:,} notes of {about['characters'] / about['notes']:,.0f} characters", log="")


def _lengths(lengths: Runs, file: Path) -> None:
    runs = [{**one, "length": one["characters"] / one["notes"], "gb": one["peak"] / GB} for one in lengths]

    def panel(title: str, lines: dict[str, str], points: str) -> Panel:
        drawn = [(name, *_line(runs, "length", what)) for name, what in lines.items()]
        return Panel(title, drawn, points=[(one["length"], one[points]) for one in runs], through=None)

    panels = [
        panel("seconds of deidentify", {"wall": "deidentify", "processor": "used"}, "used"),
        panel("GB at the most", {"all of the road": "gb"}, "gb"),
    ]
    plot(file, "characters of each note", panels, size_word=f"the same {lengths[0]['characters']:,} characters, one process", log="x")


def _line(runs: Runs, by: str, what: str) -> tuple[list[float], list[float]]:
    found = medians(runs, by, what)
    return list(found), list(found.values())
