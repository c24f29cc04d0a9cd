"""The research store: immutable versions of datasets, each whole or absent.

    <store>/<dataset>/latest.json                          the newest version's name, changed in one step
    <store>/<dataset>/versions/<version>/manifest.json     written last: a version exists if and only if its manifest does
    <store>/<dataset>/versions/<version>/data/<table>/part-00000.parquet
    <store>/<dataset>/versions/<version>/README.md, SHA256SUMS …  the documents, each of them in the manifest
    <store>/<dataset>/versions/<version>/tombstone.json    in the manifest's place: the version was taken back
    <store>/<dataset>/versions/<version>/.publishing.json  whose publish is under way; gone when it ended
    <store>/index.html, <store>/<dataset>/*.html           the catalogue (`catalogue.py`), made from the manifests and tombstones

A version's name holds its run's start and its content's hash, so publishers at the same time write to different folders, or the same bytes
to the same one. No lock is needed, and none is left behind by a publisher that was killed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import ValidationError

from anonymize.errors import KeyMissing, StoreError
from anonymize.publish.backends import Backend, open_backend
from anonymize.publish.documents import SUMS, read_sums
from anonymize.publish.manifest import FORMAT, ColumnFact, FileFact, Manifest, TableFact, Tombstone
from anonymize.publish.sealing import reading

MANIFEST, LATEST, MARK, TOMBSTONE = "manifest.json", "latest.json", ".publishing.json", "tombstone.json"
ABANDONED = timedelta(hours=24)
"""An unfinished publish of another run that is older than this is taken for killed, and its files are removed."""


@dataclass(frozen=True)
class Version:
    """A published version as a reader sees it."""

    manifest: Manifest
    backend: Backend
    folder: str

    @property
    def uri(self) -> str:
        """Where it lies."""
        return f"{self.backend.uri}/{self.folder}".rstrip("/")

    def _at(self, path: str) -> str:
        return f"{self.folder}/{path}" if self.folder else path

    def dataset(self, table: str, *, columns: Sequence[str] | None = None, keys: Mapping[str, str | bytes] | None = None) -> ds.Dataset:
        """A table as a pyarrow dataset. columns: those to read, all by default; keys: secrets of encrypted columns by their names, where the
        environment does not hold them.

        Raises StoreError where the version has no such table or column, KeyMissing where a column is encrypted and its key is not there.
        """
        try:
            fact = self.manifest.table(table)
        except KeyError:
            known = ", ".join(t.name for t in self.manifest.tables)
            raise StoreError(f"{self.manifest.dataset} {self.manifest.version} has no table '{table}'. It has: {known}") from None
        places = [self.backend.filesystem(self._at(file.path)) for file in fact.files]
        asked = self._columns(fact, columns)
        sealed = sorted({column.encrypted for column in asked if column.encrypted})
        try:
            format = reading([*([fact.footer_key] if fact.footer_key else []), *sealed], keys) if sealed else "parquet"
        except KeyMissing as error:
            open_ = ", ".join(column.name for column in fact.columns if not column.encrypted) or "none"
            raise KeyMissing(f"{table} is {error}. Set what your data office gave you, or name columns that need no key: {open_}") from None
        opened = ds.dataset([path for _, path in places], filesystem=places[0][0], format=format)
        return opened if columns is None else opened.replace_schema(pa.schema([opened.schema.field(column.name) for column in asked]))

    def _columns(self, fact: TableFact, names: Sequence[str] | None) -> list[ColumnFact]:
        known = {column.name: column for column in fact.columns}
        strange = [name for name in names or () if name not in known]
        if strange:
            raise StoreError(f"{fact.name} has no column '{strange[0]}'. It has: {', '.join(known)}")
        return [known[name] for name in (names if names is not None else known)]

    def verify(self) -> list[str]:
        """The problems of the files as they lie in the store against the manifest; none where all is well."""
        problems = []
        stated = {file.path: file for file in self.manifest.files()}
        for path, file in stated.items():
            there = self.backend.sha256(self._at(path))
            if there != file.sha256:
                problems.append(f"{path}: {'missing' if there is None else 'its bytes are not those of the manifest'}")
        strange = set(self.backend.files(self.folder)) - stated.keys() - {MANIFEST, MARK}
        problems += [f"{path}: not in the manifest" for path in sorted(strange)]
        return problems + (self._sums(stated) if SUMS in stated else [])

    def _sums(self, stated: dict[str, FileFact]) -> list[str]:
        """The manifest and SHA256SUMS must say the same."""
        said = read_sums(self.backend.read_bytes(self._at(SUMS)) or b"")
        later = {file.path for file in self.manifest.signed}
        meant = {path: file.sha256 for path, file in stated.items() if path != SUMS and path not in later}
        differ = sorted(path for path in said.keys() | meant.keys() if said.get(path) != meant.get(path))
        return [f"{SUMS}: says otherwise than the manifest of {path}" for path in differ]


class Store:
    """One research store. uri: a folder, or what `open_backend` takes; server_encryption: of what is written to S3."""

    def __init__(self, uri: str | Path, *, backend: Backend | None = None, server_encryption: str | None = None) -> None:
        asked = {"server_encryption": server_encryption} if server_encryption else {}
        self.backend = backend or open_backend(str(uri), **asked)

    def datasets(self) -> list[str]:
        """The datasets of which anything was ever published, sorted."""
        return [name for name in self.backend.folders("") if NAME.fullmatch(name) and self.backend.folders(f"{name}/versions")]

    def tombstone(self, dataset: str, version: str) -> Tombstone | None:
        """Why and when a version was taken back; None where it was not. Raises StoreError where that cannot be read."""
        folder = folder_of(dataset, version)
        data = self.backend.read_bytes(f"{folder}/{TOMBSTONE}")
        try:
            return None if data is None else Tombstone.model_validate_json(data)
        except ValidationError:
            raise StoreError(f"{folder}/{TOMBSTONE} cannot be read as a tombstone. Write it again") from None

    def versions(self, dataset: str) -> list[str]:
        """The versions of a dataset that exist, oldest first."""
        names = self.backend.folders(f"{dataset}/versions")
        return [name for name in names if self.manifest(dataset, name) is not None]

    def newest(self, dataset: str) -> str | None:
        """The version of the newest run, whether or not the pointer names it yet; not one that is being taken back."""
        names = reversed(self.backend.folders(f"{dataset}/versions"))
        return next((n for n in names if self.manifest(dataset, n) is not None and self.tombstone(dataset, n) is None), None)

    def latest(self, dataset: str) -> str | None:
        """The version that the pointer names (the newest one, where the pointer was cut off); None where nothing was published."""
        data = self.backend.read_bytes(f"{dataset}/{LATEST}")
        return None if data is None else _pointed(data) or self.newest(dataset)

    def manifest(self, dataset: str, version: str) -> Manifest | None:
        """A version's manifest; None where the version does not exist. A manifest that does not parse is none: its publish was cut off."""
        data = self.backend.read_bytes(f"{folder_of(dataset, version)}/{MANIFEST}")
        return None if data is None else parse_manifest(data, f"{dataset} {version}")

    def open(self, dataset: str, version: str = "latest") -> Version:
        """A version to read. Raises StoreError where it does not exist, or where its manifest is another's."""
        name = (self.latest(dataset) or "") if version == "latest" else version
        manifest = self.manifest(dataset, name) if name else None
        if manifest is None:
            gone = self.tombstone(dataset, name) if name else None
            if gone is not None:
                raise StoreError(f"{gone}. It cannot be read any more")
            known = ", ".join(self.versions(dataset)[-3:]) or "none"
            raise StoreError(f"{dataset} has no version '{version}' in {self.backend.uri}. It has: {known}")
        if (manifest.dataset, manifest.version) != (dataset, name):
            raise StoreError(f"{folder_of(dataset, name)}/{MANIFEST} is of {manifest.dataset} {manifest.version}, not of this version")
        return Version(manifest, self.backend, folder_of(dataset, name))

    # ---------------------------------------------------------------------------------------------------------------- publishing

    def begin(self, dataset: str, version: str, run: str) -> None:
        """Mark a version's folder as this run's, and remove what killed publishes left.

        The mark is put only where there is none, and the manifest is looked for after it: so no two runs write into one folder, nor one run
        into a version that another has just published. Raises StoreError where the version exists, was taken back, or is another run's.
        """
        gone = self.tombstone(dataset, version)
        if gone is not None:
            raise StoreError(f"{gone}. It is not published again; start a new run")
        path, now = f"{folder_of(dataset, version)}/{MARK}", datetime.now(UTC)
        mark = json.dumps({"run": run, "at": now.isoformat()}).encode()
        if not self.backend.create_bytes(path, mark):
            other = self._mark(dataset, version)
            if other is not None and other[0] != run and now - other[1] <= ABANDONED:
                raise StoreError(f"{dataset} {version} is being published by run {other[0]}. Start a new run to publish again")
            self.backend.put_bytes(path, mark)
        if self.manifest(dataset, version) is not None:
            self.backend.delete_file(path)
            raise StoreError(f"{dataset} {version} exists already and versions never change. Start a new run to publish again")
        for name in self._leftovers(dataset, version, run):
            self.backend.delete(folder_of(dataset, name))

    def put(self, dataset: str, version: str, file: FileFact, source: Path) -> None:
        """Copy one file into a version. Raises StoreError where its bytes are not those that were hashed."""
        written = self.backend.put_file(f"{folder_of(dataset, version)}/{file.path}", source)
        if written != file.sha256:
            raise StoreError(f"{file.path} changed while it was published. Nothing was published; ask for a new review")

    def finish(self, manifest: Manifest) -> None:
        """Make a version exist: the manifest, then `latest`, then away with what is not in the manifest."""
        folder = folder_of(manifest.dataset, manifest.version)
        self._state(f"{folder}/{MANIFEST}", manifest)
        self.end(manifest)

    def _state(self, path: str, manifest: Manifest) -> None:
        """Put a manifest where there is none. What a killed writer tore is none, and gives way.

        Raises StoreError where another publisher stated this version first, with other words.
        """
        data = manifest.to_bytes()
        for _ in range(3):
            if self.backend.create_bytes(path, data):
                return
            there = self.backend.read_bytes(path)
            if there == data:
                return
            if there is not None and parse_manifest(there, path) is not None:
                raise StoreError(f"{path} was written by another publisher at the same time. Start a new run to publish again")
            self.backend.delete_file(path)
        raise StoreError(f"{path} cannot be written: others write it at the same time. Publish again")

    def end(self, manifest: Manifest) -> None:
        """What is left to do once a version exists; done again by a publish that comes after one that was killed here."""
        self.settle(manifest.dataset)
        folder = folder_of(manifest.dataset, manifest.version)
        for path in set(self.backend.files(folder)) - {file.path for file in manifest.files()} - {MANIFEST}:
            self.backend.delete_file(f"{folder}/{path}")

    def bury(self, tombstone: Tombstone) -> None:
        """Take a version out: its tombstone, then `latest` to what is left, then its manifest, with which it ceases to exist, then its files.
        Whoever opens the dataset meanwhile gets a whole version. May be called again after any end of it; a tombstone that stands stays.
        """
        folder = folder_of(tombstone.dataset, tombstone.version)
        if self.tombstone(tombstone.dataset, tombstone.version) is None:
            self.backend.put_bytes(f"{folder}/{TOMBSTONE}", tombstone.model_dump_json(indent=1).encode() + b"\n")
        self.settle(tombstone.dataset)
        self.backend.delete_file(f"{folder}/{MANIFEST}")
        for path in self.backend.files(folder):
            if path != TOMBSTONE:
                self.backend.delete_file(f"{folder}/{path}")

    def buried(self, dataset: str) -> list[Tombstone]:
        """The tombstones of a dataset, oldest version first."""
        found = (self.tombstone(dataset, name) for name in self.backend.folders(f"{dataset}/versions") if NAME.fullmatch(name))
        return [one for one in found if one is not None]

    def settle(self, dataset: str) -> None:
        """Let `latest` name the version of the newest run. Read again after writing: of publishers at the same time the last one to look
        sees all manifests, so the pointer ends right."""
        for _ in range(10):
            newest = self.newest(dataset)
            if newest is None:  # the last version was taken back
                self.backend.delete_file(f"{dataset}/{LATEST}")
                return
            if _pointed(self.backend.read_bytes(f"{dataset}/{LATEST}")) == newest:
                return
            data = json.dumps({"dataset": dataset, "version": newest, "manifest": f"versions/{newest}/{MANIFEST}"})
            self.backend.put_bytes(f"{dataset}/{LATEST}", data.encode() + b"\n")
        raise StoreError(f"{dataset}/{LATEST} does not settle: too many publishers at the same time. Publish again")

    def _leftovers(self, dataset: str, version: str, run: str) -> Iterator[str]:
        """Folders without a manifest that no live run writes to: this run's own under another name, and those marked long ago."""
        for name in self.backend.folders(f"{dataset}/versions"):
            if name != version and self.manifest(dataset, name) is None and self.tombstone(dataset, name) is None:
                mark = self._mark(dataset, name)
                if mark is None and not self._written(dataset, name):
                    continue  # another publisher made it this moment, and has yet to mark it
                if mark is None or mark[0] == run or datetime.now(UTC) - mark[1] > ABANDONED:
                    yield name

    def _written(self, dataset: str, version: str) -> bool:
        """Whether a version's folder holds a file beside marks and unfinished ones; each is written after the mark."""
        return any(not path.rpartition("/")[2].startswith(".") for path in self.backend.files(folder_of(dataset, version)))

    def _mark(self, dataset: str, version: str) -> tuple[str, datetime] | None:
        data = self.backend.read_bytes(f"{folder_of(dataset, version)}/{MARK}")
        try:
            stated = json.loads(data or b"")
            return str(stated["run"]), datetime.fromisoformat(stated["at"])
        except (ValueError, KeyError, TypeError):
            return None


