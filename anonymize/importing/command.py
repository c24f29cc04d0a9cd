"""`anonymize policies …` and `anonymize policy …`."""

from __future__ import annotations

from pathlib import Path

import click

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
def copy_command(name: str, to: Path | None, whole: bool) -> None:
    """Write a site's own policy from the ready-made one of NAME. Nothing is ever overwritten."""
    from anonymize.policy.ready import copied

    click.echo(copied(name, to or Path(f"{name}.yaml"), whole=whole))


@click.group("policy")
def policy_command() -> None:
    """A policy from what people already have, and as a sheet that a steward reviews."""
