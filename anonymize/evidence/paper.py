"""The report as PDF/A, by fpdf2: fonts within, an outline, a title and a language, and words for each picture.

Body text carries no structure tags, since fpdf2 writes none; who reads by ear takes the HTML, which says the same.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from io import BytesIO
from itertools import zip_longest
from pathlib import Path

from fpdf import FPDF, FontFace, TextStyle, XPos, YPos

from anonymize.evidence import charts, determining, views
from anonymize.evidence.comparing import Comparison
from anonymize.evidence.drawing import PAINTS, Drawing
from anonymize.evidence.model import Evidence, Signature
from anonymize.evidence.noting import Note, notes
from anonymize.evidence.render import templates
from anonymize.evidence.wording import number

FONT = "DejaVu Sans Condensed"
INK, SOFT, GRID = (PAINTS[name] for name in ("ink", "soft", "grid"))
CARD = (244, 246, 249)
GOOD, WARN, BAD = (PAINTS[name] for name in ("good", "warn", "bad"))
MARGIN, BODY, SMALL = 18.0, 9.5, 8.0
_PICTURE, _GAP = 83.0, 8.0
#: A PDF of the archive: everything that it needs is within it (ISO 19005-2).
_COMPLIANCE = "PDF/A-2U"


def pdf(evidence: Evidence, comparison: Comparison, signatures: Sequence[Signature] = ()) -> bytes:
    """The report as PDF; the same bytes for the same input."""
    paper = Paper(evidence)
    _opening(paper, evidence, comparison)
    _signatures(paper, evidence, signatures)
    _method(paper, evidence)
    _results(paper, evidence)
    _utility(paper, evidence)
    _residual(paper, evidence)
    _differences(paper, comparison)
    _appendix(paper, evidence, signatures)
    return bytes(paper.output())


#: Letters of a cell: more would make a row higher than a page.
LONGEST_CELL = 1_200


def _within_a_page(row: Sequence[str]) -> list[Sequence[str]]:
    """A row, or as many as its longest cell needs: a policy may have hundreds of columns under one method."""
    if max(map(len, row), default=0) <= LONGEST_CELL:
        return [row]
    cells = [textwrap.wrap(text, LONGEST_CELL) or [""] for text in row]
    return list(zip_longest(*cells, fillvalue=""))


class Paper(FPDF):
    """An A4 page with our fonts, a footer that names the release, and the few kinds of things that the report is made of."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(enforce_compliance=_COMPLIANCE)
        logging.getLogger("fontTools").setLevel(logging.ERROR)
        self.named = f"{evidence.dataset} {evidence.version or evidence.run}"
        fonts = Path(__file__).parent / "fonts"
        self.add_font(FONT, "", fonts / "DejaVuSansCondensed.ttf")
        self.add_font(FONT, "B", fonts / "DejaVuSansCondensed-Bold.ttf")
        self.set_creation_date(evidence.started.astimezone(UTC))
        self.set_lang("en")
        self.set_title(f"{evidence.title or evidence.dataset}: report of the release {evidence.version}")
        self.set_subject("Methods and results of the de-identification of a release (45 CFR 164.514(b)(1)(ii))")
        self.set_creator(f"anonymize {evidence.code_version}")
        self.set_producer("fpdf2")
        # As fpdf2 would write it, but for the hour of writing: the same input gives the same bytes.
        at = evidence.started.astimezone(UTC).isoformat(timespec="seconds")
        self.set_xmp_metadata(templates().get_template("xmp.xml.j2").render(paper=self, at=at))
        self.set_margins(MARGIN, 16, MARGIN)
        self.c_margin = 0.0
        self.set_auto_page_break(True, 18)
        self.set_section_title_styles(
            TextStyle(FONT, "B", 14, INK, t_margin=7, b_margin=2), TextStyle(FONT, "B", 10.5, INK, t_margin=4, b_margin=1)
        )
        self.add_page()

    def footer(self) -> None:
        """The release's name and the page's number."""
        self.set_y(-12)
        self.set_font(FONT, "", 7.5)
        self.set_text_color(*SOFT)
        self.cell(0, 5, self.named, new_x=XPos.LMARGIN)
        self.cell(0, 5, f"{self.page_no()}", align="R")

    def words(self, text: str, *, size: float = BODY, bold: bool = False, paint: tuple[int, int, int] = INK, indent: float = 0.0) -> None:
        """A paragraph."""
        self.set_font(FONT, "B" if bold else "", size)
        self.set_text_color(*paint)
        self.set_x(self.l_margin + indent)
        self.multi_cell(self.epw - indent, size * 0.52, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(0.8)

    def points(self, said: Sequence[str]) -> None:
        """Paragraphs, each with a dot before it."""
        for text in said:
            self.room(8)
            self.set_font(FONT, "", BODY)
            self.set_text_color(*INK)
            self.cell(4, BODY * 0.52, "•", new_x=XPos.LEFT)
            self.words(text, indent=4)

    def rows(self, head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float], *, size: float = SMALL) -> None:
        """A table with light lines. head: words; those that begin with # are of numbers, which stand right."""
        self.set_font(FONT, "", size)
        self.set_text_color(*INK)
        self.set_draw_color(*GRID)
        self.set_line_width(0.2)
        self.set_fill_color(255, 255, 255)
        aligned = ["RIGHT" if word.startswith("#") else "LEFT" for word in head]
        heads = FontFace(emphasis="BOLD", color=SOFT)
        with self.table(
            col_widths=tuple(widths),
            text_align=tuple(aligned),
            borders_layout="HORIZONTAL_LINES",
            line_height=size * 0.5,
            padding=(0.8, 1.2, 0.8, 0),
            headings_style=heads,
            v_align="TOP",
            gutter_width=2.5,
        ) as table:
            for line in [[word.removeprefix("#") for word in head], *(part for row in rows for part in _within_a_page(row))]:
                row = table.row()
                for text in line:
                    row.cell(text)
        self.ln(2)

    def pictures(self, drawings: Sequence[Drawing]) -> None:
        """Pictures two a row, each under its title and with its words for who does not see it."""
        for place in range(0, len(drawings), 2):
            pair = drawings[place : place + 2]
            tall = max(drawing.height for drawing in pair) * _PICTURE / 400 + 7
            self.room(tall)
            top = self.y
            for side, drawing in enumerate(pair):
                x = self.l_margin + side * (_PICTURE + _GAP)
                self.set_xy(x, top)
                self.set_font(FONT, "B", SMALL)
                self.set_text_color(*INK)
                self.cell(_PICTURE, 5, drawing.title)
                self.image(BytesIO(drawing.svg_on_paper(FONT)), x, top + 6, _PICTURE, title=drawing.title, alt_text=drawing.told)
            self.set_xy(self.l_margin, top + tall + 2)

    def section(self, name: str, level: int = 0, *, room: float = 0.0) -> None:
        """A heading that stands in the outline, on one page with what follows. room: of that, in millimetres."""
        self.room(max(room, 10) + (14 if level == 0 else 9))
        self.start_section(name, level)
        self.ln(0.5)

    @contextmanager
    def panel(self, paint: tuple[int, int, int]) -> Iterator[None]:
        """A block with a bar of a colour on its left."""
        self.room(22)
        page, top, margin = self.page, self.y, self.l_margin
        self.set_left_margin(margin + 5)
        self.set_xy(margin + 5, top + 1)
        yield
        self.set_left_margin(margin)
        if self.page == page:
            self.set_fill_color(*paint)
            self.rect(margin, top, 1.2, self.y - top, style="F")
        self.set_xy(margin, self.y + 2)

    def room(self, height: float) -> None:
        """Begin a new page where less than this is left of the one, in millimetres."""
        if self.will_page_break(height):
            self.add_page()


