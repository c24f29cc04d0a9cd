"""Where a store's bytes lie: a folder of this machine, S3 (`s3.py`), what pyarrow knows as a file system (GCS, HDFS), or fsspec (`others.py`).

All offer the same few verbs. A file appears whole or not at all in a folder (written beside, flushed to the disk, renamed); in an object
store a file appears when its upload is completed. Nothing here renames across files: a version is made whole by its manifest alone.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from anonymize.errors import StoreError

_CHUNK = 4 << 20
_HOST = socket.gethostname()


class Backend(Protocol):
    """Paths are relative to the store, with `/`. Every verb raises StoreError, naming the path, where the store fails."""

    uri: str

    def put_file(self, path: str, source: Path) -> str:
        """Copy a file of this machine; returns the SHA-256 of the bytes as they were written."""
        ...

    def put_bytes(self, path: str, data: bytes) -> None:
        """Write a small file in one step: a reader sees the old bytes or the new."""
        ...

    def create_bytes(self, path: str, data: bytes) -> bool:
        """Write a small file in one step where there is none; False, and nothing written, where there is one already."""
        ...

    def read_bytes(self, path: str) -> bytes | None:
        """A small file's bytes; None where there is no such file."""
        ...

    def sha256(self, path: str) -> str | None:
        """The hash of a file as it lies in the store; None where there is no such file."""
        ...

    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder, sorted; empty where there is none."""
        ...

    def files(self, path: str) -> list[str]:
        """Every file under a folder, by its path relative to it, sorted."""
        ...

    def delete(self, path: str) -> None:
        """Remove a folder and all in it; nothing where there is none."""
        ...

    def delete_file(self, path: str) -> None:
        """Remove a file; nothing where there is none."""
        ...

    def filesystem(self, path: str) -> tuple[pafs.FileSystem, str]:
        """A path as pyarrow reads it."""
        ...


_PYARROW = ("gs", "gcs", "hdfs", "viewfs")
"""Schemes that pyarrow's own file systems serve."""


def open_backend(uri: str, *, server_encryption: str | None = None) -> Backend:
    """A folder's path, `file://…`, `s3://bucket/prefix?endpoint_override=localhost:9000&scheme=http`, or a URI that pyarrow or fsspec knows.

    server_encryption: of S3 alone: `sse-s3`, `sse-kms`, `sse-kms:KEY-ID`. Credentials come from the environment, as the store's own client
    reads them. Raises StoreError where the URI names no store, or cannot have what is asked for.
    """
    scheme, found, rest = uri.partition("://")
    if server_encryption and scheme != "s3":
        raise StoreError(f"server-side encryption '{server_encryption}' is for stores on S3; another store's disks are encrypted by their owner")
    if not found:
        return Folder(Path(uri))
    if scheme == "file":
        return Folder(Path(rest))
    if scheme == "s3":
        from anonymize.publish.s3 import S3

        return S3(uri, server_encryption=server_encryption)
    shown = f"{scheme}://{rest.partition('?')[0].rpartition('@')[2].rstrip('/')}"  # without credentials, which some put before an `@`
    if scheme not in _PYARROW:
        from anonymize.publish.others import Other

        return Other(uri, shown)
    with _failing(shown, "open"):
        filesystem, prefix = pafs.FileSystem.from_uri(uri)
    return Remote(filesystem, prefix.rstrip("/"), shown)