def parse_manifest(data: bytes, what: str) -> Manifest | None:
    """A manifest from its bytes; None where they are none. Raises StoreError where a newer anonymize wrote them."""
    try:
        stated = json.loads(data)
        if isinstance(stated, dict) and stated.get("format", FORMAT) > FORMAT:
            raise StoreError(f"{what} was published by a newer anonymize (format {stated['format']}). Update this one")
        return Manifest.model_validate(stated)
    except (ValueError, ValidationError):
        return None


def _pointed(data: bytes | None) -> str | None:
    try:
        return str(json.loads(data or b"")["version"])
    except (ValueError, KeyError, TypeError):
        return None


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Of a dataset or a version."""


def folder_of(dataset: str, version: str) -> str:
    """A version's folder in the store. Raises StoreError where a name could point out of the store."""
    for name in (dataset, version):
        if not NAME.fullmatch(name):
            raise StoreError(f"'{name}' cannot be the name of a dataset or a version: letters, digits, and _ . - are allowed")
    return f"{dataset}/versions/{version}"


def open_version(store: str | Path, dataset: str, version: str = "latest", *, verify: bool = False) -> Version:
    """Open a published version to read; with `verify` every byte is held against the manifest first.

    Raises StoreError where the version does not exist or, with `verify`, where a file is not what was published.
    """
    found = Store(store).open(dataset, version)
    problems = found.verify() if verify else []
    if problems:
        raise StoreError(f"{found.uri} is not what was published: {'; '.join(problems[:5])}. Take the version from a backup")
    return found
