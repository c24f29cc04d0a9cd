"""The schema's findings in the words of the policy: what is wrong, where it stands, and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from anonymize.policy import model, origins, secrets
from anonymize.policy.model import Policy
from anonymize.policy.nearest import LIKELY, likeness, nearest
from anonymize.policy.reading import Document, Path_

_SOURCES: dict[str, type[BaseModel]] = {word: kind for kind in origins.KINDS for word in get_args(kind.model_fields["type"].annotation)}
#: What pydantic adds to a location that is not in the file: the branch of a union, the key of a mapping, the members of a union of types.
_BRANCHES = {*_SOURCES, "[key]", "bool", "float"}
#: Longer values, and those that are no plain words, are not repeated.
_SHOWN = re.compile(r"[A-Za-z0-9 _.,:*@-]{1,40}")
_SLUG = "a name of lower-case letters, digits, _ and -, up to 63, beginning with a letter or digit"
_KEY = (
    "must say where the key is found, env:NAME or airflow:NAME. A key itself has no place in a policy: if this is one, it is spent, make another"
)


def translated(error: ValidationError, document: Document) -> Iterator[tuple[Path_, str]]:
    """(path in the file, sentence) of each finding; a word that is missing because it is misspelt is told once."""
    items = error.errors(include_url=False, include_context=True)
    placed = [(item, _in_file(tuple(str(part) for part in item["loc"]), document.values)) for item in items]
    unknown = [at for item, at in placed if item["type"] == "extra_forbidden"]
    for item, at in placed:
        misspelt = [other for other in unknown if other[:-1] == at[:-1] and other and likeness(other[-1], at[-1]) >= LIKELY]
        if item["type"] != "missing" or not misspelt:
            yield at, _words(item, at, document)


def _in_file(loc: Path_, values: Any) -> Path_:
    """The location as it stands in the file."""
    at: list[str] = []
    node = values
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


def _words(item: Any, at: Path_, document: Document) -> str:
    kind, context, given = str(item["type"]), item.get("ctx") or {}, item.get("input")
    name = at[-1] if at else "policy"
    if kind == "missing":
        return f"'{name}' is missing" + (f". Known: {', '.join(model.Role)}." if name == "role" else "")
    if kind == "extra_forbidden":
        return _unknown_word(name, at, document.values)
    if kind in ("enum", "literal_error"):
        known = re.findall(r"'([^']+)'", str(context.get("expected", "")))
        return f"no {name} '{_shown(given)}'.{nearest(_shown(given), known)}"
    if kind.startswith("union_tag"):
        tag = str(context.get("tag", ""))
        return f"no source type '{_shown(tag)}'.{nearest(tag, _SOURCES)}" if tag else f"lacks its 'type'. Known: {', '.join(_SOURCES)}."
    if kind == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        return _KEY if at == ("key",) else f"'{_shown(given)}' is not of the form that is allowed here: {_SLUG}"
    if kind == "string_type" and at in document.written:
        return f"YAML reads {document.written[at]} as {_yaml_type(given)}, and a text is asked for: write it in quotes, '{document.written[at]}'"
    return _plain_words(kind, context, given)


def _unknown_word(name: str, at: Path_, values: Any) -> str:
    if name.lower() in secrets.WORDS:
        return f"no such word '{_shown(name)}': a policy holds no credentials. {secrets.HOW}"
    return f"no such word '{_shown(name)}'.{nearest(name, _allowed(at, values))}"


def _plain_words(kind: str, context: Mapping[str, Any], given: Any) -> str:
    """Sentences for the findings on single values."""
    bounds = {
        "greater_than": ("gt", "must be more than"),
        "greater_than_equal": ("ge", "must be at least"),
        "less_than": ("lt", "must be less than"),
        "less_than_equal": ("le", "must be at most"),
    }
    if kind in bounds:
        key, words = bounds[kind]
        return f"{words} {context.get(key)}; it is {_shown(given)}"
    wanted = next((words for prefix, words in _WANTED.items() if kind.startswith(prefix)), None)
    if wanted is None:
        return "has a value that is not allowed here"
    if kind == "finite_number":
        return f"must be {wanted}"
    return f"must be {wanted}; it is '{_shown(given)}'" if isinstance(given, str) else f"must be {wanted}, not {_yaml_type(given)}"


_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "dict": "a mapping (NAME: …) with at least one entry",
    "too_short": "a mapping (NAME: …) with at least one entry",
    "model": "a mapping (WORD: …)",
    "tuple": "a list, [A, B]",
    "list": "a list, [A, B]",
    "none_required": "left out",
}


def _yaml_type(value: Any) -> str:
    if value is None:
        return "nothing"
    types = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a mapping"}
    return types.get(type(value), "something else")


def _shown(value: Any) -> str:
    """A value of the policy as an error may repeat it: short and plain, else nothing of it."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if isinstance(value, str | int | float) and _SHOWN.fullmatch(text) else "…"


def _allowed(at: Path_, values: Any) -> list[str]:
    """The words that may stand where an unknown one does."""
    chosen: type[BaseModel] | None = Policy
    if at[0] == "tables" and len(at) > 1:
        chosen = model.Table if len(at) == 3 else model.Rule if len(at) == 5 else None
    elif at[0] == "sources" and len(at) > 1:
        source = values["sources"].get(at[1]) if isinstance(values.get("sources"), dict) else None
        chosen = _SOURCES.get(str(source.get("type"))) if isinstance(source, dict) and len(at) == 3 else None
    else:
        for part in at[:-1]:
            chosen = _inner(chosen, part)
    return [field.alias or name for name, field in chosen.model_fields.items()] if chosen else []


def _inner(outer: type[BaseModel] | None, word: str) -> type[BaseModel] | None:
    fields = {field.alias or name: field.annotation for name, field in outer.model_fields.items()} if outer else {}
    # `X | None` is an X where it is given.
    inner = next((one for one in get_args(fields.get(word)) if one is not type(None)), fields.get(word))
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
