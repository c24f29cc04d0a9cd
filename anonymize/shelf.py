"""`anonymize datasets` and `anonymize verify`, thin."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("datasets")
@click.argument("store", metavar="STORE", envvar="ANONYMIZE_STORE")
@click.option("--rebuild", is_flag=True, help="Make the catalogue's pages anew, of all datasets.")
def datasets_command(store: str, rebuild: bool) -> None:
    """List what a research STORE holds: each dataset with its versions, newest first, and those that were taken back.

    STORE: a folder or a URI; the environment's ANONYMIZE_STORE where none is given.
    """
    from anonymize.errors import StoreError
    from anonymize.publish import catalogue
    from anonymize.publish.store import Store

    if "://" not in store and not Path(store).is_dir():
        raise StoreError(f"there is no folder {store}. Give the research store's own folder or URI, as the policy's release.store has it")
    found = Store(store)
    names = found.datasets()
    if not names:
        click.echo(f"{found.backend.uri} holds no dataset: nothing was published there. Is it the store's own folder?", err=True)
    for name in names:
        for line in catalogue.told(catalogue.read(found, name)):
            click.echo(line)
    if rebuild:
        written = catalogue.rebuild(found)
        click.echo(f"catalogue: {len(written):,} pages written, {found.backend.uri}/{catalogue.INDEX}")


@click.command("verify")
@click.argument("path", metavar="PATH", envvar="ANONYMIZE_STORE")
def verify_command(path: str) -> None:
    """Hold every byte of a version against its manifest and SHA256SUMS. PATH: a version's folder, a dataset's (all its versions), or a store.

    The exit code is 0 where all is as it was published, 9 where anything is not.
    """
    from anonymize.errors import StoreError
    from anonymize.publish.verifying import verify

    results = verify(path)
    for one in results:
        if one.gone is not None:
            click.echo(f"{one.gone}")
        elif one.problems:
            click.echo(f"{one.name}: NOT what was published")
            for problem in one.problems:
                click.echo(f"  {problem}")
        else:
            click.echo(f"{one.name}: {one.files:,} files, {one.bytes:,} bytes, as published")
    if any(one.problems for one in results):
        sys.exit(StoreError.exit_code)
