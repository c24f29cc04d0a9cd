"""Sheets as files: CSV and XLSX, in which no cell is a formula, with lists to choose from where a steward decides."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from anonymize.errors import AnonymizeError, PolicyError, Problem, without_values
from anonymize.hierarchies import names
from anonymize.policy.model import METHODS, Kind, Method, Role
from anonymize.policy.nearest import nearest
from anonymize.policy.sheet import FILLED, HEADINGS, Row

SHEET = "columns"
HELP = "how to"
ENDINGS = (".xlsx", ".csv")
#: Signs with which a spreadsheet begins a formula (OWASP, CSV injection), and the sign that makes a text of it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_WIDTHS = {"table": 18, "column": 24, "sample": 36, "argument": 18, "options": 30, "description": 40, "reason": 40}


def write_sheet(rows: Sequence[Row], to: Path) -> None:
    """Write a sheet that is not there yet: `.xlsx` or `.csv`. Raises AnonymizeError."""
    if to.suffix.lower() not in ENDINGS:
        raise AnonymizeError(f"{to}: a sheet's name ends with .xlsx or .csv")
    if to.exists():
        raise AnonymizeError(f"{to} exists already, and nothing is overwritten. Name another file")
    with without_values(f"writing {to.name}"):
        (_write_xlsx if to.suffix.lower() == ".xlsx" else _write_csv)(rows, to)


def read_sheet(file: Path) -> list[Row]:
    """The rows of a sheet, each with its number; empty ones are left out.

    Raises PolicyError where it is no sheet of ours, or a cell is no text.
    """
    if not file.is_file():
        raise AnonymizeError(f"there is no file {file}")
    if file.suffix.lower() not in ENDINGS:
        raise AnonymizeError(f"{file}: a sheet's name ends with .xlsx or .csv")
    with without_values(f"reading {file.name}"):
        lines = list(_lines_of_xlsx(file) if file.suffix.lower() == ".xlsx" else _lines_of_csv(file))
    first = [str(cell or "").strip().lower() for cell in lines[0]] if lines else []
    problems = list(_headings(first, file))
    rows: list[Row] = []
    for number, line in enumerate(lines[1:], 2):
        cells: dict[str, str] = {}
        for heading, cell in zip(first, line, strict=False):
            text = _text(cell)
            if text is None:
                what = "is a date or a formula: format the column as text, and write what stands there as text"
                problems.append(Problem(f"{file.name} row {number}, column '{heading}'", "sheet", what))
            elif heading in HEADINGS and text:
                cells[heading] = text
        if cells:
            rows.append(Row(cells, number))
    if problems:
        raise PolicyError(problems)
    return rows


def texts(file: Path) -> list[list[str]]:
    """The cells of anybody's sheet as texts, its first row with the rest: `.xlsx`, `.csv`, `.tsv`. Raises AnonymizeError."""
    if not file.is_file():
        raise AnonymizeError(f"there is no file {file}")
    with without_values(f"reading {file.name}"):
        lines = _lines_of_xlsx(file) if file.suffix.lower() == ".xlsx" else _lines_of_csv(file)
    return [[_text(cell) or "" for cell in line] for line in lines]


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def _unharmed(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _headings(found: Sequence[str], file: Path) -> Iterator[Problem]:
    for heading in ("table", "column", *FILLED):
        if heading not in found:
            near = nearest(heading, [one for one in found if one and one not in HEADINGS]) if any(found) else ""
            yield Problem(f"{file.name} row 1", "sheet", f"has no column '{heading}'.{near if 'Did you' in near else ''} Take a sheet of "
                          "'anonymize policy to-sheet', and leave its first row as it is")  # fmt: skip
    for heading in HEADINGS:
        if found.count(heading) > 1:
            yield Problem(f"{file.name} row 1", "sheet", f"has two columns '{heading}'")


def _text(cell: Any) -> str | None:
    """A cell as text; None where it is none. Spreadsheets make numbers and truth values of texts that look so."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, int | float):
        return str(int(cell)) if float(cell).is_integer() else repr(cell)
    return _unharmed(cell.strip("\ufeff")) if isinstance(cell, str) else None


def _write_csv(rows: Iterable[Row], to: Path) -> None:
    # A byte order mark: without it Excel does not read UTF-8.
    with to.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADINGS)
        writer.writerows([harmless(row[heading]) for heading in HEADINGS] for row in rows)


def _lines_of_csv(file: Path) -> list[list[str]]:
    """Spreadsheets of other languages write `;` between cells."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AnonymizeError(f"{file.name} is not UTF-8. Save it as 'CSV UTF-8'") from None
    first = text.partition("\n")[0]
    delimiter = max((",", ";", "\t"), key=first.count)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _write_xlsx(rows: Sequence[Row], to: Path) -> None:
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    book = Workbook()
    sheet: Any = book.active
    sheet.title = SHEET
    closed = PatternFill("solid", start_color="EEEEEE")
    for line, row in enumerate([Row(dict(zip(HEADINGS, HEADINGS, strict=True))), *rows], 1):
        for place, heading in enumerate(HEADINGS, 1):
            cell = sheet.cell(line, place)
            if row[heading]:
                cell.value = harmless(row[heading])
                cell.data_type = "s"
            cell.number_format = "@"
            cell.alignment = Alignment(wrap_text=heading in _WIDTHS, vertical="top")
            if line == 1:
                cell.font = Font(bold=True)
            elif not row["role"]:
                cell.fill = closed
    for place, heading in enumerate(HEADINGS, 1):
        sheet.column_dimensions[get_column_letter(place)].width = _WIDTHS.get(heading, 14)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(HEADINGS))}{len(rows) + 1}"
    for heading, words in (("role", Role), ("method", Method)):
        letter = get_column_letter(HEADINGS.index(heading) + 1)
        choice = DataValidation("list", formula1='"' + ",".join(words) + '"', allow_blank=True, showErrorMessage=True)
        choice.errorTitle, choice.error = heading, "Choose one of the list."
        sheet.add_data_validation(choice)
        choice.add(f"{letter}2:{letter}{max(len(rows) + 1, 2)}")
    guide: Any = book.create_sheet(HELP)
    for sentence in _guide():
        guide.append([harmless(sentence)])
    guide.column_dimensions["A"].width = 120
    book.save(to)