_SIGNS: dict[str, tuple[str, tuple[int, int, int]]] = {"stop": ("✗ stops it", BAD), "look": ("! look at", WARN), "good": ("✓ proven", GOOD)}


def _opening(paper: Paper, e: Evidence, c: Comparison) -> None:
    paper.words("Report of a release", size=10, paint=SOFT)
    paper.words(e.title or e.dataset, size=21, bold=True)
    paper.words(f"{e.dataset} {e.version or '(no version yet)'}, begun {views.day(e.started)}", paint=SOFT)
    paper.ln(1)
    with paper.panel(GOOD if e.passed else BAD):
        said = f"✓ Passed: all {len(e.gates)} gates" if e.passed else f"✗ Stopped: {len(e.failed)} of {len(e.gates)} gates failed"
        paper.words(said if e.gates else "Not judged", size=13, bold=True, paint=GOOD if e.passed else BAD)
        looks = sum(note.weight == "look" for note in notes(e, c))
        paper.words(f"{looks} {'thing' if looks == 1 else 'things'} to look at.")
    _tiles(paper, views.tiles(e, c))
    paper.words(determining.WHAT_THIS_IS, size=SMALL + 0.5, paint=SOFT)
    paper.section("Data, recipient and purpose")
    for name, words in determining.about(e):
        _said(paper, name, words)
    paper.section("What to know")
    for note in notes(e, c):
        _note(paper, note)


