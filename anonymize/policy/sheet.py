"""A policy's columns as a sheet that a steward reviews in a spreadsheet and gives back: one row a column, no value of a record.

After CRATE's data dictionary (Cardinal, BMC Med Inform Decis Mak 17:50, 2017), in which a research database is signed off column by column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from anonymize.errors import PolicyError, Problem
from anonymize.policy.editing import At, Edit, as_written, edited, own_document, rule_options
from anonymize.policy.loader import checked
from anonymize.policy.model import ARGUMENT, METHODS, Method, Policy, Role, Rule
from anonymize.policy.nearest import nearest
from anonymize.policy.overlay import extended, resolve
from anonymize.policy.reading import Document
from anonymize.policy.writing import flow, in_words

#: The words of the sheet's first row.
HEADINGS = (
    "table", "source", "from", "column", "type", "sample", "role", "method", "argument", "options", "rename", "description", "reason",
    "decided by",
)  # fmt: skip
#: What a steward fills in; the other columns say what the row is about.
FILLED = HEADINGS[HEADINGS.index("role") :]
_DECIDED = re.compile(r"\s*\(decided by ([^()]+)\)$")


@dataclass(frozen=True)
class AtSource:
    """A column as the source has it. sample: what kind of values a sample holds, in words; no value."""

    source: str
    from_: str
    column: str
    type: str = ""
    sample: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a sheet, its cells as texts; number: as a spreadsheet counts it, headings in row 1."""

    cells: dict[str, str] = field(default_factory=dict)
    number: int = 0

    def __getitem__(self, heading: str) -> str:
        return self.cells.get(heading, "")

    @property
    def at(self) -> At:
        return self["table"], self["column"]


@dataclass(frozen=True)
class Reviewed:
    """A policy after review. text: of its own file; changes: one sentence each; kept: columns of the policy that the sheet does not have."""

    text: str
    changes: tuple[str, ...]
    kept: tuple[str, ...]


def to_rows(policy: Policy, at_source: Iterable[AtSource] = ()) -> list[Row]:
    """The rows of a policy: its columns in their order, then what the sources have and the policy does not name, which stays out."""
    known = {(one.source, one.from_, one.column): one for one in at_source}
    rows: list[dict[str, str]] = []
    named = {(policy.source_of(table)[0], spec.from_ or table, column) for table, spec in policy.tables.items() for column in spec.columns}
    tables = {(policy.source_of(table)[0], spec.from_ or table): table for table, spec in reversed(policy.tables.items())}
    for table, spec in policy.tables.items():
        source, from_ = policy.source_of(table)[0], spec.from_ or table
        for column, rule in spec.columns.items():
            found = known.get((source, from_, column))
            place = {"table": table, "source": source, "from": from_, "column": column}
            rows.append(
                {**place, "type": found.type if found else "", "sample": found.sample if found else "", **_cells(policy, table, column, rule)}
            )
        left = [one for (s, f, c), one in known.items() if (s, f) == (source, from_) and (s, f, c) not in named and not spec.query]
        for one in left if tables[source, from_] == table else ():
            rows.append({"table": table, "source": source, "from": from_, "column": one.column, "type": one.type, "sample": one.sample})
    rows += [
        {"table": slug(one.from_), "source": one.source, "from": one.from_, "column": one.column, "type": one.type, "sample": one.sample}
        for one in known.values()
        if (one.source, one.from_) not in tables
    ]
    return [Row(cells, number) for number, cells in enumerate(rows, 2)]


