"""What machines read of a release: a Frictionless Data Package and Croissant metadata.

Sources: Data Package 1.0 and Table Schema (specs.frictionlessdata.io); Croissant 1.0 (docs.mlcommons.org/croissant/docs/croissant-spec.html).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from anonymize.publish.manifest import ColumnFact, FileFact, ReleaseFacts, TableFact
from anonymize.publish.parquet import SHIFTED

PARQUET = "application/vnd.apache.parquet"
#: How an Arrow type begins -> Table Schema's type, Croissant's (schema.org's).
_TYPES = (
    (("int", "uint"), "integer", "sc:Integer"),
    (("float", "double", "halffloat", "decimal"), "number", "sc:Float"),
    (("bool",), "boolean", "sc:Boolean"),
    (("date",), "date", "sc:Date"),
    (("timestamp",), "datetime", "sc:DateTime"),
    (("time",), "time", "sc:Time"),
    (("string", "large_string", "dictionary"), "string", "sc:Text"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def data_package(facts: ReleaseFacts, *, version: str, content: str, citation: str, changes: Sequence[str]) -> bytes:
    """`datapackage.json`: a resource a Parquet file, for a table of several files cannot be one resource (the standard would join their bytes).

    facts: with the tables' files, as published. changes: what happened to the records, in words.
    """
    package = {
        "profile": "data-package",
        "name": facts.dataset,
        "title": facts.title or facts.dataset,
        "description": facts.description,
        "version": version,
        "created": facts.started.astimezone(UTC).isoformat(),
        "licenses": [{"name": _name(facts.licence), "title": facts.licence}] if facts.licence else None,
        "contributors": [{"title": facts.contact, "role": "publisher"}] if facts.contact else None,
        "citation": citation,
        "provenance": {"policySha256": facts.policy_sha256, "contentSha256": content, "codeVersion": facts.code_version, "keyId": facts.key_id},
        "transformations": list(changes),
        "privacy": facts.privacy.model_dump(mode="json", exclude_none=True),
        "resources": [_resource(table, file, number) for table in facts.tables for number, file in enumerate(table.files)],
    }
    return _json(package)


def _name(licence: str) -> str:
    """A licence's name as the standard wants it: without spaces."""
    return "-".join("".join(sign if sign.isalnum() or sign in ".-" else " " for sign in licence).split()) or "other"


def _resource(table: TableFact, file: FileFact, number: int) -> dict[str, Any]:
    return {
        "profile": "data-resource",
        "name": table.name if len(table.files) == 1 else f"{table.name}-{number:05}",
        "table": table.name,
        "path": file.path,
        "format": "parquet",
        "mediatype": PARQUET,
        # Not `bytes`: the validator counts them only of files that it reads as text, and takes a Parquet file for one of none.
        "hash": f"sha256:{file.sha256}",
        "rows": file.rows,
        "description": table.description,
        "schema": {"fields": [_table_field(column) for column in table.columns], "missingValues": [""]},
    }


def _table_field(column: ColumnFact) -> dict[str, Any]:
    said = {
        "name": column.name,
        "type": next((package for starts, package, _ in _TYPES if column.type.startswith(starts)), "any"),
        "description": _described(column),
        "role": column.role,
        "method": column.method,
        "precision": column.precision,
        "datesShifted": SHIFTED.format(days=column.shifted) if column.shifted else None,
        "unit": column.unit,
        "codes": column.codes,
        "encrypted": column.encrypted,
        "constraints": {"enum": list(column.values)} if column.values else None,
    }
    return {key: value for key, value in said.items() if value not in (None, "")}


def _described(column: ColumnFact) -> str:
    shifted = f"Dates were {SHIFTED.format(days=column.shifted)}." if column.shifted else ""
    unit = f"Unit: {column.unit}." if column.unit else ""
    codes = f"Codes: {column.codes}." if column.codes else ""
    return " ".join(part for part in (column.description, unit, codes, shifted) if part)


def croissant(facts: ReleaseFacts, *, version: str, content: str, citation: str, changes: Sequence[str], limits: Sequence[str]) -> bytes:
    """`croissant.json`: a record set a table. facts: with the tables' files, as published."""
    shifted = any(column.shifted for table in facts.tables for column in table.columns)
    said = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.dataset,
        "alternateName": facts.title,
        "description": facts.description or f"De-identified records for research: {facts.title or facts.dataset}.",
        "version": version,
        "license": facts.licence,
        "creator": {"@type": "sc:Organization", "name": facts.contact} if facts.contact else None,
        "dateCreated": facts.started.astimezone(UTC).isoformat(),
        "datePublished": facts.started.astimezone(UTC).isoformat(),
        "citeAs": citation,
        "identifier": f"sha256:{content}",
        "url": f"urn:sha256:{content}",
        "isLiveDataset": False,
        "rai:dataManipulationProtocol": list(changes),
        "rai:dataLimitations": list(limits),
        "rai:personalSensitiveInformation": (
            f"De-identified: each combination of quasi-identifiers is shared by {facts.privacy.reached or facts.privacy.k} or more people."
            + (" Dates were shifted." if shifted else "")
        ),
        "distribution": [one for table in facts.tables for one in _distribution(table)],
        "recordSet": [_record_set(table) for table in facts.tables],
    }
    return _json(said)


def _distribution(table: TableFact) -> list[dict[str, Any]]:
    files = [
        {
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path,
            "contentUrl": file.path,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": file.sha256,
        }
        for file in table.files
    ]
    together = {
        "@type": "cr:FileSet",
        "@id": f"{table.name}-files",
        "encodingFormat": "application/x-parquet",
        "includes": f"data/{table.name}/*.parquet",
    }
    return [*files, together]


def _record_set(table: TableFact) -> dict[str, Any]:
    said = {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.description,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{table.name}/{column.name}",
                "name": column.name,
                "description": _described(column) or column.name,
                "dataType": next((croissant for starts, _, croissant in _TYPES if column.type.startswith(starts)), "sc:Text"),
                "source": {"fileSet": {"@id": f"{table.name}-files"}, "extract": {"column": column.name}},
            }
            for column in table.columns
        ],
    }
    return {key: value for key, value in said.items() if value}


def _json(said: dict[str, Any]) -> bytes:
    kept = {key: value for key, value in said.items() if value not in (None, "", [], ())}
    return json.dumps(kept, indent=1, ensure_ascii=False).encode() + b"\n"