def _tiles(paper: Paper, tiles: Sequence[views.Tile]) -> None:
    """The figures of the summary, four a row."""
    wide, tall = (paper.epw - 3 * 3) / 4, 17.0
    for place, tile in enumerate(tiles):
        column = place % 4
        if column == 0:
            paper.room(tall + 3)
        top = paper.y
        x = paper.l_margin + column * (wide + 3)
        paper.set_fill_color(*CARD)
        paper.rect(x, top, wide, tall, style="F")
        lines = ((tile.name, 2.0, SMALL, "", SOFT), (tile.figure, 5.6, 14, "B", INK), (tile.beside, 12.0, 7, "", SOFT))
        for words, down, size, style, paint in lines:
            paper.set_font(FONT, style, size)
            paper.set_text_color(*paint)
            paper.set_xy(x + 2.5, top + down)
            paper.cell(wide - 4, size * 0.42, words)
        paper.set_xy(paper.l_margin, top + (tall + 3 if column == 3 or place == len(tiles) - 1 else 0))


def _said(paper: Paper, name: str, words: str) -> None:
    paper.room(8)
    paper.set_font(FONT, "", BODY)
    paper.set_text_color(*SOFT)
    paper.cell(38, BODY * 0.52, name, new_x=XPos.LEFT)
    paper.words(words, indent=38)


def _note(paper: Paper, note: Note) -> None:
    sign, paint = _SIGNS[note.weight]
    paper.room(8)
    paper.set_font(FONT, "B", SMALL)
    paper.set_text_color(*paint)
    paper.cell(20, BODY * 0.52, sign, new_x=XPos.LEFT)
    paper.words(note.words, indent=20)


def _signatures(paper: Paper, e: Evidence, signatures: Sequence[Signature]) -> None:
    paper.section("Signatures", room=46 + 24 * len(signatures))
    if not signatures:
        paper.words(determining.unsigned(e))
    for one in signatures:
        with paper.panel(GOOD if one.approve else BAD):
            paper.words(f"{'✓' if one.approve else '✗'} {one.steward} {'approved' if one.approve else 'rejected'} it", size=11, bold=True)
            paper.words(f"{views.moment(one.at)}: {one.reason}")
            paper.words(f"About {len(one.files)} files, all together SHA-256 {one.sha256}", size=SMALL, paint=SOFT)
    paper.words("Expert's determination, 45 CFR 164.514(b)(1)(i), where one is made:", size=SMALL + 0.5)
    for line in ("Name and qualification", "Valid until", "Place, date, signature"):
        paper.room(12)
        paper.ln(7)
        paper.set_draw_color(*SOFT)
        paper.line(paper.l_margin, paper.y, paper.l_margin + 110, paper.y)
        paper.words(line, size=7.5, paint=SOFT)


def _method(paper: Paper, e: Evidence) -> None:
    paper.section("Method")
    paper.points(determining.principles(e))
    paper.rows(["What was done", "To which columns"], [list(item) for item in determining.methods(e)], (70, 104))