def slug(name: str) -> str:
    """A source's name of a table as a policy may call it."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_")[:63] or "table"


def _cells(policy: Policy, table: str, column: str, rule: Rule) -> dict[str, str]:
    options = rule_options(rule)
    argument = options.pop(ARGUMENT.get(rule.method, ""), "")
    texts = {word: str(options.pop(word, "")) for word in ("rename", "description")}
    why = policy.reason("tables", table, "columns", column)
    decided = _DECIDED.search(why)
    return {
        "role": rule.role.value,
        "method": rule.method.value,
        "argument": str(argument),
        "options": flow(options)[1:-1],
        **texts,
        "reason": why[: decided.start()] if decided else why,
        "decided by": decided[1] if decided else "",
    }


def review(policy: Policy, rows: Sequence[Row], sheet: str) -> Reviewed:
    """What a steward's sheet makes of a policy. sheet: its file's name, for errors.

    Raises PolicyError with every mistake: the sheet's row, the column of it, how to mend it.
    """
    problems = list(_misplaced(policy, rows, sheet))
    edits: dict[At, Edit] = {}
    wanted: dict[At, dict[str, Any]] = {}
    by_place = {row.at: row for row in rows}
    for row in rows:
        try:
            rule = None if problems else _rule(row)
        except _Wrong as wrong:
            problems.append(_problem(sheet, row, wrong.heading, wrong.what))
            continue
        if rule is not None:
            wanted[row.at] = rule
    if problems:
        raise PolicyError(problems)
    changes: list[str] = []
    for at, decided in _checked(policy, wanted, by_place, sheet).items():
        edit, said = _compared(policy, by_place[at], decided)
        if edit is not None:
            edits[at] = edit
            changes.append(said)
    named = {(table, column) for table, spec in policy.tables.items() for column in spec.columns}
    kept = tuple(f"{table}.{column}" for table, column in sorted(named - set(by_place)))
    text = _text(policy, edits, by_place) if edits else own_document(policy.file).text
    return Reviewed(text, tuple(changes), kept)


def _misplaced(policy: Policy, rows: Sequence[Row], sheet: str) -> Iterator[Problem]:
    """Rows that are about nothing, or about the same column twice."""
    seen: dict[At, int] = {}
    columns: dict[str, set[str]] = {}
    for row in rows:
        columns.setdefault(row["table"], set()).add(row["column"])
    for row in rows:
        table, column = row.at
        if not table or not column:
            yield _problem(sheet, row, "table" if not table else "column", "is empty: it says which column the row is about")
            continue
        if row.at in seen:
            yield _problem(sheet, row, "column", f"stands twice: here and in row {seen[row.at]}")
        seen.setdefault(row.at, row.number)
        decided = any(row[heading] for heading in ("role", "method", "argument", "options"))
        spec = policy.tables.get(table)
        if spec is not None and column in spec.columns and not row["role"]:
            yield _problem(sheet, row, "role", "is empty, and the policy names the column: write 'drop' to close it")
        elif decided and not row["role"]:
            yield _problem(sheet, row, "role", f"is empty, and something is decided. Known: {', '.join(Role)}.")
        elif row["role"] and spec is None and not row["from"]:
            yield _problem(sheet, row, "table", f"the policy has no table '{table}', and the row says of none at the source ('from')."
                           f"{nearest(table, policy.tables)}")  # fmt: skip
        elif row["role"] and spec is None and (key := policy.subject.rpartition(".")[2]) not in columns[table]:
            what = f"is new in the policy, and has no column '{key}', the subject key: name the table in the policy first, with its 'subject'"
            yield _problem(sheet, row, "table", what)
        elif row["role"] and spec is None and row["source"] not in policy.sources:
            yield _problem(sheet, row, "source", f"no source '{row['source']}'.{nearest(row['source'], policy.sources)}")


class _Wrong(Exception):
    """A cell that cannot be read."""

    def __init__(self, heading: str, what: str) -> None:
        super().__init__(what)
        self.heading, self.what = heading, what


def _rule(row: Row) -> dict[str, Any] | None:
    """A row's rule in the long form; None where nothing is decided."""
    if not row["role"]:
        return None
    if row["role"] not in set(Role):
        raise _Wrong("role", f"no role '{_shown(row['role'])}'.{nearest(row['role'], Role)}")
    allowed = METHODS[Role(row["role"])]
    if row["method"] and row["method"] not in allowed:
        raise _Wrong("method", f"role '{row['role']}' has no method '{_shown(row['method'])}'. It has: {', '.join(allowed)}")
    method = Method(row["method"]) if row["method"] else allowed[0]
    rule: dict[str, Any] = {"role": row["role"], "method": method.value}
    if row["argument"]:
        option = ARGUMENT.get(method)
        if option is None:
            raise _Wrong("argument", f"method '{method}' takes no argument; what it needs stands in 'options'")
        whole = option == "digits" and re.fullmatch(r"-?[0-9]+", row["argument"])
        rule[option] = int(row["argument"]) if whole else row["argument"]
    for word, value in _options(row).items():
        if word in rule or word in ("role", "method", "rename", "description"):
            raise _Wrong("options", f"'{word}' has a column of its own")
        rule[word] = value
    return {**rule, **{word: row[word] for word in ("rename", "description") if row[word]}}


def _options(row: Row) -> dict[str, Any]:
    if not row["options"]:
        return {}
    try:
        found = YAML(typ="safe", pure=True).load("{" + row["options"] + "}")
    except YAMLError:
        found = None
    if not isinstance(found, dict) or any(value is None for value in found.values()):
        raise _Wrong("options", "cannot be read. It is written 'WORD: VALUE, WORD: VALUE', for example 'weight: 2, min-level: 1'")
    return {str(word): value for word, value in found.items()}


def _heading(row: Row, word: str) -> str:
    """Where in the sheet a word of a rule stands; a rule as a whole lacks its argument, as a rule."""
    if word in ("role", "method", "rename", "description"):
        return word
    method = row["method"] or METHODS[Role(row["role"])][0]
    return "argument" if not word or word == ARGUMENT.get(Method(method)) else "options"


