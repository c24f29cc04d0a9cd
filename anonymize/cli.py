"""`anonymize …`: thin. Each command calls one function of the library and prints what it returns."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from anonymize import __version__
from anonymize.auditing.command import audit_text_command
from anonymize.errors import AnonymizeError, without_values
from anonymize.exploring import explore_command
from anonymize.generalizing.command import generalize_command
from anonymize.importing.command import policies_command, policy_command
from anonymize.judging.measuring import risk_command
from anonymize.lasting.command import forget_command, quarantine_group
from anonymize.progress import Lines, OnTerminal, Watcher
from anonymize.reporting import report_command
from anonymize.shelf import datasets_command, verify_command
from anonymize.taking_back.command import expire_command, pin_command, retract_command, unpin_command
from anonymize.texts import explain_command, find_phi_command, scrub_command
from anonymize.trail.command import audit_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Records leave a hospital's systems; de-identified Parquet arrives in the research store."""


def _watcher() -> Watcher:
    """Progress in plain lines, each with the seconds since the start: good on a terminal and in a log. On a terminal also how far the step is
    that is under way, in one line that renews itself."""
    start = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"[{time.monotonic() - start:6.1f} s] {line}")

    return OnTerminal(say, sys.stderr) if sys.stderr.isatty() else Lines(say)


def _policies() -> Path:
    return Path(os.environ.get("ANONYMIZE_POLICIES", "policies"))


@cli.command("run")
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
@click.option("--run-id", help="The run's id; an unfinished run of that id goes on.")
@click.option("--fresh", is_flag=True, help="Begin a new run even where an unfinished one could go on.")
@click.option("--dry-run", is_flag=True, help="Stop after the gates: nothing is asked of a steward, nothing is published.")
@click.option("--full-refresh", is_flag=True, help="Read everything anew, also of tables that are read by increments. Begins a new run.")
@click.option("--from", "start", type=click.DateTime(), help="With 'interval': read again what was written from then on (UTC).")
@click.option("--until", "end", type=click.DateTime(), help="With 'interval': read what was written before then (UTC).")
def run_command(
    policy_file: Path,
    run_id: str | None,
    fresh: bool,
    dry_run: bool,
    full_refresh: bool,
    start: datetime | None,
    end: datetime | None,
) -> None:
    """Take a policy's records down the road, to the steward's desk or, where no review is required, to the research store.

    A run that was ended half-way goes on where it stopped.
    """
    from anonymize import pipeline, summary
    from anonymize.lasting import kept
    from anonymize.policy.loader import load
    from anonymize.run import Run, exclusive

    policy = load(policy_file)
    with exclusive(policy):
        run = Run.open(policy, run_id=run_id, fresh=fresh or full_refresh or bool(start or end), watcher=_watcher())
        kept.ask(run, full_refresh=full_refresh, start=_utc(start), end=_utc(end))
        click.echo(f"run {run.id}")
        try:
            pipeline.to_review(run)
            if not dry_run:
                pipeline.publish_if_signed(run)
        finally:
            run.close()
        click.echo(summary.text(run))


def _utc(moment: datetime | None) -> str | None:
    return moment.replace(tzinfo=UTC).isoformat() if moment is not None else None


@cli.command("review")
@click.argument("name", metavar="RUN")
@click.option("--approve", "verdict", flag_value="approve", help="Sign the release; it is published.")
@click.option("--reject", "verdict", flag_value="reject", help="Reject the release.")
@click.option("--as", "steward", required=True, help="Your name; it stands in the manifest.")
@click.option("--reason", required=True, help="Why; it stands in the manifest.")
def review_command(name: str, verdict: str | None, steward: str, reason: str) -> None:
    """Decide on a release that waits. RUN: a run's id, its record folder, or its policy file."""
    from anonymize import pipeline, summary
    from anonymize.run import Run, exclusive, find

    if verdict is None:
        raise click.UsageError("say --approve or --reject")
    policy, run_id = find(name, _policies())
    with exclusive(policy):
        run = Run.open(policy, run_id=run_id, watcher=_watcher())
        try:
            counts = pipeline.decide(run, approve=verdict == "approve", steward=steward, reason=reason)
            if verdict == "approve" and counts["signatures"] == counts["of"]:
                pipeline.publish(run)
        finally:
            run.close()
        click.echo(summary.ending(run))


@cli.command("sample")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--patients", default=2_000, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--seed", default=7, show_default=True)
def sample_command(folder: Path, patients: int, seed: int) -> None:
    """Make a sample hospital: a SQLite database and a FHIR export, full of made-up PHI."""
    from anonymize.sample import make_sample

    rows = make_sample(folder, patients=patients, seed=seed)
    click.echo(f"made {folder}: " + ", ".join(f"{number:,} {table}" for table, number in rows.items()))


@cli.command("check")
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
def check_command(policy_file: Path) -> None:
    """Hold a policy against its live sources: what stays out, what is looked up in texts, what cannot be honoured."""
    from anonymize.check import check
    from anonymize.errors import PolicyError
    from anonymize.policy.loader import load

    report = check(load(policy_file))
    click.echo(report.text())
    if report.problems:
        raise PolicyError(report.problems)


@cli.command("draft")
@click.argument("source")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the policy here and not to the terminal.")
def draft_command(source: str, output: Path | None) -> None:
    """Write a first policy from a live SOURCE: a database's URL, or a folder of CSV, Parquet, NDJSON or FHIR files."""
    from anonymize.draft import draft

    text = draft(source)
    if output is None:
        click.echo(text, nl=False)
    elif output.exists():
        raise click.UsageError(f"{output} exists already")
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"wrote {output}. Read every line, then: anonymize check {output}")


@cli.command("discard")
@click.argument("name", metavar="RUN")
def discard_command(name: str) -> None:
    """Remove an unfinished run's workspace, which holds PHI. Its record of counts stays."""
    from anonymize import pipeline
    from anonymize.run import Run, exclusive, find

    policy, run_id = find(name, _policies())
    with exclusive(policy):
        pipeline.discard(Run.open(policy, run_id=run_id))
    click.echo(f"discarded {run_id}")


@cli.command("runs")
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
def runs_command(policy_file: Path) -> None:
    """List a policy's runs, newest first, and what became of each."""
    from anonymize import run as running
    from anonymize.policy.loader import load

    for found in running.history(load(policy_file)):
        click.echo(found)


TEXTS = (find_phi_command, scrub_command, explain_command, audit_text_command)
TABLES = (generalize_command, risk_command, explore_command)
RELEASES = (report_command, datasets_command, verify_command, pin_command, unpin_command, expire_command, retract_command)
POLICIES = (policies_command, policy_command)
LASTING = (quarantine_group, forget_command)
for command in (*TEXTS, *TABLES, *RELEASES, *POLICIES, *LASTING, audit_command):
    cli.add_command(command)
cli.add_command(audit_command, "trail")


def main() -> None:
    """The entry point: an error that a user is meant to read is printed without a traceback, and sets the exit code."""
    try:
        # Click's own exceptions are for its user; any other that is not ours can hold a record's value in its message.
        with without_values("anonymize", besides=(click.ClickException, click.exceptions.Exit, click.Abort)):
            cli(standalone_mode=False)
    except AnonymizeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)


if __name__ == "__main__":
    main()
