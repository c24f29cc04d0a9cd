"""`anonymize report`, thin."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command("report")
@click.argument("name", metavar="RUN|VERSION")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder to write into.")
def report_command(name: str, out: Path) -> None:
    """Write a release's report: HTML and PDF, readable offline, and a page of all expectations.

    RUN: a run's id, its record folder, or its policy file (its newest unfinished run). VERSION: a published version's folder, DATASET/VERSION
    or DATASET (its latest version) of a dataset of this deployment's policies.
    """
    from anonymize.evidence.finding import of

    for written in of(name, Path(os.environ.get("ANONYMIZE_POLICIES", "policies")), out):
        click.echo(f"wrote {written}")
