"""A policy's file with some columns decided anew; every other line of it, comments included, stays as it was written."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from anonymize.policy.model import ARGUMENT, METHODS, Rule
from anonymize.policy.overlay import KEPT
from anonymize.policy.reading import Document, read
from anonymize.policy.reasons import has_comment, reasons
from anonymize.policy.writing import column_line, quoted

At = tuple[str, str]
"""Table and column."""


@dataclass(frozen=True)
class Edit:
    """A column's new rule. reason: the comment beside it; None: what is said already."""

    rule: Rule
    reason: str | None = None


def as_written(rule: Rule) -> str | dict[str, Any]:
    """A rule as a policy has it: the short form where it says everything, else the long one."""
    options = rule_options(rule)
    argument = ARGUMENT.get(rule.method)
    words = [rule.role.value] + ([rule.method.value] if rule.method is not METHODS[rule.role][0] else [])
    if set(options) <= {argument}:
        said = [str(value) for value in options.values()]
        short = " ".join([*words, *said])
        if not any(" " in word for word in said) and Rule.model_validate(short).model_dump() == rule.model_dump():
            return short
    method = {"method": rule.method.value} if len(words) > 1 else {}
    return {"role": rule.role.value, **method, **options}


def rule_options(rule: Rule) -> dict[str, Any]:
    """What a rule says beside its role and method, by the words of a policy; nothing that is the default."""
    said = rule.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"role", "method"})
    return {word: _whole(value) for word, value in said.items()}


def _whole(value: Any) -> Any:
    """A number that is whole, without its `.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def edited(own: Document, edits: Mapping[At, Edit], tables: Mapping[str, Mapping[str, Any]], below: Mapping[At, Rule]) -> str:
    """The text of a policy's own file with the edits in it.

    own: the file as read, without what it extends. tables: words of tables that are new in it (`from`, `source`). below: rules that the file
    extends, so that what they say of a column and the edit does not is taken away by name.
    """
    written = {at: _on_top(edit.rule, below.get(at)) for at, edit in edits.items()}
    return _by_lines(own, edits, written) or _by_tree(own, edits, written, tables)


def _on_top(rule: Rule, below: Rule | None) -> str | dict[str, Any]:
    said = as_written(rule)
    gone = {word: None for word in (*KEPT, "format") if below is not None and word in rule_options(below) and word not in rule_options(rule)}
    if not gone:
        return said
    return {**(Rule.short_form(said) if isinstance(said, str) else said), **gone}


def _by_lines(own: Document, edits: Mapping[At, Edit], written: Mapping[At, str | dict[str, Any]]) -> str | None:
    """Only the lines of the columns change; None where columns do not stand on lines of their own."""
    lines = own.text.splitlines(keepends=True)
    end = next((line[len(line.rstrip("\r\n")) :] for line in lines if line.endswith("\n")), "\n")
    changes: list[tuple[int, int, str]] = []
    for at, edit in edits.items():
        columns = [path for path in own.lines if path[:3] == ("tables", at[0], "columns") and len(path) == 4]
        path = ("tables", at[0], "columns", at[1])
        beside = path if path in columns else max(columns, key=lambda one: own.lines[one], default=None)
        place = _lines_of(own, beside, lines) if beside else None
        if place is None or beside is None:
            return None
        first, last = place
        indent = lines[first - 1][: len(lines[first - 1]) - len(lines[first - 1].lstrip())]
        reason = edit.reason
        if reason is None and beside == path and any(has_comment(line) for line in lines[first - 1 : last]):
            reason = own.reasons.get(path)
        line = column_line(at[1], written[at], reason or "", indent) + end
        changes.append((first, last, line) if beside == path else (last + 1, last, line))
    for first, last, line in sorted(changes, key=lambda change: (change[0], change[1]), reverse=True):
        if first > 1 and not lines[first - 2].endswith(("\n", "\r")):
            lines[first - 2] += end
        lines[first - 1 : last] = [line]
    return "".join(lines)


def _lines_of(own: Document, path: tuple[str, ...], lines: list[str]) -> tuple[int, int] | None:
    """First and last line of a column's rule; None where it shares them with others."""
    first = own.lines[path]
    text = lines[first - 1].lstrip()
    key = path[-1]
    if not text.startswith((f"{key}:", f"{quoted(key)}:", f"'{key}':", f'"{key}":')):
        return None
    others = [line for at, line in own.lines.items() if at[:4] != path and len(at) >= 1]
    if first in others:
        return None
    last = min([line for line in others if line > first], default=len(lines) + 1) - 1
    while last > first and (not lines[last - 1].strip() or (lines[last - 1].lstrip().startswith("#"))):
        last -= 1
    if text.rstrip().startswith((f"{key}: &", f"{quoted(key)}: &")):
        return None  # an anchor that others refer to
    return first, last


def _by_tree(
    own: Document, edits: Mapping[At, Edit], written: Mapping[At, str | dict[str, Any]], tables: Mapping[str, Mapping[str, Any]]
) -> str:
    """The file as ruamel keeps it: values set in its tree, comments where they were."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    tree = yaml.load(own.text)
    for at, edit in edits.items():
        table, column = at
        spec = _below(_below(tree, "tables"), table)
        for word, value in tables.get(table, {}).items():
            spec.setdefault(word, value)
        columns = _below(spec, "columns")
        value = written[at]
        if isinstance(value, dict):
            value = CommentedMap(value)
            value.fa.set_flow_style()
        columns[column] = value
        if edit.reason and not columns.fa.flow_style():
            columns.yaml_add_eol_comment(" ".join(edit.reason.split()), column)
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _below(tree: Any, word: str) -> Any:
    if not isinstance(tree.get(word), CommentedMap):
        tree[word] = CommentedMap()
    return tree[word]


def own_document(path: Path) -> Document:
    """A policy's own file, with its reasons, without what it extends."""
    document = read(path)
    document.reasons = reasons(document.text, document.lines)
    return document
