"""`anonymize …`: thin. Each command calls one function of the library and prints what it returns."""

from __future__ import annotations

import sys

import click

from anonymize import __version__
from anonymize.errors import AnonymizeError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Records leave a hospital's systems; de-identified Parquet arrives in the research store."""


def main() -> None:
    """The entry point: an error that a user is meant to read is printed without a traceback, and sets the exit code."""
    try:
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
