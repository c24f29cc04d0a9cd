"""The research store: version, manifest, dictionary, README; the steward's decision; publishing."""

from anonymize.publish.manifest import ColumnFact, GateFact, Manifest, PrivacyFact, ReleaseFacts, TableFact
from anonymize.publish.parquet import columns, hash_files, published_schema
from anonymize.publish.release import Release, prepare, publish, release_facts, table_facts
from anonymize.publish.store import Store, Version, open_version

__all__ = [
    "ColumnFact",
    "GateFact",
    "Manifest",
    "PrivacyFact",
    "Release",
    "ReleaseFacts",
    "Store",
    "TableFact",
    "Version",
    "columns",
    "hash_files",
    "open_version",
    "prepare",
    "publish",
    "published_schema",
    "release_facts",
    "table_facts",
]
