"""What no schema of the policy says: words that refer to others, short forms, and no secret anywhere. Each rule yields its problems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anonymize.policy.model import ARGUMENT, METHODS, Kind, Method, Role, Rule
from anonymize.policy.nearest import nearest
from anonymize.policy.reading import Path_
from anonymize.policy.secrets import HOW, secret_in

Found = Iterator[tuple[Path_, str]]
NEEDS_ROLE = "needs a role, for example 'plain', 'identifier pseudonym', 'quasi us-zip3', 'drop'"


def own_rules(values: dict[str, Any]) -> Found:
    """All problems that a policy's plain values hold beside those of its schema: (path, words)."""
    yield from _secrets(values, ())
    yield from _spark(values)
    yield from _references(values)
    for table, spec in _mapping(values.get("tables")).items():
        for column, rule in _mapping(_mapping(spec).get("columns")).items():
            at = ("tables", table, "columns", column)
            wrong = short_form_problem(rule)
            if wrong:
                yield at, wrong
            hierarchy = _hierarchy(rule)
            wrong = _hierarchy_problem(hierarchy) if hierarchy and not wrong else None
            if wrong:
                yield (at if isinstance(rule, str) else (*at, "hierarchy")), wrong


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _secrets(value: Any, at: Path_) -> Found:
    """Secrets stand in addresses; a SELECT or a description can hold anything, and is searched too."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _secrets(item, (*at, str(key)))
    if isinstance(value, str):
        secret = secret_in(value)
        if secret:
            yield at, f"holds {secret}. {HOW}"


def _spark(values: dict[str, Any]) -> Found:
    """Spark shows its settings to everybody (its UI, its event log, `ps`): the key is not among them, only where it is found."""
    at = ("engine", "spark", "conf")
    conf: Any = values
    for name in at:
        conf = _mapping(conf).get(name)
    key = values.get("key", "env:ANONYMIZE_KEY")
    for name in _mapping(conf):
        if isinstance(key, str) and str(name).endswith(f".{key.partition(':')[2]}") and "secretKeyRef" not in str(name):
            yield at, "gives the key itself, and everybody can read Spark's settings. Put it into the executors' environment (docs/spark.md)"


def _references(values: dict[str, Any]) -> Found:
    """Tables name sources, and the subject names a table, that the policy knows."""
    sources, tables = _mapping(values.get("sources")), _mapping(values.get("tables"))
    for table, spec in tables.items():
        source = _mapping(spec).get("source")
        if source is None and len(sources) > 1:
            yield ("tables", table), f"must say which source it comes from, 'source: NAME'. Known: {', '.join(sources)}."
        elif isinstance(source, str) and sources and source not in sources:
            yield ("tables", table, "source"), f"no source '{source}'.{nearest(source, sources)}"
    for word in ("optout", "cohort", "linkage"):
        yield from _listed(values, word, sources)
    yield from _encrypted(values, tables)
    subject = values.get("subject")
    table, dot, column = subject.rpartition(".") if isinstance(subject, str) else ("", "", "")
    if dot and _mapping(tables.get(table)).get("optional") is True:
        yield ("tables", table, "optional"), "the subject table cannot be optional: without it nobody is known"
    if dot and tables and table not in tables:
        yield ("subject",), f"no table '{table}'.{nearest(table, tables)}"
    if isinstance(subject, str) and not (column if dot else subject).strip():
        yield ("subject",), "names no column: write TABLE.COLUMN, or COLUMN alone"


def _listed(values: dict[str, Any], word: str, sources: dict[str, Any]) -> Found:
    """A list of subjects, or the map of persons, comes from a file or from a source that the policy knows."""
    stated = _mapping(values.get(word))
    named = stated.get("source")
    if isinstance(named, str) and sources and named not in sources:
        yield (word, "source"), f"no source '{named}'.{nearest(named, sources)}"
    elif named is None and stated and "file" not in stated and len(sources) > 1:
        yield (word,), f"must say which source it comes from, 'source: NAME'. Known: {', '.join(sources)}."
    for system in _mapping(stated.get("systems")) if word == "linkage" else ():
        if sources and system not in sources:
            yield (word, "systems", system), f"no source '{system}'.{nearest(system, sources)}"


def _encrypted(values: dict[str, Any], tables: dict[str, Any]) -> Found:
    """Columns to encrypt are columns that the policy publishes."""
    for name in _mapping(_mapping(_mapping(values.get("release")).get("encryption")).get("columns")):
        table, _, column = str(name).partition(".")
        rules = _mapping(_mapping(tables.get(table)).get("columns"))
        published = [_mapping(rule).get("rename") or source for source, rule in rules.items()]
        at = ("release", "encryption", "columns", str(name))
        if table not in tables:
            yield at, f"no table '{table}'.{nearest(table, tables)}"
        elif column not in published:
            yield at, f"no published column '{column}' in table '{table}'.{nearest(column, [str(one) for one in published])}"


def short_form_problem(rule: Any) -> str | None:
    """What is wrong with a column's short form; None where nothing is, or it has the long form."""
    if isinstance(rule, dict):
        return None
    if rule is None:
        return f"says nothing: a column {NEEDS_ROLE}"
    if isinstance(rule, bool):
        return f"'{str(rule).lower()}' is no role: a column {NEEDS_ROLE}"
    if not isinstance(rule, str):
        return f"a column {NEEDS_ROLE}"
    words = rule.split()
    if not words or words[0] not in set(Role):
        word = words[0] if words else ""
        return f"no role '{word}'.{nearest(word, Role)}" if word else f"says nothing: a column {NEEDS_ROLE}"
    return _after_the_role(Role(words[0]), words[1:])


def _after_the_role(role: Role, rest: list[str]) -> str | None:
    method = METHODS[role][0]
    if rest and rest[0] in set(Method):
        method, rest = Method(rest[0]), rest[1:]
    option = ARGUMENT.get(method)
    if option is None and rest:
        return f"no method '{rest[0]}'.{nearest(rest[0], METHODS[role])}"
    if len(rest) > 1:
        return f"'{' '.join(rest[1:])}' is one word too many: a short form is ROLE [METHOD] [ARGUMENT]"
    if rest and option == "kind" and rest[0] not in set(Kind):
        return f"no method or kind '{rest[0]}'.{nearest(rest[0], [*METHODS[role], *Kind])}"
    if rest and option == "digits" and not rest[0].removeprefix("-").isdecimal():
        return f"'{rest[0]}' is no number of decimal digits. Example: 'plain round 1'"
    return None


def _hierarchy(rule: Any) -> str | None:
    """The hierarchy that a column names, if any."""
    named = _mapping(Rule.short_form(rule) if isinstance(rule, str) else rule).get("hierarchy")
    return named if isinstance(named, str) else None


def _hierarchy_problem(name: str) -> str | None:
    """Its name, and whether it takes an argument; the check builds it, for that may read a file."""
    from anonymize.hierarchies import MAY_TAKE, names

    written = {form.partition(":")[0]: form for form in names()}
    word, colon, argument = name.partition(":")
    if word not in written:
        return f"no hierarchy '{word}'.{nearest(word, written)}"
    form = written[word]
    if ":" in form and not argument:
        return f"hierarchy '{word}' needs an argument: it is written '{form}'"
    return f"hierarchy '{word}' takes no argument" if colon and ":" not in form and word not in MAY_TAKE else None
