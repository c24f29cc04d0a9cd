"""The documents that leave beside a version's data: the same facts and the same stage give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anonymize.errors import StoreError
from anonymize.publish.changes import change_log
from anonymize.publish.dictionary import describe, dictionary_csv
from anonymize.publish.manifest import FileFact, Manifest, ReleaseFacts
from anonymize.publish.packages import croissant, data_package
from anonymize.publish.pages import dictionary_page
from anonymize.publish.readme import citation, limits, readme, transformations

CHANGES, SUMS = "CHANGES.md", "SHA256SUMS"
OURS = ("README.md", "dictionary.csv", "dictionary.html", CHANGES, "datapackage.json", "croissant.json", SUMS)


@dataclass(frozen=True)
class Before:
    """The version that a new one is held against: its manifest, and its CHANGES.md, which is carried on."""

    manifest: Manifest
    changes: bytes = b""


@dataclass(frozen=True)
class Beside:
    """What the documents are made from beside the facts. plain: the tables' Parquet as it was judged (where the staged files are encrypted);
    subjects: folder of `__subject` files a table; extra: documents made elsewhere (`report.html`), by name."""

    plain: Path
    subjects: Path | None = None
    before: Before | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)


def documents(facts: ReleaseFacts, *, version: str, content: str, beside: Beside) -> dict[str, bytes]:
    """Every document but SHA256SUMS, by name. facts: with the tables' files, as published.

    Raises StoreError where an extra document takes the name of one of ours, or of a folder.
    """
    for name in beside.extra:
        if name in OURS or "/" in name or name.startswith(".") or name.endswith(".parquet") or name == "manifest.json":
            raise StoreError(f"'{name}' cannot be the name of an extra document of a release")
    cite, done, known = citation(facts, version, content), transformations(facts), limits(facts)
    lines = describe(beside.plain, facts.tables, k=facts.privacy.k, subjects=beside.subjects)
    before = beside.before
    return {
        **beside.extra,
        "README.md": readme(
            facts, version=version, content=content, before=before.manifest.version if before else "", documents=tuple(sorted(beside.extra))
        ),
        "dictionary.csv": dictionary_csv(lines),
        "dictionary.html": dictionary_page(facts, lines, version=version),
        CHANGES: change_log(facts, version=version, before=before.manifest if before else None, earlier=before.changes if before else b""),
        "datapackage.json": data_package(facts, version=version, content=content, citation=cite, changes=done),
        "croissant.json": croissant(facts, version=version, content=content, citation=cite, changes=done, limits=known),
    }


def sums(files: list[FileFact]) -> bytes:
    """`SHA256SUMS` as `sha256sum -c` reads it: every file of the version but itself and the manifest, which is written after it."""
    return "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path) if file.path != SUMS).encode()


def read_sums(data: bytes) -> dict[str, str]:
    """What `SHA256SUMS` says: the hash by path. Lines that are none are left out."""
    pairs = (line.partition("  ") for line in data.decode(errors="replace").splitlines())
    return {path: digest for digest, _, path in pairs if path}
