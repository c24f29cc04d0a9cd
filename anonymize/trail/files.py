"""The trail's files, and how a line is appended so that no crash and no second writer makes it untrue.

    <folder>/trail.jsonl     the lines
    <folder>/head.json       number and hash of the last line, signed; replaced in one step after each line
    <folder>/torn/           what a crash left of a line, kept as it was found
    <folder>/lock

Under the lock: what a crash left is mended and recorded, the line is written and flushed, then the head. A writer that is killed between
the two leaves a head that is one line behind, which the next writer takes as its own where the line fits (and is signed by its key).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anonymize.errors import AnonymizeError
from anonymize.trail.lines import GENESIS, Line, canonical, digest, parse
from anonymize.trail.signing import Signer

LINES, HEAD, TORN, LOCK = "trail.jsonl", "head.json", "torn", "lock"
_CHUNK = 1 << 16


class TrailBroken(AnonymizeError):
    """The trail is not as it was left, so nothing is added to it: what was done to it comes first."""

    exit_code = 11


class Trail:
    """The trail in a folder. signer: None for a trail that is chained but not signed."""

    def __init__(self, folder: Path, signer: Signer | None = None) -> None:
        self.folder, self.signer = folder, signer

    def append(self, said: dict[str, Any], *, once: bool = False) -> Line:
        """Add a line; n, prev and the seals are added to what is said. It is on the disk when this returns.

        once: give back a line that says the same of the same run, where one stands. Raises TrailBroken, OSError.
        """
        with self._locked():
            last = self._mended()
            if once and (before := self._said_before(said)) is not None:
                return before
            return self._write(said, last)

    def lines(self) -> Iterator[bytes]:
        """Every line as it stands, with its line end; the last may lack it."""
        file = self.folder / LINES
        if file.exists():
            with file.open("rb") as lines:
                yield from lines

    def head(self) -> dict[str, Any] | None:
        """What the head says; None where there is none, or none that can be read."""
        return read_head(self.head_bytes())

    def head_bytes(self) -> bytes | None:
        """The head as it stands."""
        file = self.folder / HEAD
        return file.read_bytes() if file.exists() else None

    # ----------------------------------------------------------------------------------------------------------------- within the lock

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _mended(self) -> Line | None:
        """The last line, after what a crash left is put right; None where there is none yet. Raises TrailBroken."""
        data, torn = self._tail()
        last = parse(data) if data is not None else None
        if data is not None and last is None:
            raise self._broken("its last line is no line of a trail")
        head = self._sound_head(last)
        if torn:
            if (head is not None and last is not None and head["n"] > last.n) or (head is not None and last is None):
                raise self._broken("its last line is cut, and its head says that it was whole")
            last = self._keep_aside(torn, last)
        return last

    def _sound_head(self, last: Line | None) -> dict[str, Any] | None:
        """The head, where it fits the last line or is one behind, as a crash leaves it."""
        data = self.head_bytes()
        head = read_head(data)
        if data is not None and head is None:
            raise self._broken("its head cannot be read")
        if head is None:
            if last is not None and last.n > 1:
                raise self._broken("its head is gone")
        elif last is None:
            raise self._broken(f"its head says {head['n']:,} lines, and there is none")
        elif head["n"] not in (last.n, last.n - 1):
            raise self._broken(f"it ends with line {last.n:,}, and its head says line {head['n']:,}")
        elif head["hash"] != (last.hash if head["n"] == last.n else last.said["prev"]):
            raise self._broken(f"line {last.n:,} is not the one that its head names")
        if last is not None and digest(last.said) != last.hash:
            raise self._broken(f"line {last.n:,} was changed")
        self._ours(head, last)
        return head

    def _ours(self, head: dict[str, Any] | None, last: Line | None) -> None:
        """What another could have written in our name. A trail that is signed stays signed."""
        signed = (last is not None and last.said["signer"] is not None) or (head is not None and head["public"] is not None)
        if signed and self.signer is None:
            raise self._broken("it is signed, and this policy names no key to sign with (trail: {key: …})")
        if self.signer is None:
            return
        public = self.signer.public
        if head is not None and head["public"] == public.hex and not public.holds(head["signature"], head_message(head)):
            raise self._broken("its head's signature does not fit")
        if last is not None and last.said["signer"] == public.id and not public.holds(last.signature, last.hash.encode()):
            raise self._broken(f"the signature of line {last.n:,} does not fit")
        behind = last is not None and (head is None or head["n"] < last.n)
        if behind and head is not None and head["public"] is not None and last is not None and last.said["signer"] is None:
            raise self._broken(f"line {last.n:,} was added after the head without a signature")

    def _broken(self, what: str) -> TrailBroken:
        return TrailBroken(
            f"the audit trail {self.folder} is not as it was left: {what}. Nothing is added to it. Look: anonymize audit verify "
            f"{self.folder}. To begin a new one, move the folder to a safe place; docs/steward.md says who must know"
        )

    def _keep_aside(self, torn: bytes, last: Line | None) -> Line:
        """Take what a crash left of a line out of the trail, keep it as it is, and say so in the trail."""
        number = last.n + 1 if last else 1
        kept = self.folder / TORN / f"line-{number:06}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.part"
        write_whole(kept, torn)
        with (self.folder / LINES).open("r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - len(torn))
            os.fsync(file.fileno())
        facts = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest(), "kept": kept.name}
        said = {"action": "repaired", "at": datetime.now(UTC).isoformat(timespec="milliseconds"), "who": "anonymize", "facts": facts}
        nothing = dict.fromkeys(("dataset", "run", "policy_sha256", "code_version", "key_id"))
        return self._write({**nothing, **said}, last)

    def _write(self, said: dict[str, Any], last: Line | None) -> Line:
        signer = self.signer.public.id if self.signer else None
        full = {**said, "n": last.n + 1 if last else 1, "prev": last.hash if last else GENESIS, "signer": signer}
        sealed = digest(full)
        line = Line(full, sealed, self.signer.sign(sealed.encode()) if self.signer else None)
        _append(self.folder / LINES, line.to_bytes())
        head: dict[str, Any] = {"n": line.n, "hash": line.hash, "public": self.signer.public.hex if self.signer else None}
        head["signature"] = self.signer.sign(head_message(head)) if self.signer else None
        write_whole(self.folder / HEAD, canonical(head) + b"\n")
        return line

    def _tail(self) -> tuple[bytes | None, bytes]:
        """The last whole line, None where there is none, and what stands after it; read from the end, for a trail is long."""
        file = self.folder / LINES
        if not file.exists():
            return None, b""
        with file.open("rb") as lines:
            at, data = lines.seek(0, os.SEEK_END), b""
            while at > 0 and data.count(b"\n") < 2:
                step = min(_CHUNK, at)
                at = lines.seek(at - step)
                data = lines.read(step) + data
        whole, end, torn = data.rpartition(b"\n")
        return (whole.rpartition(b"\n")[2] + b"\n" if end else None), torn

    def _said_before(self, said: dict[str, Any]) -> Line | None:
        same = ("action", "dataset", "run", "facts")
        for data in self.lines():
            line = parse(data)
            if line is not None and all(line.said.get(name) == said[name] for name in same):
                return line
        return None


def head_message(head: dict[str, Any]) -> bytes:
    """What the head's signature is over."""
    return b"anonymize trail head\x00" + canonical({name: head[name] for name in ("n", "hash", "public")})


def read_head(data: bytes | None) -> dict[str, Any] | None:
    """A head in the one way that it is written; None where it is another."""
    try:
        head = json.loads(data or b"")
        whole = isinstance(head, dict) and set(head) == {"n", "hash", "public", "signature"} and isinstance(head["n"], int)
        return head if whole and canonical(head) + b"\n" == data else None
    except ValueError:
        return None


def _append(file: Path, data: bytes) -> None:
    """Add bytes at the end and flush them. What was written of them is taken back where the disk takes no more."""
    new = not file.exists()
    with open(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0) as out:
        before = out.seek(0, os.SEEK_END)
        try:
            if out.write(data) != len(data):
                raise OSError(28, "No space left on device")
            os.fsync(out.fileno())
        except OSError:
            out.truncate(before)
            raise
    if new:
        _sync(file.parent)


def write_whole(file: Path, data: bytes) -> None:
    """A private file that is there whole or not at all, and stays."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_name(f".{file.name}.tmp")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    os.replace(fresh, file)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
