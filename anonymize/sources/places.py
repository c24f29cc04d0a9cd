"""Where a source's files lie: a folder of this machine, an object store, and archives in either, which are read as folders.

Paths are relative to the place, with `/`. Nothing here writes.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from anonymize.errors import AnonymizeError, SourceError

ARCHIVE = ".zip"
#: How a file may be packed, by the end of its name.
PACKED = (".gz", ".bz2", ".zst")
_BUFFER = 1 << 20
_DEEPEST = 64


class Unreadable(Exception):
    """A whole file cannot be read. reason: a code for the quarantine; hint: how to mend it, in words without any of its content."""

    def __init__(self, reason: str, hint: str = "") -> None:
        self.reason, self.hint = reason, hint
        super().__init__(reason)


@dataclass(frozen=True, order=True)
class Entry:
    """One name in a folder. size: bytes, 0 where the place does not say."""

    path: str
    folder: bool = False
    size: int = 0

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Place(Protocol):
    """Lists folders and opens files. Raises OSError as Python does."""

    shown: str

    def entries(self, path: str) -> list[Entry]:
        """What stands in a folder, sorted by name."""
        ...

    def entry(self, path: str) -> Entry | None:
        """One path; None where nothing is there."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A file's bytes as they lie there, seekable."""
        ...


class Folder:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root, self.shown = root, str(root)

    def entries(self, path: str) -> list[Entry]:
        with os.scandir(self.root / path) as found:
            entries = [
                Entry(_below(path, one.name), _is_folder(one), 0 if one.is_dir() else one.stat().st_size) for one in found if _is_there(one)
            ]
        return sorted(entries)

    def entry(self, path: str) -> Entry | None:
        file = self.root / path
        return Entry(path, file.is_dir(), 0 if file.is_dir() else file.stat().st_size) if file.exists() else None

    def open(self, path: str) -> BinaryIO:
        return (self.root / path).open("rb")


def _is_there(one: os.DirEntry[str]) -> bool:
    """Whether an entry can be looked at: a broken link cannot."""
    try:
        one.stat()
    except OSError:
        return False
    return True


def _is_folder(one: os.DirEntry[str]) -> bool:
    return one.is_dir()


class Bucket:
    """A prefix of an object store, by pyarrow's file systems or fsspec's."""

    def __init__(self, filesystem: pafs.FileSystem, prefix: str, shown: str) -> None:
        self._fs, self._prefix, self.shown = filesystem, prefix.rstrip("/"), shown

    def entries(self, path: str) -> list[Entry]:
        found = self._fs.get_file_info(pafs.FileSelector(self._at(path)))
        return sorted(Entry(_below(path, info.base_name), info.type == pafs.FileType.Directory, info.size or 0) for info in found)

    def entry(self, path: str) -> Entry | None:
        info = self._fs.get_file_info(self._at(path))
        return None if info.type == pafs.FileType.NotFound else Entry(path, info.type == pafs.FileType.Directory, info.size or 0)

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(cast(Any, self._fs.open_input_file(self._at(path))), _BUFFER))

    def _at(self, path: str) -> str:
        return f"{self._prefix}/{path}".rstrip("/")


class Archive:
    """A ZIP archive as a folder. open_: gives its bytes."""

    def __init__(self, open_: Callable[[], BinaryIO], shown: str) -> None:
        self._open, self.shown = open_, shown

    def entries(self, path: str) -> list[Entry]:
        start = f"{path}/" if path else ""
        below = {name[len(start) :].partition("/")[:2]: size for name, size in self._members.items() if name.startswith(start)}
        return sorted(Entry(_below(path, name), bool(slash), 0 if slash else size) for (name, slash), size in below.items())

    def entry(self, path: str) -> Entry | None:
        if not path:
            return Entry("", folder=True)
        parent, _, name = path.rpartition("/")
        return next((one for one in self.entries(parent) if one.name == name), None)

    def open(self, path: str) -> BinaryIO:
        raw = self._open()
        try:
            packed = zipfile.ZipFile(raw)
            name = next((name for name in packed.namelist() if name.strip("/") == path), None)
            if name is None:
                raise FileNotFoundError(path)
            return cast(BinaryIO, _Member(packed.open(name), raw))
        except BaseException:
            raw.close()
            raise

    @cached_property
    def _members(self) -> dict[str, int]:
        with self._open() as raw, zipfile.ZipFile(raw) as packed:
            return {info.filename.strip("/"): info.file_size for info in packed.infolist() if not info.is_dir()}


