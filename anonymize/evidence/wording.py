"""The policy and its rules in words that a steward understands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anonymize.policy.model import Method, Policy, Privacy, Rule
from anonymize.publish.manifest import ColumnFact

SILENT = {"sources", "workspace", "key", "engine", "schedule", "trail", "tables"}
"""Parts of a policy that say nothing of what is released: addresses, folders, machines. Tables are told rule by rule."""
ADDRESSES = {"store", "url", "path", "folder", "file", "connection", "query", "key", "keys", "public", "options"}
"""Settings that say where something is, wherever they stand."""


def number(value: float) -> str:
    """`1,234`; a fraction to four digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def percent(share: float) -> str:
    """`4.1 %`, `0 %`, `under 0.1 %`, `over 99.9 %`: nothing that is not there reads as all or none."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", "\u00a0%")
    if 0 < share < 0.0005:
        return "under 0.1\u00a0%"
    if 0.9995 < share < 1:
        return "over 99.9\u00a0%"
    return f"{100 * share:.1f}".removesuffix(".0") + "\u00a0%"


def precision(column: ColumnFact) -> str:
    """How precise a column is that goes out."""
    if column.method == Method.SHIFT:
        return f"moved by up to {number(column.shifted or 0)} days, each person's dates by the same"
    if column.method == Method.SCRUB and column.shifted:
        return "personal details replaced, dates in it moved"
    return PLAIN.get(column.method, column.precision or column.level or "")


#: What is left of a column under a method that has no degrees.
PLAIN: dict[str, str] = {
    Method.KEEP: "as recorded",
    Method.PSEUDONYM: "keyed pseudonym",
    Method.REDACT: "a tag",
    Method.SURROGATE: "made up",
    Method.SCRUB: "personal details replaced",
}


def rounded(digits: int) -> str:
    """The digits of `round` in words."""
    if digits > 0:
        return f"to {digits} decimal{'s' if digits > 1 else ''}"
    return "to whole numbers" if digits == 0 else f"to {10**-digits:,}s"


def models_in_words(privacy: Privacy) -> Iterator[str]:
    """What is asked beside k."""
    for name, models in (("l-diversity", privacy.l), ("t-closeness", privacy.t), ("beta-likeness", privacy.beta)):
        yield from (f"{name} of {model}" for model in models)
    if privacy.events:
        yield f"k for an attacker who knows {privacy.attacker}"
    if privacy.population and privacy.population.k_map:
        yield f"k-map of {privacy.population.k_map}"
    if privacy.population and privacy.population.presence:
        yield "delta-presence from {:g} to {:g}".format(*privacy.population.presence)
    if privacy.sampling:
        one = privacy.sampling
        yield f"({one.epsilon:g}, {one.delta:g})-differential privacy by drawing a share of {one.share:g}"


def policy_in_words(policy: Policy) -> dict[str, str]:
    """Each setting and rule by its path, in words; without addresses, folders, and queries."""
    settings = policy.model_dump(mode="json", exclude=SILENT)
    found = dict(_flat(settings))
    for name, table in policy.tables.items():
        for option in ("subject", "description"):
            value = getattr(table, option)
            if value not in ("@default", ""):
                found[f"tables.{name}.{option}"] = "none" if value is None else str(value)
        found |= {f"tables.{name}.columns.{column}": rule_in_words(rule) for column, rule in table.columns.items()}
    return dict(sorted(found.items()))


def rule_in_words(rule: Rule) -> str:
    """A column's rule: `quasi generalize us-zip3, weight 2`."""
    said = rule.model_dump(mode="json", exclude={"role", "method", "description"}, exclude_defaults=True)
    words = [f"{rule.role} {rule.method}" if rule.role.value != rule.method.value else str(rule.role)]
    words += [f"{name.replace('_', ' ')} {', '.join(map(str, value)) if isinstance(value, list) else value}" for name, value in said.items()]
    return ", ".join(words)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in ADDRESSES:
                yield from _flat(inner, f"{path}.{name}".removeprefix(".").replace("_", "-"))
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value)) or "none"
    else:
        yield path, _scalar(value)


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
