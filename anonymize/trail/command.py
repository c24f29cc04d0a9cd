"""`anonymize audit verify` and `anonymize audit show`, thin; `anonymize trail` is another name for the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from anonymize.errors import AnonymizeError
from anonymize.trail import folder_of, verify
from anonymize.trail.files import LINES, Trail
from anonymize.trail.lines import ACTIONS, Line, parse
from anonymize.trail.signing import Public, Signer

_WHERE = click.argument("where", metavar="POLICY|FOLDER", type=click.Path(exists=True, path_type=Path))


def _found(where: Path) -> tuple[Trail, list[Public]]:
    """The trail of a policy or in a folder, and the key that the policy vouches for. Reading needs no private key."""
    if where.is_dir():
        return Trail(where), []
    from anonymize.policy.loader import load

    policy = load(where)
    bare = Trail(folder_of(policy))
    if policy.trail.public:
        given = policy.trail.public
        return bare, [Public.read(given if len(given) == 64 else str(policy.path(given)))]
    return bare, [Signer.of(policy.trail.key, base=policy.file.parent).public] if policy.trail.key else []


@click.group("audit")
def audit_command() -> None:
    """The audit trail: who asked, ran, looked, approved, published and took back."""


@audit_command.command("verify")
@_WHERE
@click.option("--public", multiple=True, metavar="KEY", help="A public key that may have signed: 64 hex digits, or a PEM file.")
@click.option("--witness", metavar="N:HASH", help="A head that you noted earlier: it must still stand on the chain.")
@click.option("--store", "with_store", is_flag=True, help="Hold the versions in a POLICY's research store against the trail as well.")
def verify_command(where: Path, public: tuple[str, ...], witness: str | None, with_store: bool) -> None:
    """Find any line of the trail that was changed, cut or put elsewhere. Exit code 1 where one is."""
    trail, known = _found(where)
    found = verify(trail, public=[*known, *(Public.read(key) for key in public)], witness=witness)
    if not found.lines and not found.findings:
        raise AnonymizeError(f"{trail.folder} holds no trail yet")
    for finding in found.findings:
        click.echo(str(finding))
    verdict = "as it was written" if found.holds else "NOT as it was written"
    click.echo(f"{trail.folder / LINES}: {found.lines:,} lines, {verdict}; {found.signed}")
    click.echo(f"its head, to note where nobody of this machine can write: {found.head}")
    strange = list(_unaccounted(where, trail)) if with_store else []
    for one in strange:
        click.echo(one)
    if with_store and not strange:
        click.echo("the store holds what the trail says, and nothing else")
    sys.exit(0 if found.holds and not strange else 1)


def _unaccounted(where: Path, trail: Trail) -> Iterator[str]:
    from anonymize.accounting import unaccounted
    from anonymize.policy.loader import load

    if where.is_dir():
        raise click.UsageError("--store needs the POLICY, which says where the store is")
    return unaccounted(load(where), trail)


@audit_command.command("show")
@_WHERE
@click.option("--dataset", help="Of this dataset alone.")
@click.option("--run", help="Of this run alone.")
@click.option("--action", multiple=True, type=click.Choice(list(ACTIONS)), help="Of these actions alone.")
@click.option("--json", "as_json", is_flag=True, help="The lines as they stand.")
def show_command(where: Path, dataset: str | None, run: str | None, action: tuple[str, ...], as_json: bool) -> None:
    """Print the trail, oldest first: when, who, what."""
    trail, _ = _found(where)
    for line in _lines(trail):
        of = line.said
        if dataset in (None, of.get("dataset")) and run in (None, of.get("run")) and (not action or line.action in action):
            click.echo(line.to_bytes().decode().rstrip() if as_json else words(line))


@audit_command.command("key")
@click.argument("policy_file", metavar="POLICY", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def key_command(policy_file: Path) -> None:
    """Print the public key that verifies the trail: for auditors, who need no secret."""
    from anonymize.policy.loader import load

    policy = load(policy_file)
    if not policy.trail.key:
        raise AnonymizeError(f"{policy.where('trail')}  the policy names no key to sign the trail with (trail: {{key: env:NAME}})")
    click.echo(Signer.of(policy.trail.key, base=policy.file.parent).public.hex)


def _lines(trail: Trail) -> Iterator[Line]:
    for data in trail.lines():
        line = parse(data)
        if line is not None:
            yield line


def words(line: Line) -> str:
    """A line for a person: `12  2026-11-21 10:15:00  a.steward  approved  icu  icu-1  reason=…`."""
    said = line.said
    facts = "  ".join(f"{name}={_short(value)}" for name, value in (said.get("facts") or {}).items())
    parts = (str(line.n), str(said["at"])[:19].replace("T", " "), said["who"], line.action, said.get("dataset"), said.get("run"), facts)
    return "  ".join(str(part) for part in parts if part)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