def _results(paper: Paper, e: Evidence) -> None:
    paper.section("Results")
    paper.points(determining.results(e))
    for one in e.risk:
        view = views.risk_view(one, e.privacy.k)
        paper.section(f"Risk of {one.table}", 1, room=50)
        paper.pictures([drawing for drawing in (view["sizes"], view["attackers"]) if drawing])
        paper.rows(["Attacker", "#Chance", "#Threshold", "Verdict"], view["chances"], (84, 30, 30, 30))
        if view["told"]:
            paper.words("What classes tell of sensitive columns, without finding anybody", bold=True)
            wide = len(view["told_head"]) - 1
            paper.rows(view["told_head"], view["told"], (54, *([120 / wide] * wide)))
    if e.held_back.by_table and not e.privacy.sampled:
        paper.section("What was held back", 1)
        head = ["Table", "#Read", "#Goes out", "#Suppressed", "#Person not published", "#Quarantined", "Why"]
        paper.rows(head, views.rows_held(e), (28, 18, 20, 22, 24, 24, 38))
    if e.text.columns:
        paper.section("Free text", 1, room=100)
        drawings = [charts.findings(e)] if e.text.findings else []
        paper.pictures([*drawings, *([charts.interval(e.text.audit)] if e.text.audit else [])])


def _utility(paper: Paper, e: Evidence) -> None:
    if not e.utility:
        return
    paper.section("Utility")
    head = ["Table", "#Rows left", "#People left", "#Precision kept", "#Information kept"]
    paper.rows(head, views.utility_rows(e), (46, 36, 36, 28, 28))
    for table in views.utility_order(e):
        view = views.utility_view(table, e.utility[table])
        if not view["coarser"]:
            continue
        paper.section(f"{table}: what making it coarser cost", 1, room=50)
        paper.pictures([*([view["losses"]] if view["losses"] else []), *view["first"]])


def _residual(paper: Paper, e: Evidence) -> None:
    paper.section("Residual risk and known limits")
    paper.points(determining.residual(e))
    if limits := determining.limits(e):
        paper.section("For users of the data", 1)
        paper.points(limits)


def _differences(paper: Paper, c: Comparison) -> None:
    paper.section("Since the last release")
    if c.first:
        paper.words("This is the first release: there is none to compare it with.")
        return
    paper.words(f"Held against {c.last}.")
    for caption, changed in (("Schema", c.schema_), ("Policy", c.policy)):
        if changed:
            paper.section(caption, 1)
            paper.rows(["Where", "Change", "Before", "Now"], views.changed_rows(changed), (50, 20, 52, 52))
        else:
            paper.words(f"{caption}: nothing changed.")
    paper.section("Rows and people", 1)
    head = ["Table", "#Rows, last", "#Now", "#Change", "#People, last", "#Now", "#Change"]
    paper.rows(head, views.sizes_rows(c), (48, 22, 20, 21, 22, 20, 21))
    for caption, _, moved in views.figure_tables(c):
        if moved:
            paper.section(caption, 1)
            judged = any(one.worse is not None for one in moved)
            head, widths = (["What", "#Last", "#Now", "#Change", "Verdict"], (74, 25, 25, 28, 22))
            rows = views.figure_rows(moved)
            paper.rows(head if judged else head[:4], rows if judged else [row[:4] for row in rows], widths if judged else (96, 25, 25, 28))


def _appendix(paper: Paper, e: Evidence, signatures: Sequence[Signature]) -> None:
    paper.section("What goes out, column by column")
    for table in e.tables:
        paper.section(f"{table.name}: {number(table.rows)} rows", 1)
        rows = [row[:5] for row in views.columns_out(e)[table.name]]
        paper.rows(["Column", "Role", "Method", "Precision", "Type"], rows, (40, 22, 24, 60, 28))
    paper.section("Expectations")
    rows = views.expectation_verdicts(e.expectations)
    if rows:
        paper.rows(["Where", "What is expected", "Verdict"], rows, (48, 104, 22))
    else:
        paper.words("They were not recorded one by one for this release.")
    paper.section("Files and provenance")
    for name, words in views.provenance(e):
        _said(paper, name, words)
    if signatures:
        paper.words("The files that were decided on", bold=True)
        paper.rows(["File", "SHA-256"], [list(item) for item in signatures[0].files.items()], (74, 100), size=7)
    else:
        paper.rows(["File", "#Rows", "SHA-256"], [[row[0], row[1], row[3]] for row in views.file_rows(e)], (60, 16, 98), size=7)
