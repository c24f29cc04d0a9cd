"""`anonymize policies …` and `anonymize policy …`."""

from __future__ import annotations

from pathlib import Path

import click

from anonymize.errors import RulesRefused

FILE = click.Path(path_type=Path)


@click.group("policies")
def policies_command() -> None:
    """Ready-made policies for known schemas."""


@policies_command.command("list")
def list_command() -> None:
    """Which there are, what each is for, and what leaves under it."""
    from anonymize.policy.ready import ready_made

    for one in ready_made():
        click.echo(one)


@policies_command.command("show")
@click.argument("name", metavar="NAME|POLICY")
def show_command(name: str) -> None:
    """A policy as a whole: with all that it extends, and each column's reason."""
    from anonymize.policy.ready import shown

    click.echo(shown(name), nl=False)


@policies_command.command("copy")
@click.argument("name")
@click.argument("to", metavar="[FILE]", type=FILE, required=False)
@click.option("--whole", is_flag=True, help="A full copy, and not a small policy on top of the ready-made one.")
@click.option("--fit", is_flag=True, help="Look at the sources, and take away by name what they do not have.")
def copy_command(name: str, to: Path | None, whole: bool, fit: bool) -> None:
    """Write a site's own policy from the ready-made one of NAME. Nothing is ever overwritten.

    A known schema names more than any one site fills: with --fit the tables and columns that are not there are taken away.
    """
    from anonymize.importing.fitting import missing
    from anonymize.policy.ready import copied

    file = to or Path(f"{name}.yaml")
    click.echo(copied(name, file, whole=whole, fit=missing if fit else None))


@click.group("policy")
def policy_command() -> None:
    """A policy from what people already have, and as a sheet that a steward reviews."""


@policy_command.command("to-sheet")
@click.argument("policy_file", metavar="POLICY", type=FILE)
@click.argument("sheet", metavar="SHEET", type=FILE)
@click.option("--without-sources", is_flag=True, help="Do not look at the sources: no types, and no columns that the policy does not name.")
def to_sheet_command(policy_file: Path, sheet: Path, without_sources: bool) -> None:
    """Write a policy's columns as a SHEET (.xlsx, .csv) that a steward reviews. It holds no value of a record."""
    from anonymize.importing.columns import columns_at_source
    from anonymize.importing.sheets import write_sheet
    from anonymize.policy.loader import load
    from anonymize.policy.sheet import to_rows

    policy = load(policy_file)
    rows = to_rows(policy, () if without_sources else columns_at_source(policy))
    write_sheet(rows, sheet)
    closed = sum(not row["role"] for row in rows)
    click.echo(f"wrote {sheet}: {len(rows):,} columns, of which {closed:,} are not in the policy and stay out")
    click.echo(f"Then: anonymize policy from-sheet {sheet} --policy {policy_file} --out NEW.yaml")


@policy_command.command("from-sheet")
@click.argument("sheet", metavar="SHEET", type=FILE)
@click.option("--policy", "policy_file", metavar="POLICY", type=FILE, required=True, help="The policy that the sheet was made of.")
@click.option("--out", metavar="FILE", type=FILE, required=True, help="The new policy; never an existing file.")
def from_sheet_command(sheet: Path, policy_file: Path, out: Path) -> None:
    """Write the policy that a reviewed SHEET makes of POLICY, and say each change."""
    from anonymize.importing.sheets import read_sheet
    from anonymize.policy.loader import load
    from anonymize.policy.ready import write_new
    from anonymize.policy.sheet import review

    reviewed = review(load(policy_file), read_sheet(sheet), sheet.name)
    write_new(out, reviewed.text)
    for change in reviewed.changes:
        click.echo(change)
    if reviewed.kept:
        click.echo(f"not in the sheet, so as before: {', '.join(reviewed.kept)}")
    if out.resolve().parent != policy_file.resolve().parent:
        click.echo(f"the policy's relative paths are now relative to {out.resolve().parent}: look at them")
    click.echo(f"{len(reviewed.changes):,} changes; wrote {out}. Then: anonymize check {out}")


@policy_command.command("import")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--kind", type=click.Choice(["fhir-rules", "fhir-pseudonymizer", "sheet"]), help="What FILE is; default: by its contents.")
@click.option("--out", metavar="POLICY", type=FILE, required=True, help="The new policy; never an existing file.")
@click.option("--on", metavar="NAME|POLICY", help="A policy that decides on columns that no rule is about; default: they stay closed.")
@click.option("--fit", is_flag=True, help="Look at the sources, and leave out the tables and columns that they do not have.")
@click.option("--allow-refused", is_flag=True, help="Write the policy although rules were refused; their columns stay closed.")
def import_command(file: Path, kind: str | None, out: Path, on: str | None, fit: bool, allow_refused: bool) -> None:
    """Make a policy of another anonymizer's rules: each is honoured, or refused by name.

    FILE: the configuration of Microsoft's Tools for Health Data Anonymization (JSON) or of fhir-pseudonymizer (YAML), or a data dictionary of
    CRATE (TSV, CSV, XLSX).
    """
    from anonymize.importing.crate import import_dictionary
    from anonymize.importing.fhir_rules import import_rules
    from anonymize.importing.fitting import missing
    from anonymize.policy.ready import checked_text, slug, write_new

    sheet = kind == "sheet" or (kind is None and file.suffix.lower() in (".tsv", ".csv", ".xlsx"))
    if sheet and on is not None:
        raise click.UsageError("--on is for the rules of FHIR anonymizers")
    dataset = slug(out.stem)
    found = import_dictionary(file, dataset=dataset) if sheet else import_rules(file, dataset=dataset, kind=kind, on=on)
    click.echo(found.report())
    if found.refused and not allow_refused:
        raise RulesRefused(
            f"{len(found.refused):,} rules refused, and nothing is written. Mend them, or say --allow-refused: their columns stay closed"
        )
    policy = checked_text(out, found.text)
    if fit:
        absent = missing(policy)
        found.values["tables"] = absent.taken_from(found.values["tables"])
        checked_text(out, found.text)
        click.echo(f"not at the source, so left out: {absent}")
    write_new(out, found.text)
    click.echo(f"wrote {out}. Read every line, then: anonymize check {out}")
