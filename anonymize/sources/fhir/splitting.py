"""Files of many resource types, parted by type: once a run, into its private folder, or each time anew where there is none."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from anonymize.sources.base import Malformed
from anonymize.sources.fhir.reading import Resource, resources

STATE = "parted.json"
#: Lines of what fell out: a reason and the raw text.
FALLEN = "fallen-out.jsonl"


class Split(Protocol):
    """Files, parted."""

    def kinds(self) -> Collection[str]:
        """The kinds of resource that are there."""
        ...

    def items(self, kind: str) -> Iterator[Resource | Malformed]:
        """All of a kind; under '' what fell out."""
        ...

    def files(self, kind: str) -> list[Path]:
        """Where a kind lies, one resource a line; nothing where it was not written down."""
        ...

    def told(self, kind: str) -> dict[str, Any]:
        """`duplicates`: resources of a kind that came more than once."""
        ...


def split(files: list[Path], room: Path | None) -> Split:
    """Part files by resource type; in `room` what was parted before from the same files is taken as it is."""
    return _written(files, room) if room is not None and files else _Streamed(files)


@dataclass
class _Once:
    """Lets a resource pass once: Bundles repeat what they share (the practitioners of each patient). What comes again under the same id with
    other words is no repetition: it falls out, for nobody can say which is right. In memory: 150 bytes a resource."""

    met: dict[bytes, bytes] = field(default_factory=dict)
    repeated: Counter[str] = field(default_factory=Counter)

    def __call__(self, item: Resource) -> Resource | Malformed | None:
        id = item.record.get("id")
        if not isinstance(id, str):
            return item
        content = blake2b(item.raw, digest_size=12).digest()
        key = blake2b(f"{item.kind}/{id}".encode("utf-8", "surrogatepass"), digest_size=12).digest()
        before = self.met.setdefault(key, content)
        if before is content:
            return item
        if before == content:
            self.repeated[item.kind] += 1
            return None
        return Malformed(0, "other-version", raw=item.raw.decode("utf-8", "replace"))


def _parted(files: list[Path], once: _Once) -> Iterator[Resource | Malformed]:
    for file in files:
        for item in resources(file):
            if isinstance(item, Resource) and not item.kind:
                yield Malformed(0, "no-resource", raw=item.raw.decode("utf-8", "replace"))
            else:
                found = once(item) if isinstance(item, Resource) else item
                if found is not None:
                    yield found


@dataclass
class _Streamed:
    paths: list[Path]
    _kinds: set[str] | None = None
    _repeated: Counter[str] = field(default_factory=Counter)

    def kinds(self) -> Collection[str]:
        if self._kinds is None:
            self._kinds = {item.kind for item in _parted(self.paths, _Once()) if isinstance(item, Resource)}
        return self._kinds

    def items(self, kind: str) -> Iterator[Resource | Malformed]:
        once = _Once()
        for item in _parted(self.paths, once):
            if (item.kind if isinstance(item, Resource) else "") == kind:
                yield item
        self._repeated = once.repeated

    def files(self, kind: str) -> list[Path]:  # noqa: ARG002
        return []

    def told(self, kind: str) -> dict[str, Any]:
        return {"duplicates": self._repeated[kind]}


@dataclass
class _Parted:
    room: Path
    state: dict[str, Any]

    def kinds(self) -> Collection[str]:
        return set(self.state["kinds"])

    def items(self, kind: str) -> Iterator[Resource | Malformed]:
        if kind:
            for file in self.files(kind):
                yield from resources(file)
        elif (self.room / FALLEN).exists():
            with (self.room / FALLEN).open(encoding="utf-8") as lines:
                for line in lines:
                    reason, raw = json.loads(line)
                    yield Malformed(0, reason, raw=raw)

    def files(self, kind: str) -> list[Path]:
        return [self.room / self.state["kinds"][kind]] if kind in self.state["kinds"] else []

    def told(self, kind: str) -> dict[str, Any]:
        return {"duplicates": self.state["duplicates"].get(kind, 0)}


def _written(files: list[Path], room: Path) -> Split:
    room.mkdir(parents=True, exist_ok=True, mode=0o700)
    told = sha256(json.dumps([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]).encode()).hexdigest()
    with alone(room.parent / f"{room.name}.lock"):
        if (room / STATE).exists():
            state = json.loads((room / STATE).read_text())
            if state["files"] == told:
                return _Parted(room, state)
        shutil.rmtree(room)
        room.mkdir(mode=0o700)
        state = _part(files, room) | {"files": told}
        fresh = room / f"{STATE}.part"
        fresh.write_text(json.dumps(state))
        fresh.replace(room / STATE)
    return _Parted(room, state)


def _part(files: list[Path], room: Path) -> dict[str, Any]:
    once, names = _Once(), dict[str, str]()
    with ExitStack() as stack:
        fallen = stack.enter_context((room / FALLEN).open("w", encoding="utf-8"))
        opened: dict[str, BinaryIO] = {}
        for item in _parted(files, once):
            if isinstance(item, Malformed):
                fallen.write(json.dumps([item.reason, item.raw]) + "\n")
                continue
            if item.kind not in opened:
                # A kind is what a file says, so it names no file of ours; there are some 150, and who makes up more gets one for all.
                names[item.kind] = f"{len(names)}.ndjson"
                opened[item.kind] = stack.enter_context((room / names[item.kind]).open("wb"))
            opened[item.kind].write(b" ".join(item.raw.split(b"\n")).strip() + b"\n")
    return {"kinds": names, "duplicates": dict(once.repeated)}


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock; who comes second waits. It goes with its process."""
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
