"""FHIR R4 and R5: files (NDJSON, Bundles, single resources) and servers (Bulk Data Access), as tables by a mapping in YAML."""
