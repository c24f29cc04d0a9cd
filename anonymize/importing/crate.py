"""A data dictionary of CRATE (TSV, CSV, XLSX) as a policy: each row is honoured, or refused by name.

There, what is included leaves as it is but for its `alter_method`; here a date moves, a key becomes a pseudonym, and text is scrubbed.

Source: Cardinal, "Clinical records anonymisation and text extraction (CRATE)", BMC Med Inform Decis Mak 17:50 (2017), and CRATE's manual on
the data dictionary's columns (`src_db` … `comment`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anonymize.detect.columns import guess, tells_birth
from anonymize.draft import QUASI
from anonymize.errors import AnonymizeError
from anonymize.importing.fhir_rules import Imported
from anonymize.importing.sheets import texts
from anonymize.policy.editing import as_written
from anonymize.policy.model import Kind, Rule
from anonymize.policy.ready import slug

NEEDED = ("src_db", "src_table", "src_field", "src_flags", "decision")
#: What is done to a text before it is searched; here each cell is unwrapped by its own signs.
_UNWRAPPED = {"html_unescape", "html_untag", "skip_if_extract_fails"}
_DATES = re.compile(r"(?i)^(date|datetime|datetime2|smalldatetime|timestamp)")
_LONG = re.compile(r"(?i)text|clob|max|memo|blob|binary|xml")
_SCRUBBED_AS = {"number": Kind.ID, "date": Kind.DATE, "code": Kind.ADDRESS}


@dataclass(frozen=True)
class Row:
    """One column of a data dictionary. number: as a spreadsheet counts it."""

    number: int
    cells: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.cells.get(name, "")

    def __str__(self) -> str:
        return f"row {self.number} ({self['src_table']}.{self['src_field']})"

    @property
    def included(self) -> bool:
        return self["decision"].lower() == "include"

    def flagged(self, flag: str) -> bool:
        """P: the patient's number; *: the table that defines it; M: the master number; K: the row's key; !: who opted out."""
        return flag in self["src_flags"]

    @property
    def kind(self) -> Kind | None:
        """What PHI it holds: as its name says, else as it is searched for."""
        guessed = guess(self["src_field"])
        if guessed is not None and guessed.kind is not None:
            return guessed.kind
        return _SCRUBBED_AS.get(self["scrub_method"].lower(), Kind.NAME) if self["scrub_src"] else None


class Refused(Exception):
    """A row that cannot be honoured: why, and what to take instead."""


def import_dictionary(file: Path, *, dataset: str) -> Imported:
    """The policy that a data dictionary makes. Raises AnonymizeError where the file is none."""
    rows = list(_rows(file))
    found = Imported(head=f"From CRATE's data dictionary {file.name}. Read every line.")
    keys = {(row["src_db"], row["src_table"]): row["src_field"] for row in reversed(rows) if row.flagged("P")}
    if not keys:
        raise AnonymizeError(f"{file}: no row has the flag P, so it does not say which column is the patient's number")
    filtered = {(row["src_db"], row["src_table"]): row for row in rows if row["inclusion_values"] or row["exclusion_values"]}
    for row in filtered.values():
        found.refused.append(f"{row}: rows are chosen by their values, and the whole table stays out; write a 'query' in the policy instead")
    tables: dict[str, Any] = {}
    for row in rows:
        place = row["src_db"], row["src_table"]
        if place not in filtered:
            _add(row, tables, found, key=keys.get(place), several=len({one["src_db"] for one in rows}) > 1)
    found.values = {
        "dataset": dataset,
        "profile": "hipaa-expert-determination",
        "subject": _subject(rows, keys, filtered),
        "key": "env:ANONYMIZE_KEY",
        "sources": {slug(name): {"type": "sql", "url": f"${{{_variable(name)}}}"} for name in dict.fromkeys(row["src_db"] for row in rows)},
        "tables": {table: spec for table, spec in tables.items() if any(not _dropped(rule) for rule in spec["columns"].values())},
        "text": {"dates": "shift"},
        "release": {"store": "store"},
    }
    found.notes += [
        f"{row}: who opted out stands here; name it in the policy, 'optout: {{source: …, table: …, column: …}}'"
        for row in rows
        if row.flagged("!")
    ]
    found.notes.append("dates that are included leave as they are there; here they move by the patient's own constant, and intervals stay")
    if not found.values["tables"]:
        raise AnonymizeError(f"{file}: nothing is included that can be honoured:\n{found.report()}")
    return found


def _rows(file: Path) -> Iterator[Row]:
    lines = texts(file)
    names = [name.strip().lower() for name in lines[0]] if lines else []
    lacking = [name for name in NEEDED if name not in names]
    if "role" in names and "table" in names:
        raise AnonymizeError(f"{file} is a sheet of 'anonymize policy to-sheet': take 'anonymize policy from-sheet {file} --policy POLICY'")
    if lacking:
        raise AnonymizeError(f"{file}: has no column {', '.join(lacking)}, so it is no data dictionary of CRATE")
    for number, line in enumerate(lines[1:], 2):
        cells = {name: cell.strip() for name, cell in zip(names, line, strict=False)}
        if cells.get("src_table") and cells.get("src_field"):
            yield Row(number, cells)


def _add(row: Row, tables: dict[str, Any], found: Imported, *, key: str | None, several: bool) -> None:
    table = slug(row["dest_table"] or row["src_table"])
    source = {"source": slug(row["src_db"])} if several else {}
    from_ = {"from": row["src_table"]} if row["src_table"] != table else {}
    spec = tables.setdefault(table, {**source, **from_, "subject": key, "columns": {}})
    if spec.get("from", table) != row["src_table"]:
        found.refused.append(f"{row}: goes to the same table as {spec.get('from', table)}, and stays out; name another 'dest_table'")
        return
    try:
        rule = _rule(row, key is not None, is_key=row["src_field"] == key)
        found.honoured.append(f"{row}: {rule if isinstance(rule, str) else as_written(Rule.model_validate(rule))}")
    except Refused as refused:
        found.refused.append(f"{row}: {refused}")
        rule = _closed(row, key is not None)
    words = Rule.short_form(rule) if isinstance(rule, str) else rule
    renamed = {"rename": row["dest_field"]} if not _dropped(rule) and row["dest_field"] not in ("", row["src_field"]) else {}
    said = {"description": row["comment"]} if row["comment"] else {}
    spec["columns"][row["src_field"]] = {**words, **renamed, **said} if renamed or said else rule
    flags = f", flags {row['src_flags']}" if row["src_flags"] else ""
    found.reasons["tables", table, "columns", row["src_field"]] = f"{row}: {row['decision'] or 'no decision'}{flags}"


def _rule(row: Row, about_subject: bool, *, is_key: bool) -> str | dict[str, Any]:
    if is_key:
        return "identifier pseudonym mrn"
    if not row.included:
        return _closed(row, about_subject)
    if row["scrub_src"]:
        raise Refused("it is included, and searched for in texts as what points at a person; the leak gate would stop the release")
    methods = [method.strip() for method in row["alter_method"].split(",") if method.strip()]
    for method in (one.partition("=")[0].lower() for one in methods):
        if method in _ALTERED:
            return _ALTERED[method]
        if method not in _UNWRAPPED:
            raise Refused(_NOT_ALTERED.get(method) or f"no method is known that does what alter_method '{_shown(method)}' does")
    return _as_it_is(row, about_subject)


def _as_it_is(row: Row, about_subject: bool) -> str | dict[str, Any]:
    """A column that is included without any alteration."""
    guessed = guess(row["src_field"])
    if row.flagged("K") or row.flagged("M"):
        return "identifier pseudonym"
    if _LONG.search(row["src_datatype"]) or (guessed is not None and guessed.text):
        raise Refused("free text does not leave as it is; say alter_method 'scrub'")
    if tells_birth(row["src_field"]) and about_subject:
        return {"role": "quasi", "hierarchy": "date", "kind": "date"}
    if _DATES.match(row["src_datatype"]):
        if not about_subject:
            raise Refused("a date of a table without a patient has no constant to move by; take 'date year' in the policy")
        return "date"
    if about_subject and guessed is not None and guessed.kind not in _OF_NOBODY:
        raise Refused(f"its name says that it holds what is of kind '{guessed.kind}', which points at a person")
    if about_subject and QUASI.match(row["src_field"]):
        return "quasi flat"
    return "quasi age" if about_subject and guessed is not None and guessed.kind is Kind.AGE else "plain"


#: What an alter_method is here.
_ALTERED = {"scrub": "text", "hash": "identifier pseudonym"}
_NOT_ALTERED = {
    "truncate_date": "the first of the month is no method here; take 'date year', or 'quasi date' with 'min-level: 1' (months)",
    "binary_to_text": "files within a column are not turned into text; turn them before, or take a column of text",
    "filename_to_text": "files are not turned into text; name them as a source of their own",
    "filename_format_to_text": "files are not turned into text; name them as a source of their own",
}
#: Where somebody was is of no known person by itself.
_OF_NOBODY = (None, Kind.DATE, Kind.AGE, Kind.FACILITY, Kind.ORGANIZATION)


def _closed(row: Row, about_subject: bool) -> str:
    kind = row.kind
    if kind is None:
        return "drop"
    return f"identifier drop {kind}" if about_subject and (row["scrub_src"] or kind is not Kind.DATE) else f"drop {kind}"


def _dropped(rule: str | dict[str, Any]) -> bool:
    said = Rule.model_validate(rule)
    return not said.leaves


def _subject(rows: list[Row], keys: Mapping[tuple[str, str], str], filtered: Mapping[tuple[str, str], Row]) -> str:
    """The table that defines the patients, and its key; else the key's name alone."""
    defines = next((row for row in rows if row.flagged("*") and row.flagged("P") and (row["src_db"], row["src_table"]) not in filtered), None)
    if defines is not None:
        return f"{slug(defines['dest_table'] or defines['src_table'])}.{defines['src_field']}"
    return Counter(keys.values()).most_common(1)[0][0]


def _variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9_]+", "_", name.upper()).strip("_") + "_URL"


def _shown(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_=.-]{1,40}", text) else "…"
