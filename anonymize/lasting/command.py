"""`anonymize quarantine list|replay` and `anonymize forget`, thin."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


def _policies() -> Path:
    return Path(os.environ.get("ANONYMIZE_POLICIES", "policies"))


@click.group("quarantine")
def quarantine_group() -> None:
    """What could not be read at the source: look at it, and read it again once it is mended."""


@quarantine_group.command("list")
@click.argument("name", metavar="RUN")
@click.option("--table", help="One table alone.")
@click.option("--rows", is_flag=True, help="Every row number, not the first few.")
@click.option("--show", is_flag=True, help="The records themselves, which are PHI: on a terminal alone.")
def list_command(name: str, table: str | None, rows: bool, show: bool) -> None:
    """Count what waits, by table, reason and column. RUN: a run's id, its record folder, or its policy file (its newest run)."""
    from anonymize import trail
    from anonymize.lasting import mending

    policy, run_id = mending.locate(name, _policies())
    if show and not sys.stdout.isatty():
        raise click.UsageError("--show writes records as they stand at the source, with all their PHI: on a terminal, into no file and no log")
    click.echo(f"run {run_id}")
    found = mending.waiting(policy, run_id, table=table, rows=sys.maxsize if rows else mending.SHOWN_ROWS)
    for one in found:
        numbers = ", ".join(str(row) for row in one.rows) + (" …" if len(one.rows) < one.count else "")
        click.echo(f"  {one.table}: {one.count:,} {one.reason}{f' ({one.column})' if one.column else ''}; rows {numbers}")
    if not found:
        click.echo("  nothing")
    if show:
        trail.record(policy, "looked", run=run_id, page="quarantine", records=sum(one.count for one in found))
        click.echo("What follows is PHI, for your eyes; that you looked stands in the audit trail.", err=True)
        for where, record in mending.records(policy, run_id, table=table):
            click.echo(f"{where} row {record['row']} {record['reason']} {record['column']}: {record['raw']}")


@quarantine_group.command("replay")
@click.argument("name", metavar="RUN")
@click.option("--table", help="One table alone.")
def replay_command(name: str, table: str | None) -> None:
    """Read again what was malformed, after a repair, and go on to the steward's desk.

    A run that is not published takes the mended records in, and its release is judged anew. Of a published run a new one is begun.
    """
    from anonymize import pipeline, summary
    from anonymize.lasting import mending
    from anonymize.lasting.given_up import came
    from anonymize.run import Run, exclusive

    policy, run_id = mending.locate(name, _policies())
    with exclusive(policy):
        before = {one: count for one, count in _counts(policy, run_id).items() if table in (None, one)}
        run: Run = pipeline.replay(policy, run_id, table, say=click.echo)
        click.echo(f"run {run.id}")
        try:
            pipeline.to_review(run)
            pipeline.publish_if_signed(run)
        finally:
            run.close()
        for one, count in before.items():
            now = came(run.record, one).quarantined or 0
            click.echo(f"{one}: {count:,} waited, {now:,} wait still")
        click.echo(summary.text(run))


def _counts(policy: object, run_id: str) -> dict[str, int]:
    from anonymize.lasting import mending

    found: dict[str, int] = {}
    for one in mending.waiting(policy, run_id):  # type: ignore[arg-type]
        found[one.table] = found.get(one.table, 0) + one.count
    return found


@click.command("forget")
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
def forget_command(policy_file: Path) -> None:
    """Remove what is kept of the sources between runs: the bases of incremental tables with their cursors, and the quarantines of published
    runs. The next run reads everything."""
    from anonymize.lasting import kept, mending
    from anonymize.policy.loader import load
    from anonymize.run import exclusive

    policy = load(policy_file)
    with exclusive(policy):
        there, quarantines = kept.forget(policy), mending.purge(policy, every=True)
    click.echo(f"removed {'the kept rows' if there else 'no kept rows'} and {quarantines:,} quarantines. The next run reads everything")
