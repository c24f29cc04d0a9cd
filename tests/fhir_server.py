"""A FHIR server with Bulk Data Access for the tests: it serves a folder of NDJSON, checks who asks, and fails as real servers do.

with FhirService(folder) as server:
    server.faults = ["expired"]          # once each, in this order, where they can happen
    ... server.url ...
server.said                              # what it was asked: (method, path without the query's values)
"""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

TRANSACTION_TIME = "2026-03-01T12:00:00Z"


@dataclass
class FhirService:
    """The server. public_key: of the client that may come; without one everybody may."""

    folder: Path
    public_key: Any = None
    client: str = "research-export"
    polls: int = 1
    """So often it says that the export is under way."""
    retry_after: str = "0"
    faults: list[str] = field(default_factory=list)
    """`429`, `429-date`, `500` (at the kick-off or the poll), `half` (a file breaks off), `half-for-ever`, `short` (a file ends within a
    line, with a length that agrees), `html` (a page in a file's place), `expired` (a link), `gone` (the whole export), `401` (the token has
    ended), `501`."""
    ranges: bool = True
    packed: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    """What the manifest says of a type's count, in the place of what is so."""
    token_seconds: int = 300
    token_files: bool = True
    files_url: str = ""
    redirect: str = ""
    """Where a file's address sends to."""
    binaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    certificate: tuple[str, str] | None = None
    pages: int = 1

    said: list[tuple[str, str]] = field(default_factory=list)
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    tokens_sent: list[tuple[str, str]] = field(default_factory=list)
    exports: int = 0
    removed: int = 0
    waited: int = 0
    generation: int = 0
    issued: dict[str, float] = field(default_factory=dict)
    sent_bytes: int = 0

    def __enter__(self) -> FhirService:
        service = self

        class Handler(_Handler):
            served = service

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        scheme, host = ("https", "localhost") if self.certificate else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self._http.server_address[1]}/fhir"

    def fails(self, *names: str) -> str | None:
        """The next fault, if it is one of these."""
        if self.faults and self.faults[0] in names:
            return self.faults[0] if self.faults[0].endswith("-for-ever") else self.faults.pop(0)
        return None

    def files(self) -> list[Path]:
        return [file for file in sorted(self.folder.glob("*.ndjson")) if file.name[0].isupper()]


