"""`anonymize retract`, `expire`, `pin`, `unpin`, thin."""

from __future__ import annotations

import os
from pathlib import Path

import click

from anonymize.errors import AnonymizeError
from anonymize.policy.model import Policy


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
            rows = ", ".join(f"{number:,} rows of {table}" for table, number in held.rows.items() if number)
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
