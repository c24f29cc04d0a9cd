"""`anonymize audit-text`, thin."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command("audit-text")
@click.argument("name", metavar="RUN", required=False)
@click.option("--sample", "size", default=200, show_default=True, type=click.IntRange(1, 100_000), help="How many notes to draw.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The same seed draws the same notes.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The page to write.  [default: audit-RUN.html]")
@click.option(
    "--labels", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Estimate recall from the labels that the page saved."
)
@click.option("--check", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Hold today's detectors against a label set.")
def audit_text_command(name: str | None, size: int, seed: int, out: Path | None, labels: Path | None, check: Path | None) -> None:
    """Read a sample of a run's scrubbed notes, label what was missed, and learn how much is left.

    RUN: a run's id, its record folder, or its policy file. With --check no RUN is needed; the exit code is 1 where something that was missed
    still is. Page and labels hold what was missed, which is PHI: they are for the steward alone.
    """
    from anonymize.auditing import steps
    from anonymize.run import Run, find

    if check is not None:
        if name is not None or labels is not None:
            raise click.UsageError("--check takes a label set and nothing else")
        found = steps.check(check)
        click.echo(found.text())
        sys.exit(1 if found.notes else 0)
    if name is None:
        raise click.UsageError("name a RUN, or a label set with --check")
    policy, run_id = find(name, Path(os.environ.get("ANONYMIZE_POLICIES", "policies")))
    run = Run.open(policy, run_id=run_id)
    try:
        if labels is not None:
            counts = steps.estimate(run, labels)
            click.echo(steps.said(counts))
            click.echo(f"kept as a regression set, private: anonymize audit-text --check {counts['labels']}")
            return
        target = out or Path(f"audit-{run_id}.html")
        counts = steps.page(run, target, size=size, seed=seed)
        click.echo(
            f"wrote {target}: {counts['notes']:,} of {counts['of']:,} notes, {counts['marks']:,} spans marked. Private: the steward's alone."
        )
        click.echo(f"open it in a browser, label, save; then: anonymize audit-text {name} --labels LABELS.json")
    finally:
        # A run that has ended has no workspace; opening it made an empty one.
        run.close(remove=run.record.get("end") is not None)