class _Handler(BaseHTTPRequestHandler):
    served: FhirService
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.served.said.append(("GET", parts.path))
        self.served.tokens_sent.append((parts.path, self.headers.get("Authorization", "")))
        if parts.path == "/fhir/.well-known/smart-configuration":
            return self._json(200, {"token_endpoint": f"{self.served.url}/token"})
        if parts.path.startswith("/elsewhere/"):
            return self._file(parts.path)
        if not self._known(parts.path):
            return self._json(401, {"resourceType": "OperationOutcome", "issue": [{"code": "login", "diagnostics": "SECRET-WORDS"}]})
        if parts.path.endswith("$export"):
            return self._begin(parse_qs(parts.query))
        if parts.path == "/fhir/status/1":
            return self._status()
        if parts.path.startswith("/fhir/status/1/page"):
            return self._manifest(int(parts.path[-1]))
        if parts.path.startswith("/fhir/Binary/"):
            found = self.served.binaries.get(parts.path.rpartition("/")[2])
            return self._json(200, found) if found else self._json(404, {"resourceType": "OperationOutcome", "issue": [{"code": "not-found"}]})
        if parts.path.startswith("/fhir/files/"):
            return self._file(parts.path)
        return self._json(404, {})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.served.said.append(("POST", urlsplit(self.path).path))
        claims = jwt.decode(
            form["client_assertion"][0], self.served.public_key, algorithms=["RS384", "ES384"], audience=f"{self.served.url}/token", leeway=5
        )
        fine = claims["iss"] == claims["sub"] == self.served.client and claims["exp"] - time.time() <= 300 and "jti" in claims
        if not fine or form["grant_type"] != ["client_credentials"] or not form["scope"]:
            return self._json(400, {"error": "invalid_client", "error_description": "SECRET-WORDS"})
        token = f"token-{len(self.served.issued)}"
        self.served.issued[token] = time.time() + self.served.token_seconds
        return self._json(200, {"access_token": token, "token_type": "bearer", "expires_in": self.served.token_seconds})

    def do_DELETE(self) -> None:
        self.served.said.append(("DELETE", urlsplit(self.path).path))
        self.served.removed += 1
        self._json(202, {})

    def _known(self, path: str) -> bool:
        if self.served.public_key is None or (path.startswith("/fhir/files/") and not self.served.token_files):
            return True
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.served.fails("401"):
            self.served.issued[token] = 0.0
        return self.served.issued.get(token, 0) > time.time()

    def _begin(self, asked: dict[str, list[str]]) -> None:
        fault = self.served.fails("429", "429-date", "500", "501")
        if fault:
            return self._fault(fault)
        assert self.headers["Prefer"] == "respond-async"
        self.served.asked.append(asked)
        self.served.exports += 1
        self.served.waited = 0
        return self._answer(202, b"", {"Content-Location": f"{self.served.url}/status/1"})

    def _status(self) -> None:
        fault = self.served.fails("429-poll", "500-poll", "gone")
        if fault == "gone":
            return self._json(404, {})
        if fault:
            return self._fault(fault.removesuffix("-poll"))
        if self.served.waited < self.served.polls:
            self.served.waited += 1
            return self._answer(202, b"", {"Retry-After": self.served.retry_after, "X-Progress": "37% done, Mrs. Planted is next"})
        self.served.generation += 1
        return self._manifest(0)

    def _manifest(self, page: int) -> None:
        base = self.served.files_url or f"{self.served.url}/files"
        wanted = set(",".join(self.served.asked[-1].get("_type", [])).split(",")) - {""}
        output = []
        for file in self.served.files():
            kind = file.name.split(".")[0]
            if not wanted or kind in wanted:
                count = self.served.counts.get(kind, sum(1 for line in file.open("rb") if line.strip()))
                output.append({"type": kind, "url": f"{base}/{self.served.generation}/{file.name}?signature=SECRET-LINK", "count": count})
        size = -(-len(output) // self.served.pages)
        manifest: dict[str, Any] = {
            "transactionTime": TRANSACTION_TIME,
            "request": f"{self.served.url}/$export",
            "requiresAccessToken": self.served.public_key is not None and self.served.token_files,
            "output": output[page * size : (page + 1) * size],
            "deleted": [{"type": "Bundle", "url": f"{base}/{self.served.generation}/deleted"}] if self.served.deleted and not page else [],
            "error": [{"type": "OperationOutcome", "url": f"{base}/{self.served.generation}/error"}] if self.served.errors and not page else [],
        }
        if page + 1 < self.served.pages:
            manifest["link"] = [{"relation": "next", "url": f"{self.served.url}/status/1/page{page + 1}"}]
        return self._json(200, manifest)

    def _file(self, path: str) -> None:
        *_, generation, name = path.split("/")
        if self.served.redirect and not path.startswith("/elsewhere/"):
            return self._answer(307, b"", {"Location": f"{self.served.redirect}/{generation}/{name}"})
        if int(generation) < self.served.generation or self.served.fails("expired"):
            self.served.faults = [one for one in self.served.faults if one != "expired"]
            return self._json(403, {})
        if name == "deleted":
            gone = [{"request": {"method": "DELETE", "url": one}} for one in self.served.deleted]
            return self._answer(200, json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": gone}).encode() + b"\n")
        if name == "error":
            lines = [json.dumps({"resourceType": "OperationOutcome", "issue": [{"diagnostics": one}]}) for one in self.served.errors]
            return self._answer(200, "\n".join(lines).encode())
        data = (self.served.folder / name).read_bytes()
        fault = self.served.fails("429-file", "500-file", "half", "half-for-ever", "short", "html")
        if fault in ("429-file", "500-file"):
            return self._fault(fault.removesuffix("-file"))
        if fault == "html":
            return self._answer(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
        if fault == "short":
            data = data[: len(data) * 2 // 3]
        headers = {"Content-Type": "application/fhir+ndjson", "ETag": f'"{name}"'}
        if self.served.packed:
            data = gzip.compress(data, mtime=0)
            headers["Content-Encoding"] = "gzip"
        asked = self.headers.get("Range")
        status, start = 200, 0
        if asked and self.served.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(data) - 1}/{len(data)}"
        data = data[start:]
        self.served.sent_bytes += len(data) // 2 if fault else len(data)
        return self._answer(status, data, headers, cut=len(data) // 2 if fault in ("half", "half-for-ever") else None)

    def _fault(self, name: str) -> None:
        later = {"429": "0", "429-date": format_datetime(datetime.now(UTC) + timedelta(seconds=0.2), usegmt=True)}.get(name)
        outcome = {"resourceType": "OperationOutcome", "issue": [{"code": "throttled" if later else "exception", "diagnostics": "Planted"}]}
        self._answer(int(name[:3]), json.dumps(outcome).encode(), {"Retry-After": later} if later is not None else {})

    def _json(self, status: int, value: Any) -> None:
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/fhir+json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.close_connection = True