class Folder:
    """A folder of this machine. Each file is flushed to the disk before its name appears, and so is its folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def put_file(self, path: str, source: Path) -> str:
        digest = hashlib.sha256()
        with _failing(path, "write"), self._fresh(path) as out, source.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
        return digest.hexdigest()

    def put_bytes(self, path: str, data: bytes) -> None:
        with _failing(path, "write"), self._fresh(path) as out:
            out.write(data)

    def create_bytes(self, path: str, data: bytes) -> bool:
        file = self.root / path
        with _failing(path, "write"):
            try:
                with self._fresh(path, os.link) as out:
                    out.write(data)
            except FileExistsError:
                return False
            except OSError as error:
                # A file system without hard links (some mounted ones): a look, then the rename.
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                if file.exists():
                    return False
                with self._fresh(path) as out:
                    out.write(data)
        return True

    def read_bytes(self, path: str) -> bytes | None:
        with _failing(path, "read"):
            file = self.root / path
            return file.read_bytes() if file.is_file() else None

    def sha256(self, path: str) -> str | None:
        with _failing(path, "read"):
            file = self.root / path
            return hashlib.file_digest(file.open("rb"), "sha256").hexdigest() if file.is_file() else None

    def folders(self, path: str) -> list[str]:
        with _failing(path, "list"):
            folder = self.root / path
            return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def files(self, path: str) -> list[str]:
        with _failing(path, "list"):
            folder = self.root / path
            return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())

    def delete(self, path: str) -> None:
        with _failing(path, "delete"):
            if (self.root / path).exists():
                shutil.rmtree(self.root / path)

    def delete_file(self, path: str) -> None:
        with _failing(path, "delete"):
            (self.root / path).unlink(missing_ok=True)

    def filesystem(self, path: str) -> tuple[pafs.FileSystem, str]:
        return pafs.LocalFileSystem(), str(self.root / path)

    @contextmanager
    def _fresh(self, path: str, place: Callable[[Path, Path], None] | None = None) -> Iterator[Any]:
        """A file beside the one that is meant; takes its place when the block ends well and the bytes are on the disk."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        _sweep(file)
        fresh = file.with_name(f".{file.name}.{_HOST}.{os.getpid()}.tmp")
        try:
            with fresh.open("wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            (place or os.replace)(fresh, file)
            fresh.unlink(missing_ok=True)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync(file.parent)


class Remote:
    """A prefix of a pyarrow file system. A put is completed when its stream is closed; one that fails leaves nothing that counts, since
    only a manifest makes a version and a manifest that does not parse is none."""

    def __init__(self, filesystem: pafs.FileSystem, prefix: str, uri: str) -> None:
        self._fs, self._prefix, self.uri = filesystem, prefix, uri

    def put_file(self, path: str, source: Path) -> str:
        digest = hashlib.sha256()
        with _failing(path, "write"), source.open("rb") as file:
            out = self._fs.open_output_stream(self._at(path))
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
            out.close()
        return digest.hexdigest()

    def put_bytes(self, path: str, data: bytes) -> None:
        with _failing(path, "write"):
            out = self._fs.open_output_stream(self._at(path))
            out.write(data)
            out.close()

    def create_bytes(self, path: str, data: bytes) -> bool:
        # pyarrow has no put on a condition: a look, then the put.
        if self._is_file(path):
            return False
        self.put_bytes(path, data)
        return True

    def read_bytes(self, path: str) -> bytes | None:
        with _failing(path, "read"):
            if not self._is_file(path):
                return None
            with self._fs.open_input_stream(self._at(path)) as file:
                return file.read()

    def sha256(self, path: str) -> str | None:
        digest = hashlib.sha256()
        with _failing(path, "read"):
            if not self._is_file(path):
                return None
            with self._fs.open_input_stream(self._at(path)) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        return digest.hexdigest()

    def folders(self, path: str) -> list[str]:
        return sorted(info.base_name for info in self._list(path, recursive=False) if info.type == pafs.FileType.Directory)

    def files(self, path: str) -> list[str]:
        start = len(self._at(path)) + 1
        return sorted(info.path[start:] for info in self._list(path, recursive=True) if info.type == pafs.FileType.File)

    def delete(self, path: str) -> None:
        with _failing(path, "delete"):
            self._fs.delete_dir_contents(self._at(path), missing_dir_ok=True)
            if self._fs.get_file_info(self._at(path)).type == pafs.FileType.Directory:
                self._fs.delete_dir(self._at(path))

    def delete_file(self, path: str) -> None:
        with _failing(path, "delete"):
            if self._is_file(path):
                self._fs.delete_file(self._at(path))

    def filesystem(self, path: str) -> tuple[pafs.FileSystem, str]:
        return self._fs, self._at(path)

    def _at(self, path: str) -> str:
        return f"{self._prefix}/{path}".rstrip("/")

    def _is_file(self, path: str) -> bool:
        return self._fs.get_file_info(self._at(path)).type == pafs.FileType.File

    def _list(self, path: str, *, recursive: bool) -> list[pafs.FileInfo]:
        with _failing(path, "list"):
            return self._fs.get_file_info(pafs.FileSelector(self._at(path), allow_not_found=True, recursive=recursive))


def _sweep(file: Path) -> None:
    """Remove what killed writers of this machine left beside a file."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.{glob.escape(_HOST)}.*.tmp"):
        writer = left.name.split(".")[-2]
        if writer.isdigit() and not _runs(int(writer)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync(folder: Path) -> None:
    """Flush a folder's names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _failing(path: str, verb: str) -> Iterator[None]:
    """What a file system raises, as StoreError: the path, the verb, and the system's reason (a store knows no values of records)."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        hint = "What was published before is untouched; mend it and run again"
        raise StoreError(f"the research store cannot {verb} {path}: {reason}. {hint}") from error
