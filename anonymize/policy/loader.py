"""Turns a policy's YAML into a checked `Policy`, or says everything that is wrong with it at once, each with its line."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from rapidfuzz import process
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from anonymize.errors import PolicyError, Problem
from anonymize.policy import model
from anonymize.policy.model import ARGUMENT, METHODS, Kind, Method, Policy, Role

Path_ = tuple[str, ...]
_PASSWORD = re.compile(r"://[^/@:${}]+:(?!\$\{)[^@/]+@")


def load(path: Path | str) -> Policy:
    """Read a policy.

    Raises PolicyError with every problem found: file:line, the path in the policy, what is wrong, the nearest valid word.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise PolicyError([Problem(f"{path}:1", "policy", f"cannot be read: {reason}")]) from None
    data = _parse(text, path)
    lines: dict[Path_, int] = {}
    plain = _plain(data, (), lines)
    problems = _own_rules(plain, lines, path)
    policy: Policy | None = None
    try:
        policy = Policy.model_validate(plain)
    except ValidationError as error:
        told = {p.path for p in problems}
        problems += [p for p in _translated(error, plain, lines, path) if p.path not in told]
    if policy is None or problems:
        raise PolicyError(sorted(problems, key=lambda p: int(p.where.rpartition(":")[2])))
    policy._file, policy._lines, policy._sha256 = path, lines, hashlib.sha256(text.encode()).hexdigest()
    return policy


def _parse(text: str, path: Path) -> CommentedMap:
    yaml = YAML(typ="rt")
    try:
        data = yaml.load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = (error.problem or "is no YAML").splitlines()[0]
        raise PolicyError([Problem(f"{path}:{line}", "yaml", what)]) from None
    except Exception as error:  # the parser raises plain errors on some texts (bad escapes, odd characters)
        raise PolicyError([Problem(f"{path}:1", "yaml", f"is no YAML ({type(error).__name__})")]) from None
    if not isinstance(data, CommentedMap):
        raise PolicyError([Problem(f"{path}:1", "policy", "must be a mapping that begins with 'dataset: NAME'")])
    return data


