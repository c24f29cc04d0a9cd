"""Holds a trail against itself, its head, and the keys that may sign it; says every line that is not as it was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anonymize.trail.files import Trail, head_message, read_head
from anonymize.trail.lines import ACTIONS, GENESIS, Line, digest, parse
from anonymize.trail.signing import Public


@dataclass(frozen=True)
class Finding:
    """line: counted from 1 in the file; 0: the head. crash: what a killed writer leaves, and the next one puts right."""

    line: int
    what: str
    crash: bool = False

    def __str__(self) -> str:
        return f"{f'line {self.line:,}' if self.line else 'head'}: {self.what}"


@dataclass(frozen=True)
class Verification:
    """lines: whole ones; head: number and hash of the last, to be noted elsewhere and held against later; signed: by whom, in words."""

    lines: int
    head: str
    signed: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing was found but what a crash leaves."""
        return all(finding.crash for finding in self.findings)


def verify(trail: Trail, *, public: Sequence[Public] = (), witness: str | None = None) -> Verification:
    """Read a trail from its first line to its head.

    public: the keys that may have signed it; none: the head's own, which nobody vouches for then. witness: `N:HASH`, a head that was noted
    earlier and must still stand on the chain; without one, a trail and head that were put back together to an earlier day cannot be told.
    Finds any line that was changed, cut, added or put elsewhere, and the end that was cut off.
    """
    data = trail.head_bytes()
    head = read_head(data)
    known = {key.id: key for key in public}
    vouched = bool(known)
    if not known and head is not None and head["public"] is not None:
        known = {key.id: key for key in _embedded(head)}
    findings: list[Finding] = []
    hashes: dict[int, str] = {}
    last, number, signers, unsigned = None, 0, set[str](), 0
    for number, raw in enumerate(trail.lines(), 1):
        if not raw.endswith(b"\n"):
            cut = head is not None and head["n"] >= number
            what = "is cut off" if cut else "is cut off: its writer was killed. The next action keeps it aside and says so"
            findings.append(Finding(number, what, crash=not cut))
            number -= 1
            break
        line = parse(raw)
        if line is None:
            findings.append(Finding(number, "is no line of a trail: it was changed"))
        else:
            findings += _one(number, line, last, known)
            hashes[line.n] = line.hash
            signer = line.said.get("signer")
            if signer is not None:
                signers.add(str(signer))
            else:
                unsigned += 1
                if signers:
                    findings.append(Finding(number, "is not signed, and lines before it are"))
        last = line if line is not None else Line({"n": number, "prev": "", "action": ""}, "", None)
    findings += _head(data, head, last, number, known, bool(signers), vouched)
    if witness is not None:
        findings += _witnessed(witness, hashes)
    shown = f"{last.n}:{last.hash}" if last is not None else "0:"
    return Verification(number, shown, _signed(signers, unsigned, vouched), tuple(findings))


def _embedded(head: dict[str, Any]) -> Iterator[Public]:
    try:
        yield Public(bytes.fromhex(head["public"]))
    except (ValueError, TypeError):
        return


def _one(number: int, line: Line, last: Line | None, known: dict[str, Public]) -> Iterator[Finding]:
    expected = last.n + 1 if last else 1
    if line.n != expected:
        gap = f"lines {expected:,} to {line.n - 1:,} are gone before it" if line.n > expected else f"it is line {line.n:,}, put here"
        yield Finding(number, f"stands out of its order: {gap}")
    elif line.said["prev"] != (last.hash if last else GENESIS):
        yield Finding(number, "does not follow from the line before it: one of the two was changed")
    if digest(line.said) != line.hash:
        yield Finding(number, "was changed: it is not what its hash says")
    if line.action not in ACTIONS:
        yield Finding(number, "says an action that the trail does not know")
    signer = line.said.get("signer")
    if signer is None:
        if line.signature is not None:
            yield Finding(number, "has a signature of nobody")
    elif signer not in known:
        yield Finding(number, f"is signed by key {signer}, which is not among those that may sign")
    elif not known[signer].holds(line.signature, line.hash.encode()):
        yield Finding(number, "has a signature that does not fit")


def _head(
    data: bytes | None, head: dict[str, Any] | None, last: Line | None, lines: int, known: dict[str, Public], signed: bool, vouched: bool
) -> Iterator[Finding]:
    if head is None:
        if data is not None:
            yield Finding(0, "cannot be read: it was changed")
        elif last is not None:
            yield Finding(0, "is gone", crash=lines == 1)
        return
    if last is None:
        yield Finding(0, f"says {head['n']:,} lines, and there is none: the trail was cut")
    elif head["n"] > last.n:
        yield Finding(lines + 1, f"is gone, and all up to line {head['n']:,}: the trail was cut at its end")
    elif head["n"] < last.n - 1:
        yield Finding(0, f"names line {head['n']:,} as the last, and there are {last.n:,}")
    elif head["hash"] != (last.hash if head["n"] == last.n else last.said["prev"]):
        yield Finding(0, "names another line as the last than the one that stands there")
    elif head["n"] == last.n - 1:
        yield Finding(0, f"is one line behind: line {last.n:,} was written and its writer killed", crash=True)
    if head["public"] is None:
        if signed or vouched:
            yield Finding(0, "is not signed")
        elif head["signature"] is not None:
            yield Finding(0, "has a signature of nobody")
        return
    keys = [key for key in known.values() if key.hex == head["public"]]
    if not keys:
        yield Finding(0, "is signed by a key that is not among those that may sign")
    elif not keys[0].holds(head["signature"], head_message(head)):
        yield Finding(0, "has a signature that does not fit")


def _witnessed(witness: str, hashes: dict[int, str]) -> Iterator[Finding]:
    number, _, expected = witness.partition(":")
    if not number.isdecimal() or hashes.get(int(number)) != expected:
        yield Finding(int(number) if number.isdecimal() else 0, "is not the line that was noted: the trail was written anew or put back")


def _signed(signers: set[str], unsigned: int, vouched: bool) -> str:
    if not signers:
        return "not signed: whoever can write the folder can write the whole trail anew. Name a key in the policy, trail: {key: …}"
    by = f"signed by {', '.join(sorted(signers))}"
    first = f"; the first {unsigned:,} lines are older than the signing" if unsigned else ""
    return by + first + ("" if vouched else ". Nobody vouched for that key: give the one that you know with --public")
