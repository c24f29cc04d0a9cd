"""The catalogue: static pages over a store that people browse without a server.

    <store>/index.html               every dataset, with a search over names, tables, columns, units and code systems
    <store>/<dataset>/index.html     its versions, those that were taken back among them, with reason and date
    <store>/<dataset>/<version>.html one version: what is in it, how it was made, its documents

Made from the manifests and tombstones alone, so it can be made anew at any time. Each page is replaced in one step, and a page is written
before those that lead to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from anonymize.errors import StoreError
from anonymize.publish.manifest import Manifest, Tombstone
from anonymize.publish.pages import render
from anonymize.publish.parquet import SHIFTED
from anonymize.publish.pins import Announcement, announcements
from anonymize.publish.store import NAME, Store

INDEX = "index.html"
_ROUNDS = 10


@dataclass(frozen=True)
class Shown:
    """A version as the catalogue shows it: whole (a manifest), or taken back (a tombstone)."""

    name: str
    manifest: Manifest | None
    tombstone: Tombstone | None
    announced: Announcement | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """What readers must know of it first: when it goes, and what it takes the place of."""
        goes = (f"This version {self.announced}.",) if self.announced else ()
        return (*goes, *(self.manifest.notices if self.manifest else ()))

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.manifest.tables) if self.manifest else 0

    @property
    def people(self) -> int | None:
        """Of the table with the most; None where no table is about subjects."""
        numbers = [table.subjects for table in self.manifest.tables if table.subjects is not None] if self.manifest else []
        return max(numbers, default=None)

    @property
    def shifted(self) -> str:
        """What was done to dates; empty where nothing was."""
        tables = self.manifest.tables if self.manifest else ()
        days = [column.shifted for table in tables for column in table.columns if column.shifted]
        # Manifests of format 1 name the method alone.
        methods = {column.method for table in tables for column in table.columns}
        return SHIFTED.format(days=days[0]) if days else "shifted, each person's by a constant of their own" if "shift" in methods else ""


@dataclass(frozen=True)
class Set:
    """A dataset as the catalogue shows it. versions: the newest first; may be the newest alone."""

    name: str
    versions: tuple[Shown, ...]

    @property
    def current(self) -> Shown | None:
        """The newest version that is whole."""
        return next((one for one in self.versions if one.manifest), None)

    @property
    def newest(self) -> str | None:
        """Its name."""
        return self.current.name if self.current else None

    @property
    def manifest(self) -> Manifest | None:
        """Of the newest version that is whole."""
        return self.current.manifest if self.current else None

    @property
    def title(self) -> str:
        """The dataset's title, or its name."""
        return (self.manifest.title if self.manifest else "") or self.name

    @property
    def words(self) -> str:
        """What the search looks in, beside the columns."""
        manifest = self.manifest
        if manifest is None:
            return f"{self.name} withdrawn"
        tables = [word for table in manifest.tables for word in (table.name, table.description)]
        return " ".join([self.name, manifest.title, manifest.description, manifest.licence, manifest.version, *tables])


def read(store: Store, dataset: str) -> Set:
    """A dataset with all its versions. A folder with neither manifest nor tombstone is a publish under way, and is not shown."""
    names = [name for name in store.backend.folders(f"{dataset}/versions") if NAME.fullmatch(name)]
    said = announcements(store, dataset)
    every = [_shown(store, dataset, name, said.get(name)) for name in sorted(names, reverse=True)]
    return Set(dataset, tuple(one for one in every if one is not None))


def _shown(store: Store, dataset: str, name: str, said: Announcement | None) -> Shown | None:
    manifest = store.manifest(dataset, name)
    tombstone = None if manifest else store.tombstone(dataset, name)
    return Shown(name, manifest, tombstone, said) if manifest or tombstone else None


def _newest(store: Store, dataset: str) -> Set:
    """A dataset with its newest version alone: all that the index needs."""
    name = store.newest(dataset)
    return Set(dataset, (Shown(name, store.manifest(dataset, name), None),) if name else ())


def rebuild(store: Store, dataset: str | None = None) -> list[str]:
    """Make the catalogue's pages anew: of one dataset and the index, or all. Pages that are as they should be are not written.

    Read again after writing: of publishers at the same time the last one to look sees all manifests, so the pages end right.
    Returns the paths that were written. Raises StoreError where the store cannot be written.
    """
    written: dict[str, None] = {}
    for _ in range(_ROUNDS):
        stale = {path: page for path, page in pages(store, dataset).items() if store.backend.read_bytes(path) != page}
        if not stale:
            return list(written)
        for path, page in stale.items():
            store.backend.put_bytes(path, page)
            written[path] = None
    raise StoreError("the catalogue does not settle: too many publishers at the same time. Publish again")


def told(dataset: Set) -> list[str]:
    """Lines for a terminal: the dataset, then each version."""
    lines = [f"{dataset.name}  {dataset.title}" if dataset.title != dataset.name else dataset.name]
    for one in dataset.versions:
        if one.manifest is not None:
            mark = "newest" if one.name == dataset.newest else str(one.announced or "")
            people = f", {one.people:,} people" if one.people is not None else ""
            counts = f"{len(one.manifest.tables)} tables, {one.rows:,} rows{people}, k = {one.manifest.privacy.k}"
            lines.append(f"  {one.name}  {counts}  {mark}".rstrip())
        elif one.tombstone is not None:
            instead = f" Use {one.tombstone.replaced_by}." if one.tombstone.replaced_by else ""
            lines.append(f"  {one.name}  {one.tombstone.state} {one.tombstone.date:%Y-%m-%d}: {one.tombstone.reason.rstrip(' .')}.{instead}")
    return lines


def pages(store: Store, dataset: str | None = None) -> dict[str, bytes]:
    """Every page by its path in the store, in the order in which they are to be written: versions, datasets, index."""
    names = store.datasets()
    sets = [read(store, name) for name in names if dataset in (None, name)]
    known = {one.name: one for one in sets}
    found = {f"{one.name}/{shown.name}.html": render("catalogue-version.html.j2", set=one, one=shown) for one in sets for shown in one.versions}
    found |= {f"{one.name}/{INDEX}": render("catalogue-dataset.html.j2", set=one) for one in sets if one.versions}
    shown = [known.get(name) or _newest(store, name) for name in names]
    index = [one for one in shown if one.versions or store.backend.read_bytes(f"{one.name}/{INDEX}") is not None]
    return {**found, INDEX: render("catalogue.html.j2", script="catalogue.js.j2", datasets=index)}