def _plain(node: Any, at: Path_, lines: dict[Path_, int]) -> Any:
    """The node without YAML's dress; the line of each path is noted on the way."""
    if isinstance(node, CommentedMap):
        lines.setdefault(at, node.lc.line + 1)
        result = {}
        for key, value in node.items():
            where = (*at, str(key))
            lines[where] = node.lc.key(key)[0] + 1 if key in (node.lc.data or {}) else lines[at]
            result[str(key)] = _plain(value, where, lines)
        return result
    if isinstance(node, CommentedSeq):
        lines.setdefault(at, node.lc.line + 1)
        return [_plain(value, (*at, str(i)), lines) for i, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def _own_rules(plain: dict[str, Any], lines: dict[Path_, int], path: Path) -> list[Problem]:
    """What no schema says: no password in a policy, short forms without superfluous words."""
    problems = []
    sources = plain.get("sources")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if isinstance(source, dict) and _PASSWORD.search(str(source.get("url", ""))):
            what = "holds a password. Put it into the environment and write ${NAME}, or name an Airflow connection"
            problems.append(_problem(path, lines, ("sources", name, "url"), what))
    tables = plain.get("tables")
    for table, spec in tables.items() if isinstance(tables, dict) else ():
        columns = spec.get("columns") if isinstance(spec, dict) else None
        for column, rule in columns.items() if isinstance(columns, dict) else ():
            wrong = _short_form_problem(rule)
            if wrong:
                problems.append(_problem(path, lines, ("tables", table, "columns", column), wrong))
    return problems


def _short_form_problem(rule: Any) -> str | None:
    if not isinstance(rule, str):
        return None if isinstance(rule, dict) else "needs a role, for example 'plain', 'identifier pseudonym', 'quasi us-zip3', 'drop'"
    words = rule.split()
    if not words or words[0] not in set(Role):
        return f"no role '{words[0] if words else ''}'.{nearest(words[0] if words else '', list(Role))}"
    role, rest = Role(words[0]), words[1:]
    method = METHODS[role][0]
    if rest and rest[0] in set(Method):
        method, rest = Method(rest[0]), rest[1:]
    if method not in ARGUMENT and rest:
        return f"no method '{rest[0]}'.{nearest(rest[0], list(METHODS[role]))}"
    if len(rest) > 1:
        return f"'{' '.join(rest[1:])}' is one word too many: a short form is ROLE [METHOD] [ARGUMENT]"
    if rest and ARGUMENT.get(method) == "kind" and rest[0] not in set(Kind):
        return f"no method or kind '{rest[0]}'.{nearest(rest[0], [*METHODS[role], *Kind])}"
    return None


def _translated(error: ValidationError, plain: dict[str, Any], lines: dict[Path_, int], path: Path) -> list[Problem]:
    """Pydantic's findings in the words of the policy."""
    problems = []
    for item in error.errors(include_url=False, include_context=True):
        at = _in_file(tuple(str(part) for part in item["loc"]), plain)
        problems.append(_problem(path, lines, at, _words(item, at, plain)))
    return _without_echoes(problems)


def _without_echoes(problems: list[Problem]) -> list[Problem]:
    """A rule that is wrong in its short form is told once."""
    seen: dict[str, Problem] = {}
    for problem in problems:
        seen.setdefault(problem.path, problem)
    return list(seen.values())


def _in_file(loc: Path_, plain: Any) -> Path_:
    """The location as it stands in the file: pydantic adds the name of a union's branch, and fields of short forms, which are not there."""
    at: list[str] = []
    node = plain
    for part in loc:
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif part in _BRANCHES:
            continue
        else:
            return (*at, part) if isinstance(node, dict) else tuple(at)
        at.append(part)
    return tuple(at)


_BRANCHES = {"sql", "csv", "parquet", "ndjson", "fhir", "[key]"}


def _words(item: Any, at: Path_, plain: Any) -> str:
    kind, context = item["type"], item.get("ctx") or {}
    name = at[-1] if at else "policy"
    if kind == "missing":
        return f"'{name}' is missing"
    if kind == "extra_forbidden":
        return f"no such word '{name}'.{nearest(name, _allowed(at, plain))}"
    if kind in ("enum", "literal_error"):
        allowed = re.findall(r"'([^']+)'", str(context.get("expected", "")))
        return f"no '{item['input']}' here.{nearest(str(item['input']), allowed)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = ["sql", "csv", "parquet", "ndjson", "fhir"]
        return f"a source's 'type' must be one of: {', '.join(tags)}.{nearest(str(context.get('tag', '')), tags)}"
    if kind == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        allowed_here = "env:NAME or airflow:NAME" if name == "key" else "lower-case letters, digits, _ and -, beginning with a letter or digit"
        return f"'{item['input']}' is not of the form that is allowed here: {allowed_here}"
    return str(item["msg"]).replace("Input should be", "should be")


def _allowed(at: Path_, plain: Any) -> list[str]:
    """The words that may stand where an unknown one does."""
    models: dict[int, type[BaseModel]] = {1: Policy}
    if at[0] == "tables":
        models |= {3: model.Table, 5: model.Rule}
    elif at[0] == "sources" and len(at) == 3:
        kind = plain["sources"][at[1]].get("type")
        of_kind: dict[str, type[BaseModel]] = {"sql": model.SqlSource, "fhir": model.FhirSource}
        models[3] = of_kind.get(kind, model.FileSource)
    elif len(at) == 2 and at[0] in Policy.model_fields:
        inner = Policy.model_fields[at[0]].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            models[2] = inner
    chosen = models.get(len(at))
    return [field.alias or name for name, field in chosen.model_fields.items()] if chosen else []


def nearest(word: str, allowed: list[Any]) -> str:
    """` Did you mean 'x'?` where a valid word is near, and the valid words where there are few."""
    words = [str(getattr(a, "value", a)) for a in allowed]
    if not words:
        return ""
    best = process.extractOne(word, words, score_cutoff=60)
    hint = f" Did you mean '{best[0]}'?" if best else ""
    return hint + (f" Known: {', '.join(words)}." if len(words) <= 12 and not best else "")


def _problem(path: Path, lines: dict[Path_, int], at: Path_, what: str) -> Problem:
    for length in range(len(at), -1, -1):
        if at[:length] in lines:
            return Problem(f"{path}:{lines[at[:length]]}", ".".join(at) or "policy", what)
    return Problem(f"{path}:1", ".".join(at) or "policy", what)
