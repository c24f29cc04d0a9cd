"""`anonymize retract`, `expire`, `pin`, `unpin`, thin."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anonymize.errors import AnonymizeError
from anonymize.policy.model import Policy

if TYPE_CHECKING:
    from anonymize.publish import Store


def _policy(file: Path | None, dataset: str | None) -> Policy:
    """The policy of a file, or the one of this deployment whose dataset it is."""
    from anonymize.policy.loader import load

    if (file is None) == (dataset is None):
        raise click.UsageError("name a POLICY, or a dataset with --dataset")
    if file is not None:
        return load(file)
    folder = Path(os.environ.get("ANONYMIZE_POLICIES", "policies"))
    found = next((policy for policy in map(load, sorted(folder.glob("*.yaml"))) if policy.dataset == dataset), None)
    if found is None:
        raise AnonymizeError(f"no policy in {folder} has the dataset '{dataset}'. Name the policy's file, or set ANONYMIZE_POLICIES")
    return found


@click.command("retract")
@click.argument("policy_file", metavar="[POLICY]", required=False, type=click.Path(path_type=Path))
@click.option("--dataset", help="The dataset, in place of its policy's file.")
@click.option("--subjects", type=click.Path(path_type=Path), help="One subject key a line, a CSV, or a FHIR bulk export's manifest.")
@click.option("--column", help="Which column of a CSV holds the subject key.  [default: the policy's]")
@click.option("--reason", help="Why, without saying who; readers see it.")
@click.option("--as", "steward", help="Your name; it stands in the tombstone.")
@click.option("--withdraw", is_flag=True, help="Take versions out whole that cannot be searched for the subjects.")
@click.option("--dry-run", is_flag=True, help="Say which versions hold them, and change nothing.")
@click.option("--resume", "resuming", is_flag=True, help="End the retractions that were killed; no --subjects are needed.")
def retract_command(
    policy_file: Path | None,
    dataset: str | None,
    subjects: Path | None,
    column: str | None,
    reason: str | None,
    steward: str | None,
    withdraw: bool,
    dry_run: bool,
    resuming: bool,
) -> None:
    """Take subjects out of every published version, and keep them out of those that come (GDPR Art. 17).

    Versions that hold them are published anew without them, proven, and the old ones are tombstoned. What was done is written as a proof.
    """
    from anonymize.run import exclusive
    from anonymize.taking_back import retracting
    from anonymize.taking_back.subjects import read_file

    policy = _policy(policy_file, dataset)
    if resuming:
        with exclusive(policy):
            proofs = retracting.resume(policy, say=click.echo)
        click.echo(f"{len(proofs)} retractions ended" if proofs else "no retraction was left unfinished")
        return
    if subjects is None:
        raise click.UsageError("say whom it is about: --subjects FILE")
    keys = read_file(subjects, column or policy.subject.rpartition(".")[2])
    if dry_run:
        found = retracting.look(policy, keys)
        for held in found:
            rows = ", ".join(f"{number:,} {'row' if number == 1 else 'rows'} of {table}" for table, number in held.rows.items() if number)
            click.echo(f"{held.version}: " + "; ".join([*([rows] if rows else []), *held.unsearchable]))
        click.echo(f"{len(keys):,} subjects; {len(found):,} versions hold some of them or cannot be searched. Nothing was changed")
        return
    if not keys:
        click.echo("the file says that nobody was deleted; nothing is to be done")
        return
    if reason is None or steward is None:
        raise click.UsageError("say why and who you are: --reason … --as NAME")
    with exclusive(policy):
        proof = retracting.retract(policy, keys, reason=reason, by=steward, withdraw=withdraw, say=click.echo)
    click.echo(f"proof: {retracting.home(policy) / proof.retraction / retracting.PAGE}")
    for run in proof.waiting:
        click.echo(f"run {run} took its records before; its gate stops it. Remove its workspace: anonymize discard {run}")


@click.command("expire")
@click.argument("policy_file", metavar="[POLICY]", required=False, type=click.Path(path_type=Path))
@click.option("--dataset", help="The dataset, in place of its policy's file.")
@click.option("--dry-run", is_flag=True, help="Say what is due, and change nothing.")
@click.option("--as", "steward", help="Your name; it stands in the tombstone.  [default: this account's]")
def expire_command(policy_file: Path | None, dataset: str | None, dry_run: bool, steward: str | None) -> None:
    """Take versions out whose time is over by the policy (release: {keep: …}). What somebody pinned is announced first, and goes later."""
    from anonymize import trail
    from anonymize.run import exclusive
    from anonymize.taking_back import retention

    policy = _policy(policy_file, dataset)
    if dry_run:
        found = retention.due(policy)
        for one in found:
            click.echo(str(one))
        click.echo(f"{len(found):,} versions are due. Nothing was changed")
        return
    with exclusive(policy):
        waiting = retention.expire(policy, by=steward or trail.actor(), say=click.echo)
    for one in waiting:
        click.echo(str(one))


@click.command("pin")
@click.argument("dataset")
@click.argument("version")
@click.option("--by", required=True, help="Your name.")
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The last day on which you need it.")
@click.option("--store", "uri", envvar="ANONYMIZE_STORE", help="The research store, where its policy is not on this machine.")
def pin_command(dataset: str, version: str, by: str, until: datetime, uri: str | None) -> None:
    """Say that you rely on a VERSION: it is announced before it goes, and does not go while you need it without 30 days' notice."""
    from anonymize.taking_back import retention

    store, policy = _store(dataset, uri)
    made = retention.pin(store, dataset, version, by=by, until=until.replace(tzinfo=UTC).date())
    _noted(policy, "pinned", made.by, version, made.until.isoformat())
    click.echo(f"{dataset} {version} is pinned by {made.by} until {made.until}")


@click.command("unpin")
@click.argument("dataset")
@click.argument("version")
@click.option("--by", required=True, help="Your name, as you pinned it.")
@click.option("--store", "uri", envvar="ANONYMIZE_STORE", help="The research store, where its policy is not on this machine.")
def unpin_command(dataset: str, version: str, by: str, uri: str | None) -> None:
    """Give your pin of a VERSION back."""
    from anonymize.taking_back import retention

    store, policy = _store(dataset, uri)
    if not retention.unpin(store, dataset, version, by=by):
        raise AnonymizeError(f"{dataset} {version} has no pin of '{by}'")
    _noted(policy, "unpinned", by, version, None)
    click.echo(f"{dataset} {version} is no longer pinned by {by}")


def _store(dataset: str, uri: str | None) -> tuple[Store, Policy | None]:
    """A dataset's store: where it is said, or where its policy says."""
    from anonymize.publish import Store
    from anonymize.releasing import store_uri

    if uri:
        return Store(uri), None
    policy = _policy(None, dataset)
    return Store(store_uri(policy)), policy


def _noted(policy: Policy | None, action: str, who: str, version: str, until: str | None) -> None:
    """In the audit trail, where this is the deployment that keeps it."""
    from anonymize import trail

    if policy is not None:
        trail.record(policy, action, who=who, version=version, until=until)