class Tree:
    """A place whose archives are folders: `2024.zip/visits.csv`, in a folder or in a store. only: its one file, where it was named itself."""

    def __init__(self, place: Place, only: str | None = None) -> None:
        self._place, self.shown, self.only = place, place.shown, only
        self._archives: dict[str, Archive] = {}

    def entries(self, path: str = "") -> list[Entry]:
        """What stands in a folder or archive, sorted by name."""
        place, inside = self._within(path)
        above = path[: len(path) - len(inside)].strip("/") if inside else path if place is not self._place else ""
        found = (Entry(_below(above, one.path), one.folder, one.size) for one in place.entries(inside))
        return [Entry(one.path, one.folder or one.name.lower().endswith(ARCHIVE), one.size) for one in found]

    def walk(self, path: str = "", depth: int = 0) -> Iterator[Entry | tuple[str, Unreadable]]:
        """Every file below a folder, in the order of their names; a folder or archive that cannot be listed with its reason."""
        try:
            with faults():
                entries = self.entries(path)
        except Unreadable as error:
            yield path, error
            return
        for one in entries:
            if one.name.startswith("."):
                continue
            if one.folder and depth < _DEEPEST:
                yield from self.walk(one.path, depth + 1)
            elif not one.folder:
                yield one

    def glob(self, pattern: str) -> list[Entry]:
        """The files that a pattern names: `*`, `?`, `[…]` within a name, `**` for folders at any depth."""
        return sorted(set(self._glob("", [part for part in pattern.split("/") if part])))

    def is_folder(self, path: str) -> bool:
        """Whether a folder or an archive is there."""
        place, inside = self._within(path)
        entry = place.entry(inside)
        return entry is not None and entry.folder

    def is_file(self, path: str) -> bool:
        """Whether a file is there that is no archive."""
        place, inside = self._within(path)
        entry = place.entry(inside)
        return entry is not None and not entry.folder

    def open(self, path: str) -> BinaryIO:
        """The bytes of a file, seekable; not unpacked."""
        place, inside = self._within(path)
        return place.open(inside)

    def unpacked(self, path: str) -> BinaryIO:
        """The bytes of a file, unpacked where its name ends in .gz, .bz2 or .zst."""
        raw, name = self.open(path), path.lower()
        if name.endswith(".gz"):
            return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
        if name.endswith(".bz2"):
            return cast(BinaryIO, bz2.BZ2File(raw))
        if name.endswith(".zst"):
            return cast(BinaryIO, io.BufferedReader(cast(Any, pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")), _BUFFER))
        return raw

    def _glob(self, folder: str, parts: list[str]) -> Iterator[Entry]:
        first, rest = parts[0], parts[1:]
        if first == "**":
            yield from self._glob(folder, rest) if rest else (one for one in self.walk(folder) if isinstance(one, Entry))
            for one in self.entries(folder) if rest else ():
                if one.folder and not one.name.startswith("."):
                    yield from self._glob(one.path, parts)
            return
        for one in self.entries(folder):
            if fnmatch.fnmatchcase(one.name, first) and not (one.name.startswith(".") and first[0] != "."):
                if not rest and not one.folder:
                    yield one
                elif rest and one.folder:
                    yield from self._glob(one.path, rest)

    def _within(self, path: str) -> tuple[Place, str]:
        """The place that a path is of, an archive where it goes into one, and the path within it."""
        parts = path.split("/")
        for length, part in enumerate(parts, 1):
            name = "/".join(parts[:length])
            if not part.lower().endswith(ARCHIVE):
                continue
            if name not in self._archives:
                entry = self._place.entry(name)
                if entry is None or entry.folder:
                    continue
                self._archives[name] = Archive(lambda name=name: self._place.open(name), name)  # type: ignore[misc]
            return self._archives[name], "/".join(parts[length:])
        return self._place, path


class _Member(io.BufferedReader):
    """A file of an archive; closing it closes the archive."""

    def __init__(self, member: Any, raw: BinaryIO) -> None:
        super().__init__(member, _BUFFER)
        self._archive = raw

    def close(self) -> None:
        super().close()
        self._archive.close()


def open_place(name: str, path: str, folder: Callable[[str], Path], secret: str | None = None) -> Tree:
    """A folder's path, or `s3://bucket/prefix?region=…&endpoint_override=…`, `gs://…`, `az://…` and what else fsspec has a driver for.

    folder: makes a relative path absolute; secret: an Airflow connection as its URI or JSON (of AWS), whose key reads the bucket. Without one
    the store's client takes what the environment has. Raises SourceError where nothing is there.
    """
    scheme, found, rest = path.partition("://")
    if not found or scheme == "file":
        root = folder(rest if found else path)
        if not root.exists():
            raise SourceError(f"source '{name}': there is no {root}")
        if root.is_dir():
            return Tree(Folder(root))
        return _of_one(Folder(root.parent), root.name)
    shown = f"{scheme}://{rest.partition('?')[0].rpartition('@')[2].rstrip('/')}"
    try:
        filesystem, prefix = _filesystem(path, scheme, secret)
        bucket = Bucket(filesystem, prefix, shown)
        there = bucket.entry("")
    except AnonymizeError:
        raise
    except ImportError as error:
        raise SourceError(f"source '{name}': no driver for {scheme}:// is installed ({error.name}). Install it beside the pipeline") from None
    except Exception as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SourceError(f"source '{name}': {shown} cannot be opened: {reason}. Is the store up, and are the credentials right?") from None
    if there is None:
        raise SourceError(f"source '{name}': there is nothing at {shown}, or it may not be listed")
    if there.folder:
        return Tree(bucket)
    parent, _, file = prefix.rstrip("/").rpartition("/")
    return _of_one(Bucket(filesystem, parent, shown.rpartition("/")[0]), file)


def _of_one(place: Place, name: str) -> Tree:
    """A place that was named by one of its files: an archive is a folder of its own."""
    return Tree(Archive(lambda: place.open(name), f"{place.shown}/{name}")) if name.lower().endswith(ARCHIVE) else Tree(place, only=name)


def _filesystem(path: str, scheme: str, secret: str | None) -> tuple[pafs.FileSystem, str]:
    if scheme == "s3" and secret is not None:
        parts = urlsplit(path)
        asked = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        return pafs.S3FileSystem(**{**asked, **_aws(secret)}), f"{parts.netloc}{parts.path}"
    if scheme in ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"):
        found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(path)
        return found
    import fsspec

    filesystem, root = fsspec.url_to_fs(path)
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), root


def _aws(secret: str) -> dict[str, Any]:
    """An Airflow connection of type `aws` as pyarrow's S3 takes it. Raises SourceError where it is none."""
    try:
        if secret.lstrip().startswith("{"):
            given = json.loads(secret)
            login, password, extra = given.get("login"), given.get("password"), given.get("extra") or {}
            extra = json.loads(extra) if isinstance(extra, str) else extra
        else:
            parts = urlsplit(secret)
            login, password = (unquote(word) if word else None for word in (parts.username, parts.password))
            extra = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            extra |= json.loads(extra.pop("__extra__", "{}"))
    except ValueError:
        raise SourceError("the connection of an S3 source is neither Airflow's URI (aws://KEY:SECRET@/?region_name=…) nor its JSON") from None
    endpoint = str(extra.get("endpoint_url") or "")
    kept = {
        "access_key": login or extra.get("aws_access_key_id"),
        "secret_key": password or extra.get("aws_secret_access_key"),
        "session_token": extra.get("aws_session_token"),
        "region": extra.get("region_name"),
        "role_arn": extra.get("role_arn"),
        "endpoint_override": endpoint.partition("://")[2] or endpoint,
        "scheme": endpoint.partition("://")[0] if "://" in endpoint else None,
    }
    return {name: value for name, value in kept.items() if value}


@contextmanager
def faults() -> Iterator[None]:
    """Turn what reading a file can raise into Unreadable, by its reason. The library's message can hold bytes of a record: withheld."""
    try:
        yield
    except (Unreadable, AnonymizeError, MemoryError):
        raise
    except PermissionError:
        raise Unreadable("no-permission", "Let the run's user read it") from None
    except FileNotFoundError:
        raise Unreadable("gone", "It was there when the folder was listed") from None
    except EOFError:
        raise Unreadable("cut-off", "Export it again") from None
    except (zlib.error, gzip.BadGzipFile, zipfile.BadZipFile):
        raise Unreadable("damaged", "Export it again") from None
    except UnicodeError:
        raise Unreadable("bad-encoding", "Set 'encoding' of the source") from None
    except OSError as error:
        cut = "truncated" in str(error).lower() or "end of" in str(error).lower()
        damaged = error.errno is None  # bz2, zstd and Parquet say so: no fault of the machine
        raise Unreadable("cut-off" if cut else "damaged" if damaged else "unreadable", "Export it again") from None
    except RuntimeError as error:
        locked = "password" in str(error) or "encrypted" in str(error)
        raise Unreadable("encrypted" if locked else "damaged", "Take its password off" if locked else "Export it again") from None
    except Exception:
        raise Unreadable("damaged", "Export it again") from None


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
