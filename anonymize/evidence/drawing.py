"""A picture as a list of shapes, drawn twice: as SVG for the page, and by fpdf2 for the report.

Units: the picture's own, 400 wide, y down; a page shows it 350 to 480 pixels wide, so that its text can be read on a narrow screen. Colours
are names (`PAINTS`); the page's style gives them one value in the light and one in the dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

WIDTH = 400.0

Side = Literal["start", "middle", "end"]
Paint = Literal["ink", "soft", "grid", "bar", "other", "pale", "faint", "good", "warn", "bad"]
PAINTS: dict[Paint, tuple[int, int, int]] = {
    "ink": (27, 37, 48),
    "soft": (82, 94, 107),
    "grid": (205, 212, 219),
    "bar": (31, 95, 168),
    "other": (176, 106, 18),
    "pale": (233, 237, 242),
    "faint": (156, 186, 220),
    "good": (26, 107, 60),
    "warn": (138, 83, 0),
    "bad": (179, 38, 30),
}
"""On paper, as red, green, blue; 3:1 against white or more for what carries meaning (WCAG 1.4.11)."""


@dataclass(frozen=True)
class Rect:
    """A filled box; its corner is at the top left."""

    x: float
    y: float
    w: float
    h: float
    paint: Paint


@dataclass(frozen=True)
class Line:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    paint: Paint
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Text:
    """Words on a baseline. at: which end of them x is."""

    x: float
    y: float
    words: str
    paint: Paint = "ink"
    size: float = 12.0
    at: Side = "start"
    bold: bool = False


Shape = Rect | Line | Text


@dataclass(frozen=True)
class Drawing:
    """A picture. title: what it shows; told: what it says, in a sentence, for whoever does not see it."""

    title: str
    told: str
    height: float
    shapes: tuple[Shape, ...]
    width: float = WIDTH

    def svg(self, id: str) -> Markup:
        """As SVG. id: unique on its page."""
        shapes = Markup("").join(_svg(shape) for shape in self.shapes)
        return Markup(
            '<svg class="picture" role="img" aria-labelledby="{id}-t {id}-d" viewBox="0 0 {w:g} {h:g}">'
            '<title id="{id}-t">{title}</title><desc id="{id}-d">{told}</desc>{shapes}</svg>'
        ).format(id=id, w=self.width, h=self.height, title=self.title, told=self.told, shapes=shapes)

    def svg_on_paper(self, font: str) -> bytes:
        """As SVG with its colours and a font's name within, for a program that knows no style sheets."""
        shapes = Markup("").join(_svg(shape, on_paper=font) for shape in self.shapes)
        head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:g} {:g}">').format(self.width, self.height)
        return (head + shapes + Markup("</svg>")).encode()


def _svg(shape: Shape, on_paper: str = "") -> Markup:
    match shape:
        case Rect(x, y, w, h, paint):
            place = Markup('x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(x, y, w, h)
            return Markup("<rect {} {}/>").format(_painted("fill", paint, on_paper), place)
        case Line(x1, y1, x2, y2, paint, width, dashed):
            dash = Markup(' stroke-dasharray="4 3"') if dashed else ""
            place = Markup('x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke-width="{:g}"').format(x1, y1, x2, y2, width)
            return Markup("<line {} {}{}/>").format(_painted("stroke", paint, on_paper), place, dash)
        case Text(x, y, words, paint, size, at, bold):
            weight = Markup(' font-weight="{}"').format("bold" if on_paper else "600") if bold else ""
            family = Markup(' font-family="{}"').format(on_paper) if on_paper else ""
            place = Markup('x="{:.1f}" y="{:.1f}" font-size="{:g}" text-anchor="{}"').format(x, y, size, at)
            return Markup("<text {} {}{}{}>{}</text>").format(_painted("fill", paint, on_paper), place, weight, family, escape(words))


def _painted(what: str, paint: Paint, on_paper: str) -> Markup:
    """A paint as a class of the page's style, or as itself."""
    if not on_paper:
        return Markup('class="{}-{}"').format(what[0], paint)
    return Markup('{}="#{:02x}{:02x}{:02x}"').format(what, *PAINTS[paint])
