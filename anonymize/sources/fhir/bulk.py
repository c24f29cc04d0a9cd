"""A FHIR server's bulk export: asked for, waited for, fetched, and taken back; a run that is killed goes on with the same export.

    export = Export(settings, where=…, room=run's private folder, types=["Patient"])
    export.ensure()                  # or begin(), poll() until it gives None, load(): as an orchestrator waits
    export.files                     # a folder of NDJSON
    export.transaction_time          # the next export's `since`

Source: HL7 FHIR Bulk Data Access 2.0.0 (STU 2); of 3.0 the manifest of several pages.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from anonymize.errors import SourceError
from anonymize.policy.origins import FhirSource
from anonymize.sources.fhir.asking import PASSING, TRIES, Asker, Refused, retry_after
from anonymize.sources.fhir.smart import Tokens
from anonymize.sources.fhir.splitting import alone
from anonymize.sources.opening import open_bytes

STATE = "export.json"
#: Seconds between two questions whether an export is done, where the server does not say: the first pause, and the longest.
POLL_FIRST, POLL_LONGEST = 5.0, 300.0
#: So often an export that is gone is begun anew, and a file that came short is fetched again.
ANEW, SHORT = 2, 2
NDJSON = ("application/fhir+ndjson", "application/ndjson", "application/x-ndjson", "application/jsonl")
#: What servers of files say of any file.
UNTOLD = ("", "application/octet-stream", "binary/octet-stream", "text/plain", "application/fhir+json", "application/json")
#: Resources whose attachments are looked for.
ATTACHED = ("DocumentReference", "DiagnosticReport", "Media")
#: Bytes of one attachment.
ATTACHMENT = 64 << 20
FHIR_JSON = {"Accept": "application/fhir+json"}


@dataclass(frozen=True)
class Waiting:
    """An export that is not done: seconds until it is worth asking again, and what the server says of its progress (a share, or nothing)."""

    seconds: float
    progress: str = ""


class _Gone(Exception):
    """The export, or its files, are no longer there."""


class Export:
    """One export of one run. room: a private folder, which holds PHI and addresses that can hold secrets."""

    def __init__(
        self,
        settings: FhirSource,
        *,
        url: str,
        where: str,
        room: Path,
        types: Sequence[str] = (),
        since: datetime | None = None,
        connections: Callable[[str], str] | None = None,
        say: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
        ca: Path | None = None,
    ) -> None:
        self.settings, self.where, self.room, self.say = settings, where, room, say
        self.since = since or settings.since
        self.types = tuple(settings.types or sorted(types))
        base = url.rstrip("/")
        http = httpx.Client(verify=_tls(ca, where), follow_redirects=False, timeout=httpx.Timeout(60.0, connect=20.0), trust_env=False)
        self._asker = Asker(base, where, http, Tokens(settings.auth, base, where, http, connections), sleep)
        self._asker.allowed(base, token=False)
        self.state: dict[str, Any] = {}

    # ------------------------------------------------------------------------------------------------------------------ the steps

    def ensure(self) -> None:
        """Have the export here, whatever of it is done. Others who want the same one wait."""
        with alone(self.room / "export.lock"):
            for _ in range(ANEW + 1):
                self.begin()
                deadline = self.state["begun"] + self.settings.timeout_hours * 3600
                while (waiting := self.poll()) is not None:
                    if time.time() + waiting.seconds > deadline:
                        self._end()
                        hours = f"{self.settings.timeout_hours:g} hours"
                        raise SourceError(f"{self.where}: the export is not done after {hours}. Raise 'timeout-hours', or ask for less")
                    self.say(f"{self.where}: the export is under way{f', {waiting.progress}' if waiting.progress else ''}")
                    self._asker.sleep(waiting.seconds)
                if self.load():
                    return
            raise SourceError(f"{self.where}: the export was gone {ANEW + 1} times before it was fetched. Ask for less at a time")

    def begin(self) -> None:
        """Ask for the export, unless that was done."""
        self._read()
        if self.state.get("request") == self._request_hash and "status" in self.state:
            return
        shutil.rmtree(self.files, ignore_errors=True)
        answer = self._asker.ask("GET", self._kickoff, params=self._parameters(), headers=FHIR_JSON | {"Prefer": "respond-async"}, once=True)
        location = answer.headers.get("Content-Location")
        if answer.status_code != 202 or not location:
            hint = "Does it support this export? 'types' may name what it does not have" if answer.status_code in (400, 404, 422) else _RIGHTS
            raise self._asker.refuse(f"the server does not begin an export. {hint}", answer)
        restarts = self.state.get("restarts", 0)
        self.state = {"request": self._request_hash, "status": location, "begun": time.time(), "polls": 0, "restarts": restarts}
        self._write()

    def poll(self) -> Waiting | None:
        """Whether the export is done: how long to wait, or None where its files can be fetched."""
        self._read()
        if "manifest" in self.state:
            return None
        answer = self._asker.ask("GET", self.state["status"], headers={"Accept": "application/json"})
        if answer.status_code == 202:
            self.state["polls"] += 1
            self._write()
            usual = min(POLL_FIRST * 1.5 ** min(self.state["polls"] - 1, 20), POLL_LONGEST)
            wait = retry_after(answer)
            return Waiting(usual if wait is None else max(wait, 0.05), _share(answer.headers.get("X-Progress", "")))
        if answer.status_code in (404, 410):
            self._forget()
            self.begin()
            return Waiting(POLL_FIRST)
        if answer.status_code != 200:
            raise self._asker.refuse("the export failed at the server", answer)
        self._manifest(answer)
        return None

    def load(self) -> bool:
        """Fetch all files, and take the export back at the server. False where the export was gone: it is to be begun anew."""
        self._read()
        if self.state.get("done"):
            return True
        self.files.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            for entry in self.state["files"]:
                if not entry.get("done"):
                    self._fetch(entry)
            if self.settings.attachments:
                self._attachments()
        except _Gone:
            self._forget()
            return False
        self._end()
        self.state["done"] = True
        self._write()
        return True

    # --------------------------------------------------------------------------------------------------------------- what is here

    @property
    def files(self) -> Path:
        """The folder of what was exported."""
        return self.room / "files"

    @property
    def transaction_time(self) -> datetime | None:
        """What the export is as of: the `since` of the next one."""
        self._read()
        try:
            return datetime.fromisoformat(self.state["manifest"]["transactionTime"].replace("Z", "+00:00"))
        except (KeyError, ValueError, AttributeError):
            return None

    def missing(self, kind: str) -> int:
        """How many resources of a kind the server said that it has, and did not send."""
        self._read()
        return sum(one.get("missing", 0) for one in self.state.get("files", []) if one["use"] == "output" and one["type"] == kind)

    def counts(self) -> dict[str, int]:
        """Files, bytes, what the server could not export (`errors`), attachments that were not there."""
        self._read()
        files = self.state.get("files", [])
        return {
            "export_files": len(files),
            "export_bytes": sum(one.get("bytes", 0) for one in files),
            "export_errors": sum(one.get("lines", 0) for one in files if one["use"] == "error"),
            "attachments_missing": self.state.get("attachments_missing", 0),
        }

    def deleted(self) -> Iterator[str]:
        """`Patient/17` of each resource that was deleted at the server since `since`."""
        for file in sorted((self.room / "files" / "deleted").glob("*")):
            with open_bytes(file) as lines:
                for line in lines:
                    for entry in (json.loads(line) if line.strip() else {}).get("entry", []):
                        request = entry.get("request", {})
                        if request.get("method") == "DELETE" and isinstance(request.get("url"), str):
                            yield "/".join(request["url"].rstrip("/").split("/")[-2:])

    # ----------------------------------------------------------------------------------------------------------------- the server

    @property
    def _kickoff(self) -> str:
        if self.settings.group is not None:
            if not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", self.settings.group):
                raise SourceError(f"{self.where}: 'group' is no id of FHIR's")
            return f"{self._asker.base}/Group/{self.settings.group}/$export"
        return f"{self._asker.base}/{'Patient/' if self.settings.level == 'patient' else ''}$export"

    def _parameters(self) -> list[tuple[str, str]]:
        given = [("_outputFormat", "application/fhir+ndjson")]
        if self.types:
            given.append(("_type", ",".join(self.types)))
        if self.since is not None:
            given.append(("_since", self.since.isoformat().replace("+00:00", "Z")))
        return given + [("_typeFilter", one) for one in self.settings.filters]

    @property
    def _request_hash(self) -> str:
        return sha256(json.dumps([self._kickoff, self._parameters()]).encode()).hexdigest()

    def _manifest(self, answer: httpx.Response) -> None:
        """Take down what is to be fetched; entries that were fetched stay so."""
        whole = _manifest_of(answer)
        pages, following = 1, _next(whole) if whole else None
        while whole is not None and following is not None and pages < 10_000:
            page = _manifest_of(self._asker.ask("GET", following, headers={"Accept": "application/json"}))
            if page is None:
                whole = None
                break
            for use in ("output", "deleted", "error"):
                whole[use] = [*(whole.get(use) or []), *(page.get(use) or [])]
            pages, following = pages + 1, _next(page)
        if whole is None:
            raise SourceError(f"{self.where}: what the server gives as the export's manifest is none. Tell whoever runs it")
        entries = [(use, one) for use in ("output", "deleted", "error") for one in whole.get(use) or [] if isinstance(one, dict)]
        if not all(isinstance(one.get("url"), str) for _, one in entries):
            raise SourceError(f"{self.where}: the export's manifest names a file without its address. Tell whoever runs the server")
        before = self.state.get("files", [])
        fresh = []
        for number, (use, one) in enumerate(entries):
            kind = one.get("type") if isinstance(one.get("type"), str) and re.fullmatch("[A-Za-z]{1,60}", one["type"]) else "Resource"
            count = one.get("count") if isinstance(one.get("count"), int) and one["count"] >= 0 else None
            known = before[number] if number < len(before) and (before[number]["use"], before[number]["type"]) == (use, kind) else {}
            fresh.append(known | {"use": use, "type": kind, "url": one["url"], "count": count, "number": number})
        self.state |= {"manifest": {"transactionTime": whole.get("transactionTime")}, "files": fresh}
        self.state["token"] = whole.get("requiresAccessToken") is True
        self._write()

    def _fresh_links(self) -> None:
        """Ask for the manifest again: its links have ended. Raises _Gone where the export has, too."""
        answer = self._asker.ask("GET", self.state["status"], headers={"Accept": "application/json"})
        if answer.status_code != 200:
            raise _Gone
        self._manifest(answer)

    def _end(self) -> None:
        """Tell the server that it may remove the export. Where it does not listen, its files end by themselves."""
        try:
            self._asker.ask("DELETE", self.state["status"])
        except SourceError:
            self.say(f"{self.where}: the server did not take the export back")

    # ------------------------------------------------------------------------------------------------------------------ the files

    def _fetch(self, entry: dict[str, Any]) -> None:
        """One file, in parts where it breaks off; again where it came short."""
        number, short = entry["number"], 0
        refreshed = False
        for attempt in range(TRIES):
            entry = self.state["files"][number]
            try:
                self._part(entry)
            except (httpx.TransportError, _Passing) as error:
                if attempt == TRIES - 1:
                    what = f"a file of the export breaks off again and again ({type(error).__name__.strip('_')})"
                    raise SourceError(f"{self.where}: {what}. Try again later") from None
                self._asker.pause(attempt, error.wait if isinstance(error, _Passing) else None)
                continue
            except Refused as error:
                # A link that has ended says 401, 403, 404 or 410: there may be a fresh one.
                if error.status not in (401, 403, 404, 410):
                    raise
                if refreshed:
                    raise _Gone from None
                refreshed = True
                self._fresh_links()
                continue
            lines, whole = _lines(self._partial(entry))
            entry["lines"] = lines
            if (whole and lines >= (entry["count"] or 0)) or short == SHORT:
                entry["missing"] = max((entry["count"] or 0) - lines, 0)
                self._whole(entry)
                return
            short += 1
            self._partial(entry).unlink()
        raise SourceError(f"{self.where}: a file of the export cannot be fetched (tried {TRIES} times). Try again later")

    def _part(self, entry: dict[str, Any]) -> None:
        """Fetch what is missing of a file into its `.part`."""
        partial = self._partial(entry)
        have = partial.stat().st_size if partial.exists() else 0
        headers = {"Accept": "application/fhir+ndjson", "Accept-Encoding": "gzip"}
        if have:
            headers |= {"Range": f"bytes={have}-", **({"If-Range": entry["etag"]} if entry.get("etag") else {})}
        with self._asker.stream(entry["url"], token=self.state["token"], headers=headers) as answer:
            if answer.status_code == 416 and have:
                # Nothing is left to send, or the file is another one by now: it is fetched whole.
                partial.unlink()
                raise _Passing(None)
            if answer.status_code in PASSING:
                raise _Passing(retry_after(answer))
            if answer.status_code not in (200, 206):
                raise self._asker.refuse("a file of the export is refused", answer)
            if not _is_ndjson(answer.headers.get("Content-Type", "")):
                raise _Passing(None)
            resumed = answer.status_code == 206
            if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                partial.unlink(missing_ok=True)
                raise _Passing(None)
            if not resumed:
                tag = answer.headers.get("ETag", "")
                entry["etag"] = tag if tag and not tag.startswith("W/") else None
                entry["packed"] = answer.headers.get("Content-Encoding", "").lower() == "gzip"
                self._write()
            self._save(answer, partial, append=resumed)
            entry["bytes"] = partial.stat().st_size

    def _save(self, answer: httpx.Response, partial: Path, *, append: bool) -> None:
        room = self.settings.largest_gb * 1e9 - sum(one.get("bytes", 0) for one in self.state["files"] if one.get("done"))
        with _private(partial, append) as out:
            # As it comes: in chunks of a size, what came before a break would be lost.
            for chunk in answer.iter_raw():
                out.write(chunk)
                if out.tell() > room:
                    self._end()
                    size = f"{self.settings.largest_gb:g} GB"
                    raise SourceError(f"{self.where}: the export is larger than {size}. Raise 'largest-gb', or ask for less")

    def _partial(self, entry: dict[str, Any]) -> Path:
        return self.files / f"{entry['number']:05}.part"

    def _whole(self, entry: dict[str, Any]) -> None:
        folder = self.files if entry["use"] == "output" else self.files / entry["use"]
        folder.mkdir(exist_ok=True, mode=0o700)
        # Only what the mapping reads lies among the output: errors and deletions are no resources.
        name = f"{entry['type']}.{entry['number']:05}.ndjson" + (".gz" if entry.get("packed") else "")
        self._partial(entry).replace(folder / name)
        entry["done"] = True
        self._write()
        done = sum(1 for one in self.state["files"] if one.get("done"))
        self.say(f"{self.where}: {done:,} of {len(self.state['files']):,} files of the export are here")

    # ------------------------------------------------------------------------------------------------------------------ attachments

    def _attachments(self) -> None:
        """Fetch the Binaries of this server that attachments have the address of, and no other address."""
        into = self.files / "Binary.attachments.ndjson"
        have = {one for file in self.files.glob("Binary.*") for one in _ids(file)}
        missing = 0
        with _private(into, True) as out:
            for url in self._addresses():
                id = url.rpartition("/")[2]
                if id in have:
                    continue
                have.add(id)
                found = self._binary(f"Binary/{id}")
                if found is None:
                    missing += 1
                    continue
                out.write(json.dumps(found | {"resourceType": "Binary", "id": id}).encode() + b"\n")
        if not into.stat().st_size:
            into.unlink()
        self.state["attachments_missing"] = missing

    def _addresses(self) -> Iterator[str]:
        """`Binary/17` of each attachment that has an address here and no data."""
        form = re.compile(rf"(?:{re.escape(self._asker.base)}/)?(Binary/[A-Za-z0-9.-]{{1,64}})(?:/_history/[A-Za-z0-9.-]+)?")
        for kind in ATTACHED:
            for file in sorted(self.files.glob(f"{kind}.*")):
                for line in _safe_lines(file):
                    for attachment in _with_address(line):
                        found = form.fullmatch(attachment["url"])
                        if found is not None:
                            yield found[1]

    def _binary(self, address: str) -> dict[str, Any] | None:
        answer = self._asker.ask("GET", address, headers=FHIR_JSON)
        if answer.status_code != 200 or len(answer.content) > ATTACHMENT:
            return None
        media = answer.headers.get("Content-Type", "")
        if "json" in media:
            try:
                found = answer.json()
            except ValueError:
                return None
            return found if isinstance(found, dict) and found.get("resourceType") == "Binary" else None
        return {"contentType": media, "data": base64.b64encode(answer.content).decode()}

    # ---------------------------------------------------------------------------------------------------------------------- state

    def _read(self) -> None:
        file = self.room / STATE
        if not self.state and file.exists():
            self.state = json.loads(file.read_text())

    def _write(self) -> None:
        self.room.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self.room / f"{STATE}.part"
        with _private(fresh, False) as out:
            out.write(json.dumps(self.state).encode())
        fresh.replace(self.room / STATE)

    def _forget(self) -> None:
        """The export is gone: what came of it is of another moment than what will come, so none of it stays."""
        restarts = self.state.get("restarts", 0) + 1
        if restarts > ANEW:
            raise SourceError(f"{self.where}: the export was gone {restarts} times before it was fetched. Ask for less at a time")
        shutil.rmtree(self.files, ignore_errors=True)
        self.state = {"restarts": restarts}
        self._write()


class _Passing(Exception):
    """A fault that may be over when it is tried again."""

    def __init__(self, wait: float | None) -> None:
        super().__init__()
        self.wait = wait


_RIGHTS = "Are the client's rights and the scope those of a bulk export?"


def _tls(ca: Path | None, where: str) -> ssl.SSLContext:
    """The server's certificate is always judged."""
    try:
        return ssl.create_default_context(cafile=str(ca)) if ca else httpx.create_ssl_context()
    except (OSError, ssl.SSLError):
        raise SourceError(f"{where}: 'ca' is no file of certificates (PEM)") from None


