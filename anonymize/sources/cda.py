"""CDA documents (C-CDA R1.1 and R2.1, any CDA R2) from folders of files, as linked tables by a mapping in YAML (`mappings/ccda.yaml`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import tostring

from anonymize.errors import SourceError
from anonymize.sources.base import Malformed
from anonymize.sources.folder import data_files
from anonymize.sources.mapped import MappedSource
from anonymize.sources.mapping import read_mapping, ready_made
from anonymize.sources.v3.document import record
from anonymize.sources.v3.elements import NotXml
from anonymize.sources.v3.finding import documents

KIND = "document"


class CdaFolder(MappedSource):
    """The tables that a mapping makes of a folder of CDA documents.

    id_roots: OIDs of who gives the patients' numbers that count. told: the tables that the policy reads; the first with a row a document
    tells of what could not be read.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        mapping: str,
        policy_folder: Path,
        files: Sequence[str] = ("*",),
        id_roots: Sequence[str] = (),
        told: Sequence[str] = (),
    ) -> None:
        super().__init__(name, read_mapping(mapping, policy_folder))
        self.path, self.files, self.id_roots = path, tuple(files), tuple(id_roots)
        if not path.is_dir():
            raise SourceError(f"source '{name}': there is no folder {path}")
        self.lenient = mapping in ready_made()
        self.tell_once(told, KIND)

    def kinds(self) -> Collection[str]:
        return (KIND,)

    def records(self, kind: str, where: str) -> Iterator[tuple[dict[str, Any], int] | Malformed]:  # noqa: ARG002
        for file in data_files(where, self.path, self.files):
            for item in documents(file):
                if isinstance(item, Malformed):
                    yield item
                    continue
                root, size = item
                try:
                    yield record(root, self.id_roots), size
                except NotXml as error:
                    yield Malformed(0, str(error), raw=tostring(root, encoding="unicode"))
