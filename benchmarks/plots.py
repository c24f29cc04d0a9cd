"""Plots of what grows with what, as SVG. Both scales are logarithmic: growth in proportion is a straight line of slope one, drawn dotted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Line = tuple[str, Sequence[float], Sequence[float]]
"""A name, and its points' x and y."""


@dataclass(frozen=True)
class Panel:
    """One picture of a plot. lines: what was measured; limits: (x, y) that must not be passed."""

    title: str
    lines: Sequence[Line]
    limits: Sequence[tuple[float, float]] = ()


def plot(file: Path, across: str, panels: Sequence[Panel], *, size_word: str = "") -> None:
    """Draw the panels side by side over one quantity. across: its name; size_word: what is counted, under the title."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {"svg.hashsalt": "anonymize", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False, layout="constrained")
    for panel, axis in zip(panels, axes[0], strict=True):
        for number, (name, x, y) in enumerate(panel.lines):
            axis.plot(x, y, marker="osD^v"[number % 5], label=name)
            even = [y[-1] * one / x[-1] for one in x]
            axis.plot(x, even, linestyle=":", color="0.6", linewidth=1, label=None if number else "in proportion")
        if panel.limits:
            axis.scatter(*zip(*panel.limits, strict=True), marker="_", s=300, color="#a4161a", label="asked at the most")
        axis.set(xscale="log", yscale="log", xlabel=across, title=panel.title)
        axis.grid(which="major", color="0.9")
        axis.legend(frameon=False)
    figure.suptitle(size_word, fontsize=9, color="0.3")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
