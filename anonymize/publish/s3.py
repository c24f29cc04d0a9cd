"""A store on S3. Written through boto3, for a put that only creates and encryption at rest are no part of pyarrow's file system; tables are
read through pyarrow.

There is no rename on S3 and none is needed: an object appears when its upload is completed, whole. A version exists once its manifest is put,
with `If-None-Match: *`, so that of two publishers one creates it and the other is told (Amazon S3 User Guide, "Conditional requests").
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow.fs as pafs

from anonymize.errors import StoreError

_CHUNK = 4 << 20
_PART = 16 << 20
"""Files over this many bytes are uploaded in parts."""
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")
#: What boto3's client is given, by the query's words (those of pyarrow's URI).
_AMBIENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL")
_ASKED = ("endpoint_override", "scheme", "region", "allow_delayed_open", "tls_ca_file_path")


class S3:
    """A prefix of a bucket: `s3://bucket/prefix?endpoint_override=HOST:PORT&scheme=http&region=…`.

    Credentials come from the environment, as AWS's client reads them, or stand before an `@`. server_encryption: `sse-s3`, `sse-kms`
    or `sse-kms:KEY-ID`; the bucket's own setting where none is given.
    """

    def __init__(self, uri: str, *, server_encryption: str | None = None) -> None:
        parts = urlsplit(uri)
        place = parts.netloc.rpartition("@")
        self._bucket, self._prefix = place[2], parts.path.strip("/")
        self._credentials = [unquote(word) for word in place[0].split(":", 1)] if place[0] else []
        self._query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self._extra = at_rest(server_encryption)
        self.uri = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        strange = sorted(set(self._query) - set(_ASKED))
        if not self._bucket or strange:
            raise StoreError(f"{self.uri}: {f'no option {strange[0]!r}' if strange else 'names no bucket'}. Options: {', '.join(_ASKED)}")

    def put_file(self, path: str, source: Path) -> str:
        from boto3.s3.transfer import TransferConfig

        digest = hashlib.sha256()
        with self._failing(path, "write"), source.open("rb") as file:
            if source.stat().st_size <= _PART:
                data = file.read()
                digest.update(data)
                self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=data, **self._extra)
            else:
                parts = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, use_threads=False)
                told = _Told(file, digest)
                self._client.upload_fileobj(told, self._bucket, self._key(path), ExtraArgs=self._extra or None, Config=parts)
        return digest.hexdigest()

    def put_bytes(self, path: str, data: bytes) -> None:
        with self._failing(path, "write"):
            self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=data, **_kind(path), **self._extra)

    def create_bytes(self, path: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        with self._failing(path, "write"):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=data, IfNoneMatch="*", **_kind(path), **self._extra)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code")
                if code in _TAKEN or (code == "NotImplemented" and self._body(path) is not None):
                    return False
                if code != "NotImplemented":
                    raise
                self.put_bytes(path, data)  # a server that knows no condition: a look, then the put
        return True

    def read_bytes(self, path: str) -> bytes | None:
        with self._failing(path, "read"):
            body = self._body(path)
            return None if body is None else body.read()

    def sha256(self, path: str) -> str | None:
        digest = hashlib.sha256()
        with self._failing(path, "read"):
            body = self._body(path)
            if body is None:
                return None
            for chunk in body.iter_chunks(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def folders(self, path: str) -> list[str]:
        start = self._folder(path)
        with self._failing(path, "list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start, Delimiter="/")
            return sorted(one["Prefix"][len(start) : -1] for page in pages for one in page.get("CommonPrefixes", []))

    def files(self, path: str) -> list[str]:
        start = self._folder(path)
        return sorted(key[len(start) :] for key in self._keys(path) if not key.endswith("/"))

    def delete(self, path: str) -> None:
        with self._failing(path, "delete"):
            for key in list(self._keys(path)):
                self._client.delete_object(Bucket=self._bucket, Key=key)

    def delete_file(self, path: str) -> None:
        with self._failing(path, "delete"):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(path))

    def filesystem(self, path: str) -> tuple[pafs.FileSystem, str]:
        known = {word: self._query[word] for word in ("endpoint_override", "scheme", "region", "tls_ca_file_path") if word in self._query}
        given = dict(zip(("access_key", "secret_key"), self._credentials, strict=False))
        return pafs.S3FileSystem(**known, **given), f"{self._bucket}/{self._key(path)}"

    @property
    def _client(self) -> Any:
        """Made when it is first needed: opening a store asks nothing of a network."""
        endpoint = self._query.get("endpoint_override", "")
        if endpoint and "://" not in endpoint:
            endpoint = f"{self._query.get('scheme', 'https')}://{endpoint}"
        ambient = tuple(os.environ.get(word, "") for word in _AMBIENT)
        return _client_of(endpoint, self._query.get("region", ""), self._query.get("tls_ca_file_path", ""), tuple(self._credentials), ambient)

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}".strip("/")

    def _folder(self, path: str) -> str:
        return f"{self._key(path)}/".lstrip("/")

    def _keys(self, path: str) -> Iterator[str]:
        with self._failing(path, "list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._folder(path))
            for page in pages:
                yield from (one["Key"] for one in page.get("Contents", []))

    def _body(self, path: str) -> Any:
        from botocore.exceptions import ClientError

        try:
            return self._client.get_object(Bucket=self._bucket, Key=self._key(path))["Body"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                return None
            raise

    @contextmanager
    def _failing(self, path: str, verb: str) -> Iterator[None]:
        """What the client raises, as StoreError; a request's text holds keys of objects, never credentials or values."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (OSError, Boto3Error, BotoCoreError, ClientError) as error:
            hint = "What was published before is untouched; mend it and run again"
            raise StoreError(f"the research store cannot {verb} {path}: {error}. {hint}") from error


