"""The research store: version, manifest, documents; the steward's decision; publishing; the catalogue; opening."""

from anonymize.publish.documents import Before
from anonymize.publish.manifest import ColumnFact, GateFact, Manifest, PrivacyFact, ReleaseFacts, TableFact, Tombstone
from anonymize.publish.parquet import columns, hash_files, published_schema
from anonymize.publish.release import Release, before, prepare, publish, release_facts, table_facts
from anonymize.publish.store import Store, Version, open_version

__all__ = [
    "Before",
    "ColumnFact",
    "GateFact",
    "Manifest",
    "PrivacyFact",
    "Release",
    "ReleaseFacts",
    "Store",
    "TableFact",
    "Tombstone",
    "Version",
    "before",
    "columns",
    "hash_files",
    "open_version",
    "prepare",
    "publish",
    "published_schema",
    "release_facts",
    "table_facts",
]
