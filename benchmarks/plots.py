"""Plots of what grows with what, as SVG. Growth in proportion is drawn dotted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Line = tuple[str, Sequence[float], Sequence[float]]
"""A name, and its points' x and y."""


@dataclass(frozen=True)
class Panel:
    """One picture of a plot. lines: what was measured; limits: (x, y) that must not be passed; points: (x, y) of single runs, where a line goes
    through their medians; through: the point of a line that growth in proportion is drawn through, where it is the first (0) of the first
    line alone (None: it is not drawn)."""

    title: str
    lines: Sequence[Line]
    limits: Sequence[tuple[float, float]] = ()
    points: Sequence[tuple[float, float]] = ()
    through: int | None = -1


def plot(file: Path, across: str, panels: Sequence[Panel], *, size_word: str = "", log: str = "xy") -> None:
    """Draw the panels side by side over one quantity. across: its name; size_word: what is counted, under the title; log: the axes that are
    logarithmic, the others begin at zero."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {"svg.hashsalt": "anonymize", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False, layout="constrained")
    for panel, axis in zip(panels, axes[0], strict=True):
        for number, (name, x, y) in enumerate(panel.lines):
            axis.plot(x, y, marker="osD^v"[number % 5], label=name)
            if panel.through is not None and not (panel.through == 0 and number):
                even = [y[panel.through] * one / x[panel.through] for one in x]
                axis.plot(x, even, linestyle=":", color="0.6", linewidth=1, label=None if number else "in proportion")
        if panel.points:
            axis.scatter(*zip(*panel.points, strict=True), s=9, color="0.55", label="each run", zorder=3)
        if panel.limits:
            axis.scatter(*zip(*panel.limits, strict=True), marker="_", s=300, color="#a4161a", label="asked at the most")
        axis.set(xlabel=across, title=panel.title, **{f"{one}scale": "log" for one in log})
        if "y" not in log:
            axis.set_ylim(0, 1.08 * axis.dataLim.y1)
        if "x" not in log:
            axis.set_xticks(sorted({one for _, x, _ in panel.lines for one in x}))
        axis.grid(which="major", color="0.9")
        axis.legend(frameon=False)
    figure.suptitle(size_word, fontsize=9, color="0.3")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