@functools.lru_cache(maxsize=8)
def _client_of(
    endpoint: str,
    region: str,
    authorities: str,
    credentials: tuple[str, ...],
    ambient: tuple[str, ...],  # noqa: ARG001  it is a part of the cache's key
) -> Any:
    """A client, which threads may share and which takes a tenth of a second to make. ambient: the environment's words that it reads, so that
    another environment gets another client."""
    import boto3
    from botocore.config import Config

    settings: dict[str, Any] = {"retries": {"max_attempts": 3, "mode": "standard"}, "connect_timeout": 10}
    known: dict[str, Any] = {}
    if endpoint:
        settings["s3"] = {"addressing_style": "path"}
        # Servers other than Amazon's do not all take the checksums that newer clients send unasked.
        settings |= {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        known["endpoint_url"] = endpoint
    if region:
        known["region_name"] = region
    if authorities:
        known["verify"] = authorities
    known |= dict(zip(("aws_access_key_id", "aws_secret_access_key"), credentials, strict=False))
    return boto3.session.Session().client("s3", config=Config(**settings), **known)


class _Told:
    """A file that tells a digest what is read of it."""

    def __init__(self, file: Any, digest: Any) -> None:
        self._file, self._digest = file, digest

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(size)
        self._digest.update(data)
        return data


def at_rest(asked: str | None) -> dict[str, str]:
    """What a put says for a server-side encryption: `sse-s3`, `sse-kms`, `sse-kms:KEY-ID`; nothing where none is asked for."""
    if not asked:
        return {}
    kind, _, key = asked.partition(":")
    if kind == "sse-s3" and not key:
        return {"ServerSideEncryption": "AES256"}
    if kind == "sse-kms":
        return {"ServerSideEncryption": "aws:kms", **({"SSEKMSKeyId": key} if key else {})}
    raise StoreError(f"no server-side encryption '{asked}'. It is sse-s3, sse-kms or sse-kms:KEY-ID")


def _kind(path: str) -> dict[str, str]:
    """The media type of what a browser opens."""
    kinds = {".html": "text/html; charset=utf-8", ".json": "application/json"}
    kind = kinds.get(Path(path).suffix)
    return {"ContentType": kind} if kind else {}
