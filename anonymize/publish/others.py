"""Stores that fsspec knows: `sftp://`, `smb://`, `webdav://`, `abfs://`, `memory://` … with the site's own fsspec driver installed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from anonymize.errors import StoreError

_CHUNK = 4 << 20


class Other:
    """A folder of an fsspec file system. Each put is one of its transactions: object stores show an object when its upload is completed, and
    file servers (SFTP, SMB, FTP, WebHDFS) write beside the true name and move.

    Raises StoreError where no driver is installed for the URI's scheme.
    """

    def __init__(self, uri: str, shown: str) -> None:
        import fsspec

        try:
            # An instance of our own: a transaction belongs to the instance, and others may write through a shared one.
            self._fs, root = fsspec.url_to_fs(uri, skip_instance_cache=True, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{shown} cannot be opened: {error}") from error
        self._root, self.uri = root.rstrip("/"), shown

    def put_file(self, path: str, source: Path) -> str:
        digest = hashlib.sha256()
        with self._failing(path, "write"), source.open("rb") as file, self._fresh(path) as out:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
        return digest.hexdigest()

    def put_bytes(self, path: str, data: bytes) -> None:
        with self._failing(path, "write"), self._fresh(path) as out:
            out.write(data)

    def create_bytes(self, path: str, data: bytes) -> bool:
        with self._failing(path, "write"):
            self._parents(path)
            try:
                # Of most drivers this is a put on the condition that there is none; of the others a look, then a put.
                self._fs.pipe_file(self._at(path), data, mode="create")
            except FileExistsError:
                return False
        return True

    def read_bytes(self, path: str) -> bytes | None:
        with self._failing(path, "read"):
            return bytes(self._fs.cat_file(self._at(path))) if self._fs.isfile(self._at(path)) else None

    def sha256(self, path: str) -> str | None:
        digest = hashlib.sha256()
        with self._failing(path, "read"):
            if not self._fs.isfile(self._at(path)):
                return None
            with self._fs.open(self._at(path), "rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        return digest.hexdigest()

    def folders(self, path: str) -> list[str]:
        with self._failing(path, "list"):
            there = self._fs.ls(self._at(path), detail=True) if self._fs.isdir(self._at(path)) else []
            return sorted(PurePosixPath(one["name"]).name for one in there if one["type"] == "directory")

    def files(self, path: str) -> list[str]:
        with self._failing(path, "list"):
            there = self._fs.find(self._at(path)) if self._fs.isdir(self._at(path)) else []
            start = len(self._fs._strip_protocol(self._at(path)).rstrip("/")) + 1
            return sorted(name[start:] for name in there)

    def delete(self, path: str) -> None:
        with self._failing(path, "delete"):
            if self._fs.exists(self._at(path)):
                self._fs.rm(self._at(path), recursive=True)

    def delete_file(self, path: str) -> None:
        with self._failing(path, "delete"):
            if self._fs.isfile(self._at(path)):
                self._fs.rm_file(self._at(path))

    def filesystem(self, path: str) -> tuple[pafs.FileSystem, str]:
        return pafs.PyFileSystem(pafs.FSSpecHandler(self._fs)), self._at(path)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    def _parents(self, path: str) -> None:
        self._fs.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _fresh(self, path: str) -> Iterator[Any]:
        self._parents(path)
        with self._fs.transaction, self._fs.open(self._at(path), "wb") as out:
            yield out

    @contextmanager
    def _failing(self, path: str, verb: str) -> Iterator[None]:
        """What a driver raises, of whatever type, as StoreError with its type's name: a driver's words may hold an address with a password."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            hint = "What was published before is untouched; mend it and run again"
            raise StoreError(f"the research store cannot {verb} {path}: {reason}. {hint}") from error
