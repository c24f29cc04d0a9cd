"""Which release is meant by a word: a run, or a published version; and its report as files."""

from __future__ import annotations

from pathlib import Path

from anonymize.errors import AnonymizeError
from anonymize.evidence import report
from anonymize.evidence.comparing import compare
from anonymize.evidence.gathering import before_version, gather_published, signatures_of
from anonymize.policy.loader import load
from anonymize.publish import Store
from anonymize.releasing import store_uri
from anonymize.run import Run, find


def of(name: str, policies: Path, out: Path) -> list[Path]:
    """Write the report of a run or a version into a folder; returns the files. Raises AnonymizeError where the name is of neither."""
    documents = _of_version(name, policies) or _of_run(name, policies)
    out.mkdir(parents=True, exist_ok=True)
    for file, data in documents.items():
        (out / file).write_bytes(data)
    return [out / file for file in documents]


def _of_run(name: str, policies: Path) -> dict[str, bytes]:
    policy, run_id = find(name, policies)
    run = Run.open(policy, run_id=run_id)
    try:
        if run.record.get("judged") is None:
            raise AnonymizeError(f"run '{run_id}' has not come to its gates yet, so there is nothing to report: anonymize run {policy.file}")
        published = run.record.get("publish")
        return (
            _published(Store(store_uri(policy)), policy.dataset, published["version"], run.record.folder.parent)
            if published
            else report.of_run(run)
        )
    finally:
        # A run that has ended has no workspace; opening it made an empty one.
        run.close(remove=run.record.get("end") is not None)


def _of_version(name: str, policies: Path) -> dict[str, bytes] | None:
    """The report of a version that is named by its folder, or by DATASET or DATASET/VERSION; None where the name is of none."""
    path = Path(name)
    if (path / "manifest.json").is_file():
        versions = path.resolve().parent
        return _published(Store(versions.parent.parent), versions.parent.name, path.resolve().name, None)
    dataset, _, version = name.partition("/")
    for file in sorted(policies.glob("*.yaml")):
        policy = load(file)
        store = Store(store_uri(policy)) if policy.dataset == dataset else None
        if store is not None and store.newest(dataset) is not None:
            return _published(store, dataset, version or "latest", policy.path(policy.workspace) / "records")
    return None


def _published(store: Store, dataset: str, version: str, records: Path | None) -> dict[str, bytes]:
    found = store.open(dataset, version)
    before = before_version(store, dataset, found.manifest.version)
    evidence = gather_published(store, dataset, found.manifest.version, records).model_copy(update={"timings": ()})
    old = gather_published(store, dataset, before, records) if before else None
    return report.documents(evidence, compare(evidence, old), signatures_of(found.manifest))
