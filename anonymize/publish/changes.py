"""CHANGES.md: what is new in a version against the one before it, in schema, policy, rows, subjects and k."""

from __future__ import annotations

from collections.abc import Iterator

from anonymize.publish.manifest import ColumnFact, Manifest, ReleaseFacts, TableFact
from anonymize.publish.parquet import SHIFTED

TITLE = "# Changes\n"
_SAID = (("type", "type"), ("role", "role"), ("method", "method"), ("precision", "precision"), ("unit", "unit"), ("codes", "codes"))


def change_log(facts: ReleaseFacts, *, version: str, before: Manifest | None = None, earlier: bytes = b"") -> bytes:
    """The change log as Markdown, the newest version first.

    before: the manifest of the version that this one is held against; earlier: that version's CHANGES.md, which is carried on.
    """
    lines = [f"## {version}", ""]
    lines += [f"**{_one_line(notice)}**\n" for notice in facts.notices]
    lines += [f"Dates are {SHIFTED.format(days=days)}.", ""] if (days := _shifted(facts)) else []
    lines += ["The first version.", ""] if before is None else [f"Against {before.version}:", "", *_bullets(facts, before), ""]
    past = earlier.decode().removeprefix(TITLE).strip()
    return "\n".join([TITLE, *lines, *([past, ""] if past else [])]).encode()


def _shifted(facts: ReleaseFacts) -> int | None:
    return next((column.shifted for table in facts.tables for column in table.columns if column.shifted), None)


def differences(facts: ReleaseFacts, before: Manifest) -> list[str]:
    """Each difference from an earlier version, in words."""
    return [*_schema(facts, before), *_policy(facts, before), *_counts(facts, before), *_privacy(facts, before)]


def _bullets(facts: ReleaseFacts, before: Manifest) -> list[str]:
    return [f"- {_one_line(words)}" for words in differences(facts, before)] or ["- Nothing but the day on which it was made."]


def _schema(facts: ReleaseFacts, before: Manifest) -> Iterator[str]:
    new, old = {table.name: table for table in facts.tables}, {table.name: table for table in before.tables}
    for name in [name for name in new if name not in old]:
        yield f"Schema: table `{name}` is new."
    for name in sorted(old.keys() - new.keys()):
        yield f"Schema: table `{name}` is gone."
    for name in [table.name for table in facts.tables if table.name in old]:
        yield from _columns(new[name], old[name], silent=("precision", "shifted") if before.format < 2 else ())


def _columns(new: TableFact, old: TableFact, *, silent: tuple[str, ...]) -> Iterator[str]:
    """silent: what the old manifest's format could not say."""
    now, then = {column.name: column for column in new.columns}, {column.name: column for column in old.columns}
    for name in [name for name in now if name not in then]:
        yield f"Schema: column `{new.name}.{name}` is new ({now[name].method})."
    for name in [name for name in then if name not in now]:
        yield f"Schema: column `{new.name}.{name}` is gone."
    for name in [name for name in now if name in then]:
        for word in _differing(now[name], then[name], silent):
            yield f"Schema: column `{new.name}.{name}`: {word}."


def _differing(now: ColumnFact, then: ColumnFact, silent: tuple[str, ...]) -> Iterator[str]:
    for field, word in _SAID:
        was, is_ = str(getattr(then, field)), str(getattr(now, field))
        if was != is_ and field not in silent:
            yield f"{word} is {is_ or 'not said'}, was {was or 'not said'}"
    if now.values != then.values:
        yield "the values that it may hold are others"
    if now.shifted != then.shifted and "shifted" not in silent:
        yield f"dates are {f'shifted by up to {now.shifted} days' if now.shifted else 'not shifted'}" + (
            f", were shifted by up to {then.shifted}" if then.shifted else ", were not shifted"
        )
    if (now.encrypted is None) != (then.encrypted is None):
        yield "is encrypted now" if now.encrypted else "is no longer encrypted"


def _policy(facts: ReleaseFacts, before: Manifest) -> Iterator[str]:
    if facts.policy_sha256 != before.policy_sha256:
        yield f"Policy: another one (SHA-256 `{facts.policy_sha256[:12]}`, was `{before.policy_sha256[:12]}`)."
    if facts.profile != before.profile and before.profile:
        yield f"Policy: profile is {facts.profile}, was {before.profile}."
    if facts.licence != before.licence:
        yield f"Policy: licence is {facts.licence or 'not said'}, was {before.licence or 'not said'}."
    if facts.key_id != before.key_id:
        yield "Key: another one. Pseudonyms and shifted dates of this version do not join with those of the version before."
    if facts.code_version != before.code_version:
        yield f"Made by anonymize {facts.code_version}, was {before.code_version}."


def _counts(facts: ReleaseFacts, before: Manifest) -> Iterator[str]:
    old = {table.name: table for table in before.tables}
    for table in facts.tables:
        then = old.get(table.name)
        if then is None:
            continue
        if table.rows != then.rows:
            yield f"Rows: `{table.name}` has {table.rows:,}, had {then.rows:,}."
        if table.subjects is not None and then.subjects is not None and table.subjects != then.subjects:
            yield f"People: `{table.name}` has {table.subjects:,}, had {then.subjects:,}."


def _privacy(facts: ReleaseFacts, before: Manifest) -> Iterator[str]:
    new, old = facts.privacy, before.privacy
    if new.k != old.k:
        yield f"Privacy: k = {new.k} is asked for, was {old.k}."
    if new.reached != old.reached and new.reached is not None and old.reached is not None:
        yield f"Privacy: the smallest class has {new.reached:,} people, had {old.reached:,}."
    if new.suppressed != old.suppressed and new.suppressed is not None and old.suppressed is not None:
        yield f"Privacy: {new.suppressed:,} rows were suppressed, were {old.suppressed:,}."


def _one_line(text: str) -> str:
    return " ".join(text.split())