def _lines_of_xlsx(file: Path) -> list[list[Any]]:
    from openpyxl import load_workbook

    book = load_workbook(file, read_only=True, data_only=False)
    try:
        sheet = book[SHEET] if SHEET in book.sheetnames else book.worksheets[0]
        return [
            [object() if cell.data_type in ("f", "d", "e") and cell.value is not None else cell.value for cell in row]
            for row in sheet.iter_rows()
        ]
    finally:
        book.close()


def _guide() -> Iterator[str]:
    yield "One row a column. Decide in the columns from 'role' on; the others say what the row is about."
    yield "A grey row is a column of the source that the policy does not name: it stays out. To open it, give it a role."
    yield "To close a column, write the role 'drop'. A row that is taken away changes nothing."
    yield "No value of a record stands here: 'sample' says what kind of values a sample held."
    for role, methods in METHODS.items():
        yield f"role {role}: methods {', '.join(methods)} (the first where none is said)"
    yield "argument: of generalize the hierarchy; of pseudonym, redact, surrogate and drop the kind; of round the digits; of scrub the form"
    yield f"hierarchies: {', '.join(names())}"
    yield f"kinds: {', '.join(Kind)}"
    yield "options: 'WORD: VALUE, WORD: VALUE', for example 'weight: 2, min-level: 1' (docs/policy.md, Columns)"
    yield "reason: why; it stands beside the column in the policy. decided by: your name."
    yield "Then: anonymize policy from-sheet THIS-FILE --policy POLICY --out NEW-POLICY"