def _checked(policy: Policy, wanted: Mapping[At, dict[str, Any]], rows: Mapping[At, Row], sheet: str) -> dict[At, Rule]:
    """The rules as the policy's own checks leave them; what they find is told by the sheet's rows."""
    document = resolve(policy.file)
    tables = document.values["tables"]
    for (table, column), rule in wanted.items():
        spec = tables.setdefault(table, {**_words(rows[table, column], policy), "columns": {}})
        spec["columns"] = {**spec["columns"], column: rule}
    anew = {("tables", table, "columns", column) for table, column in wanted}
    document.written = {at: raw for at, raw in document.written.items() if at[:4] not in anew}
    try:
        after = checked(document)
    except PolicyError as error:
        raise PolicyError([_placed(problem, rows, sheet) for problem in error.problems]) from None
    return {at: after.tables[at[0]].columns[at[1]] for at in wanted}


def _placed(problem: Problem, rows: Mapping[At, Row], sheet: str) -> Problem:
    """A problem of the policy as one of the sheet, where a row made it."""
    for (table, column), row in rows.items():
        path = f"tables.{table}.columns.{column}"
        if problem.path == path or problem.path.startswith(f"{path}."):
            word = problem.path.removeprefix(path).lstrip(".").split(".")[0]
            unused = re.match(r"'([a-z-]+)' does nothing", problem.what)
            return _problem(sheet, row, _heading(row, unused[1] if unused else word), problem.what)
    return problem


def _words(row: Row, policy: Policy) -> dict[str, Any]:
    """What a table that is new in the policy says of itself."""
    source = {"source": row["source"]} if len(policy.sources) > 1 else {}
    return {**source, **({"from": row["from"]} if row["from"] != row["table"] else {})}


def _compared(policy: Policy, row: Row, rule: Rule) -> tuple[Edit | None, str]:
    """A row's edit, and the sentence that says it; None where nothing changes."""
    table, column = row.at
    spec = policy.tables.get(table)
    old = spec.columns.get(column) if spec else None
    was = policy.reason("tables", table, "columns", column)
    reason = row["reason"] + (f" (decided by {row['decided by']})" if row["decided by"] else "")
    told = _told(reason) != _told(was)
    if old is None:
        return Edit(rule, reason or None), f"{table}.{column}: named for the first time: {_shown_rule(rule)}"
    if old.model_dump() == rule.model_dump():
        return (Edit(rule, reason), f"{table}.{column}: its reason is another") if told else (None, "")
    said = f"{table}.{column}: {_shown_rule(old)} -> {_shown_rule(rule)}"
    return Edit(rule, reason if told else None), said + (", and its reason is another" if told else "")


def _told(reason: str) -> str:
    return " ".join(reason.split())


def _shown_rule(rule: Rule) -> str:
    """A rule without its description, which is long."""
    said = as_written(rule.model_copy(update={"description": ""}))
    return in_words(said) if isinstance(said, str) else flow(said)


def _text(policy: Policy, edits: Mapping[At, Edit], rows: Mapping[At, Row]) -> str:
    """The policy's own file with the edits in it; it is read again, and has to say what the sheet says."""
    own = own_document(policy.file)
    new = {at[0]: _words(rows[at], policy) for at in edits if at[0] not in policy.tables}
    text = edited(own, edits, new, _below(own))
    after = checked(resolve(own.file, text))
    wrong = [f"{t}.{c}" for (t, c), edit in edits.items() if after.tables[t].columns[c].model_dump() != edit.rule.model_dump()]
    same = [at for at in _rules(policy) if at not in edits and _rules(policy)[at] != _rules(after).get(at)]
    if wrong or same:
        shared = "they share their lines with others (an alias or an anchor of YAML)"
        names = ", ".join([*wrong, *(".".join(at) for at in same)])
        raise PolicyError([Problem(f"{own.file}:1", names, f"cannot be changed by a sheet: {shared}. Write them out in the policy first")])
    return text


def _rules(policy: Policy) -> dict[At, dict[str, Any]]:
    return {(table, column): rule.model_dump() for table, spec in policy.tables.items() for column, rule in spec.columns.items()}


def _below(own: Document) -> dict[At, Rule]:
    """The rules that the file extends, as far as they are rules by themselves."""
    file = extended(own)
    found: dict[At, Rule] = {}
    for table, spec in resolve(file).values.get("tables", {}).items() if file else ():
        for column, rule in (spec.get("columns") or {}).items():
            try:
                found[table, column] = Rule.model_validate(rule)
            except ValidationError:
                continue  # it is decided on in the file itself, or is an error that loading tells
    return found


def _problem(sheet: str, row: Row, heading: str, what: str) -> Problem:
    table, column = row.at
    return Problem(f"{sheet} row {row.number}, column '{heading}'", f"{table or '?'}.{column or '?'}", what)


def _shown(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9 _.-]{1,40}", text) else "…"
