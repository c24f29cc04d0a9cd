"""Is what lies in a store what was published? Every byte against the manifest, and SHA256SUMS against both."""

from __future__ import annotations

from dataclasses import dataclass

from anonymize.errors import StoreError
from anonymize.publish.backends import Backend, open_backend
from anonymize.publish.manifest import Manifest, Tombstone
from anonymize.publish.store import LATEST, MANIFEST, TOMBSTONE, Store, Version, parse_manifest


@dataclass(frozen=True)
class Verified:
    """What became of one version. problems: none where every byte is as published; gone: it was taken back."""

    name: str
    files: int
    bytes: int
    problems: tuple[str, ...]
    gone: Tombstone | None = None


def verify(uri: str) -> list[Verified]:
    """Verify a version's folder, all versions of a dataset's folder, or all of a store, whichever the URI names.

    Raises StoreError where there is nothing to verify.
    """
    backend = open_backend(uri)
    if backend.read_bytes(MANIFEST) is not None or backend.read_bytes(TOMBSTONE) is not None:
        return [_version(backend)]
    if backend.read_bytes(LATEST) is not None or backend.folders("versions"):
        return [one for name in backend.folders("versions") for one in verify(_within(uri, f"versions/{name}")) if one.files or one.gone]
    store = Store(uri, backend=backend)
    found = [one for dataset in store.datasets() for one in verify(_within(uri, dataset))]
    if not found:
        raise StoreError(f"{backend.uri} holds no version: no {MANIFEST} there, and no dataset with versions below it")
    return found


def _within(uri: str, path: str) -> str:
    """A folder of a URI's, before what follows its question mark."""
    place, mark, rest = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{place.rstrip('/')}/{path}{mark}{rest}"


def _version(backend: Backend) -> Verified:
    gone = backend.read_bytes(TOMBSTONE)
    data = backend.read_bytes(MANIFEST)
    if data is None:
        tombstone = Tombstone.model_validate_json(gone or b"")
        return Verified(f"{tombstone.dataset} {tombstone.version}", 0, 0, (), tombstone)
    manifest = parse_manifest(data, backend.uri)
    if manifest is None:
        return Verified(backend.uri, 1, 0, (f"{MANIFEST}: cannot be read as a manifest",))
    problems = [*_named(manifest, backend), *Version(manifest, backend, "").verify()]
    if gone is not None:
        problems.append(f"{TOMBSTONE}: stands beside a manifest; take the version back again")
    files = manifest.files()
    return Verified(f"{manifest.dataset} {manifest.version}", len(files), sum(file.bytes for file in files), tuple(problems))


def _named(manifest: Manifest, backend: Backend) -> list[str]:
    """A version's folder that bears its name; one that was copied elsewhere may have any."""
    folder = backend.uri.rstrip("/").rpartition("/")
    strange = folder[0].endswith(f"{manifest.dataset}/versions") and folder[2] != manifest.version
    return [f"{MANIFEST}: is of version {manifest.version}, not of this folder's"] if strange else []
