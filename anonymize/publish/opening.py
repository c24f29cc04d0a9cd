"""What a researcher calls: a dataset's table, opened by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anonymize.errors import StoreError
from anonymize.publish.store import Store

if TYPE_CHECKING:
    import pyarrow.dataset as ds

STORE = "ANONYMIZE_STORE"


def open_dataset(
    name: str,
    *,
    version: str = "latest",
    table: str | None = None,
    columns: Sequence[str] | None = None,
    store: str | Path | None = None,
    keys: Mapping[str, str | bytes] | None = None,
    verify: bool = False,
) -> ds.Dataset:
    """A table of a published dataset as a pyarrow dataset: `.to_table()`, `.to_batches()`, `.head(5)`, or hand it to DuckDB or Polars.

    version: pin the one that you work with; `latest` is the newest. table: its name; the dataset's first table where none is given. columns:
    those to read; all where none are given. store: a folder or a URI; the environment's ANONYMIZE_STORE where none is given. keys: secrets of
    encrypted columns by name; the environment's where none are given. verify: hold every byte against the manifest first.
    Raises StoreError where there is no such store, dataset, version or table (it names those that there are), where the version was taken
    back (with the reason), and where a file is not what was published; KeyMissing where a column is encrypted and its key is not there.
    """
    where = store if store is not None else os.environ.get(STORE)
    if not where:
        raise StoreError(f"which store? Give store=…, or set {STORE} to the store's folder or URI")
    found = Store(where).open(name, version)
    problems = found.verify() if verify else []
    if problems:
        raise StoreError(f"{found.uri} is not what was published: {'; '.join(problems[:5])}. Take the version from a backup")
    return found.dataset(table or found.manifest.tables[0].name, columns=columns, keys=keys)