def _share(said: str) -> str:
    """`17 %` of what a server says of its progress; the rest of its words is withheld."""
    found = re.search(r"\b([0-9]{1,3})(?:\.[0-9]+)?\s?%", said)
    return f"{found[1]} %" if found else ""


def _manifest_of(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        found = answer.json() if answer.status_code == 200 else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("output"), list) else None


def _next(manifest: dict[str, Any]) -> str | None:
    links = manifest.get("link")
    found = (one.get("url") for one in links if isinstance(one, dict) and one.get("relation") == "next") if isinstance(links, list) else iter(())
    url = next(found, None)
    return url if isinstance(url, str) else None


def _is_ndjson(said: str) -> bool:
    return said.partition(";")[0].strip().lower() in NDJSON + UNTOLD


def _lines(file: Path) -> tuple[int, bool]:
    """The lines of a file that hold anything, and whether it is whole: not cut off in the middle of a line, or of what packs it."""
    lines, last = 0, b""
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            while line := stream.readline(256 << 20):
                if line.strip():
                    lines, last = lines + 1, line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return lines, False
    return lines, not last or last.endswith(b"\n") or last.rstrip().endswith(b"}")


def _private(file: Path, append: bool) -> BinaryIO:
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC), 0o600), "ab" if append else "wb")


def _safe_lines(file: Path) -> Iterator[dict[str, Any]]:
    with open_bytes(file) as stream:
        for line in stream:
            if b'"url"' in line:
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    yield found


def _with_address(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content = resource.get("content", resource.get("presentedForm"))
    for one in content if isinstance(content, list) else [content]:
        attachment = one.get("attachment", one) if isinstance(one, dict) else None
        if isinstance(attachment, dict) and isinstance(attachment.get("url"), str) and "data" not in attachment:
            yield attachment


def _ids(file: Path) -> Iterator[str]:
    with open_bytes(file) as stream:
        for line in stream:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and isinstance(found.get("id"), str):
                yield found["id"]
