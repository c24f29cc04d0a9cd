"""The audit trail: what it says, that it stays true under crashes and many writers, and that no change to it goes unseen."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize import trail
from anonymize.cli import cli
from anonymize.errors import AnonymizeError, KeyMissing
from anonymize.policy.loader import load
from anonymize.policy.model import Policy
from anonymize.trail import Trail, verify
from anonymize.trail import files as trail_files
from anonymize.trail.files import TrailBroken
from anonymize.trail.lines import GENESIS, canonical, digest, parse
from anonymize.trail.signing import Public, Signer
from tests.road import hospital

SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"  # RFC 8032, test 1: known to everybody
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def signed_policy(folder: Path, key: str = "env:TRAIL_KEY") -> Policy:
    folder.mkdir(parents=True, exist_ok=True)
    return load(hospital.policy(folder, hospital.POLICY + f"trail: {{key: '{key}'}}\n"))


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Policy:
    monkeypatch.setenv("TRAIL_KEY", SEED)
    return signed_policy(tmp_path)


def some(policy: Policy, number: int = 6) -> Trail:
    for n in range(number):
        trail.record(policy, "looked", who="A. Steward", run="small-1", page=f"page {n}")
    return trail.open_trail(policy)


def test_a_line_says_who_did_what_under_which_policy_code_and_key(policy: Policy) -> None:
    with trail.acting("Erin Engineer"):
        line = trail.record(policy, "asked", run="small-1", rows=3, files={"a.parquet": "ab"})
    said = line.said
    assert (said["n"], said["prev"], said["action"], said["who"]) == (1, GENESIS, "asked", "Erin Engineer")
    assert (said["dataset"], said["run"], said["policy_sha256"]) == ("small", "small-1", policy.sha256)
    assert said["code_version"]
    assert len(said["key_id"]) == 8
    assert said["facts"] == {"rows": 3, "files": {"a.parquet": "ab"}}
    assert said["signer"] == Public(bytes.fromhex(PUBLIC)).id
    folder = trail.folder_of(policy)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "trail.jsonl").stat().st_mode & 0o777 == 0o600
    found = verify(trail.open_trail(policy), public=[Public.read(PUBLIC)])
    assert (found.lines, found.findings) == (1, ())


def test_what_the_trail_does_not_know_or_cannot_hold_is_refused(policy: Policy) -> None:
    with pytest.raises(AnonymizeError, match="knows no action 'peeked'"):
        trail.record(policy, "peeked")
    with pytest.raises(AnonymizeError, match="'reason' has 2,001 characters"):
        trail.record(policy, "rejected", reason="x" * 2_001)
    with pytest.raises(AnonymizeError, match="'when' is a Path"):
        trail.record(policy, "looked", when=type("Path", (), {})())
    assert not list(trail.open_trail(policy).lines())


def test_what_is_done_again_after_a_crash_is_said_once(policy: Policy) -> None:
    first = trail.record(policy, "published", run="small-1", once=True, version="v1")
    trail.record(policy, "looked", run="small-1")
    assert trail.record(policy, "published", run="small-1", once=True, version="v1") == first
    assert trail.record(policy, "published", run="small-1", once=True, version="v2").n == 3


@pytest.mark.parametrize("given", ["seed", "pem", "file"])
def test_the_key_is_given_as_a_seed_a_pem_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "trail.pem").write_bytes(pem)
    monkeypatch.setenv("TRAIL_KEY", SEED if given == "seed" else pem.decode())
    signer = Signer.of("file:trail.pem" if given == "file" else "env:TRAIL_KEY", base=tmp_path)
    assert signer.public.hex == PUBLIC
    assert signer.public.holds(signer.sign(b"x"), b"x")


@pytest.mark.parametrize("value", [None, "", "brief words", "not hexadecimal, and not base64 either, of sixty-four characters!"])
def test_no_key_no_line(policy: Policy, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("TRAIL_KEY")
    if value is not None:
        monkeypatch.setenv("TRAIL_KEY", value)
    with pytest.raises(KeyMissing) as error:
        trail.record(policy, "looked")
    assert "openssl genpkey -algorithm ed25519" in str(error.value)
    assert not value or value not in str(error.value)


def test_a_key_in_the_policy_itself_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(AnonymizeError, match="A key itself has no place in a policy") as error:
        signed_policy(tmp_path, SEED)
    assert SEED not in str(error.value)


def test_without_a_key_it_is_chained_and_says_that_it_is_not_signed(tmp_path: Path) -> None:
    policy = load(hospital.policy(tmp_path))
    found = verify(some(policy))
    assert found.holds
    assert found.signed.startswith("not signed")


def test_signing_may_begin_and_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIL_KEY", SEED)
    bare, signing = load(hospital.policy(tmp_path)), signed_policy(tmp_path / "x")
    folder = trail.folder_of(signing)
    shutil.copytree(some(bare).folder, folder, dirs_exist_ok=True)
    some(signing, 2)
    found = verify(Trail(folder), public=[Public.read(PUBLIC)])
    assert found.holds
    assert "the first 6 lines are older than the signing" in found.signed
    with pytest.raises(TrailBroken, match="it is signed, and this policy names no key"):
        Trail(folder).append({"action": "looked"})


# ------------------------------------------------------------------------------------------------------------------ nothing unseen


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed trail of eight lines."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAIL_KEY", SEED)
        patch.setenv("ANONYMIZE_KEY", "x" * 32)
        return some(signed_policy(folder), 8).folder


def mutated(data: bytes, how: Any) -> bytes:
    """One change of a file of lines."""
    kind, a, b = how
    lines = data.splitlines(keepends=True)
    at, other = a % len(lines), b % len(lines)
    if kind == "byte":
        place = a % len(data)
        return data[:place] + bytes([(data[place] + 1 + b % 255) % 256]) + data[place + 1 :]
    if kind == "drop":
        return b"".join(line for n, line in enumerate(lines) if n != at)
    if kind == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    if kind == "twice":
        lines.insert(other, lines[at])
    if kind == "insert byte":
        place = a % (len(data) + 1)
        return data[:place] + bytes([b % 256]) + data[place:]
    if kind == "cut":
        return data[: a % len(data)]
    if kind == "rewrite":
        lines[at] = rewritten(lines, at)
    return b"".join(lines)


def rewritten(lines: list[bytes], at: int) -> bytes:
    """A line with other words whose hash was made anew: only chain and signature can tell."""
    line = parse(lines[at])
    assert line is not None
    said = {**line.said, "who": "Nobody"}
    return canonical({**said, "hash": digest(said), "signature": line.signature}) + b"\n"


CHANGES = st.tuples(
    st.sampled_from(["byte", "drop", "swap", "twice", "insert byte", "cut", "rewrite"]), st.integers(0, 10**6), st.integers(0, 10**6)
)


@settings(max_examples=250)
@given(how=CHANGES, head=st.booleans())
def test_any_single_change_of_a_trail_is_found(whole: Path, tmp_path_factory: pytest.TempPathFactory, how: Any, head: bool) -> None:
    name = "head.json" if head and how[0] in ("byte", "insert byte", "cut", "drop") else "trail.jsonl"
    before = (whole / name).read_bytes()
    after = mutated(before, how)
    copy = tmp_path_factory.getbasetemp() / "changed"
    shutil.copytree(whole, copy, dirs_exist_ok=True)
    (copy / name).write_bytes(after)
    found = verify(Trail(copy), public=[Public.read(PUBLIC)])
    assert bool(found.findings) == (after != before)
    # A line that a killed writer left unfinished after the head is the one thing that is no offence.
    assert found.holds == (after == before or (after.startswith(before) and b"\n" not in after[len(before) :]))


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b"page 2", b"page 9"), *lines[3:]], 3, "was changed"),
        (lambda lines: [*lines[:2], *lines[3:]], 3, "lines 3 to 3 are gone before it"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], 3, "stands out of its order"),
        (lambda lines: lines[:-2], 7, "is gone, and all up to line 8: the trail was cut at its end"),
        (lambda lines: [*lines, lines[-1]], 9, "it is line 8, put here"),
        (lambda lines: [*lines[:4], rewritten(lines, 4), *lines[5:]], 5, "has a signature that does not fit"),
    ],
)
def test_the_line_is_named(whole: Path, tmp_path: Path, change: Any, line: int, words: str) -> None:
    copy = tmp_path / "trail"
    shutil.copytree(whole, copy)
    lines = (copy / "trail.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "trail.jsonl").write_bytes(b"".join(change(lines)))
    done = CliRunner().invoke(cli, ["audit", "verify", str(copy), "--public", PUBLIC])
    assert done.exit_code == 1
    assert done.output.startswith(f"line {line}: ")
    assert words in done.output.splitlines()[0]


def test_a_trail_written_anew_by_another_key_or_put_back_to_an_earlier_day_is_found(
    whole: Path, policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(policy, 3)
    earlier = tmp_path / "earlier"
    shutil.copytree(trail.folder_of(policy), earlier)
    some(policy, 2)
    noted = verify(trail.open_trail(policy)).head
    assert noted.startswith("5:")
    assert verify(trail.open_trail(policy), public=[Public.read(PUBLIC)], witness=noted).holds
    back = verify(Trail(earlier), public=[Public.read(PUBLIC)], witness=noted)
    assert [str(finding) for finding in back.findings] == ["line 5: is not the line that was noted: the trail was written anew or put back"]
    monkeypatch.setenv("TRAIL_KEY", "ab" * 32)
    forged = verify(some(signed_policy(tmp_path / "forged"), 2), public=[Public.read(PUBLIC)])
    assert not forged.holds
    assert "is not among those that may sign" in str(forged.findings[0])


# ------------------------------------------------------------------------------------------------------- crashes and many writers


@pytest.mark.parametrize("kept", [1, 100, 0.5, -1])
def test_a_torn_last_line_is_kept_aside_and_recorded(policy: Policy, kept: float) -> None:
    """A writer killed within its write leaves the beginning of a line."""
    there = some(policy, 3)
    lines = there.folder / "trail.jsonl"
    before, head = lines.read_bytes(), (there.folder / "head.json").read_bytes()
    some(policy, 1)
    fresh = lines.read_bytes()[len(before) :]
    torn = fresh[: int(len(fresh) * kept) if isinstance(kept, float) else kept]
    lines.write_bytes(before + torn)
    (there.folder / "head.json").write_bytes(head)
    found = verify(there, public=[Public.read(PUBLIC)])
    assert found.holds
    assert str(found.findings[0]).startswith("line 4: is cut off: its writer was killed")

    line = trail.record(policy, "looked", page="after")
    assert line.n == 5
    repaired = parse(list(there.lines())[3])
    assert repaired is not None
    assert repaired.action == "repaired"
    assert (there.folder / "torn" / repaired.said["facts"]["kept"]).read_bytes() == torn
    assert verify(there, public=[Public.read(PUBLIC)]).findings == ()


class Killed(BaseException):
    """The process ends here."""


def test_a_writer_killed_at_any_point_leaves_a_trail_that_goes_on(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    some(policy, 2)
    dead = 0
    for step in range(1, 20):
        calls = iter(range(1, 100))

        def mortal(real: Any, calls: Any = calls, step: int = step) -> Any:
            def call(*given: Any, **options: Any) -> Any:
                if next(calls) == step:
                    raise Killed
                return real(*given, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "open"):
                patch.setattr(trail_files.os, name, mortal(getattr(os, name)))
            try:
                trail.record(policy, "looked", page="killed")
            except Killed:
                dead += 1
            else:
                break
        assert verify(trail.open_trail(policy), public=[Public.read(PUBLIC)]).holds
        trail.record(policy, "looked", page="after")
        assert verify(trail.open_trail(policy), public=[Public.read(PUBLIC)]).findings == ()
    assert dead >= 6


def test_a_full_disk_takes_the_line_back(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    there = some(policy, 2)
    before = (there.folder / "trail.jsonl").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(trail_files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            trail.record(policy, "looked")
    assert (there.folder / "trail.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "trail.jsonl").write_bytes(b"".join((folder / "trail.jsonl").read_bytes().splitlines(keepends=True)[:-2])),
        lambda folder: (folder / "trail.jsonl").write_bytes((folder / "trail.jsonl").read_bytes()[:-7]),
        lambda folder: (folder / "trail.jsonl").unlink(),
        lambda folder: (folder / "head.json").unlink(),
        lambda folder: (folder / "head.json").write_bytes(b"{}"),
        lambda folder: (folder / "trail.jsonl").write_bytes((folder / "trail.jsonl").read_bytes().replace(b"page 4", b"page 5")),
    ],
    ids=["cut", "torn under the head", "gone", "head gone", "head broken", "last line changed"],
)
def test_nothing_is_added_to_a_trail_that_was_tampered_with(policy: Policy, damage: Any) -> None:
    there = some(policy, 5)
    damage(there.folder)
    with pytest.raises(TrailBroken, match="is not as it was left"):
        trail.record(policy, "looked")
    assert not verify(there, public=[Public.read(PUBLIC)]).holds


def test_who_has_no_key_cannot_have_the_next_writer_sign_a_line_of_his(policy: Policy) -> None:
    there = some(policy, 3)
    head = (there.folder / "head.json").read_bytes()
    some(policy, 1)
    lines = (there.folder / "trail.jsonl").read_bytes().splitlines(keepends=True)
    (there.folder / "trail.jsonl").write_bytes(b"".join([*lines[:3], rewritten(lines, 3)]))
    (there.folder / "head.json").write_bytes(head)
    with pytest.raises(TrailBroken, match="the signature of line 4 does not fit"):
        trail.record(policy, "looked")


def _write_some(file: Path, number: int) -> None:
    policy = load(file)
    for n in range(15):
        trail.record(policy, "looked", who=f"writer {number}", page=str(n))


def test_many_writers_make_one_chain(policy: Policy) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_some, args=(policy.file, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    found = verify(trail.open_trail(policy), public=[Public.read(PUBLIC)])
    assert (found.lines, found.findings) == (45, ())
    said = [json.loads(line) for line in trail.open_trail(policy).lines()]
    for n in range(3):
        assert [one["facts"]["page"] for one in said if one["who"] == f"writer {n}"] == [str(page) for page in range(15)]


def test_the_commands_of_an_auditor(policy: Policy) -> None:
    some(policy, 2)
    trail.record(policy, "approved", who="B. Steward", run="small-1", reason="fine")
    run = CliRunner().invoke
    assert run(cli, ["audit", "key", str(policy.file)]).output.strip() == PUBLIC
    good = run(cli, ["audit", "verify", str(policy.file)])
    assert good.exit_code == 0
    assert "3 lines, as it was written; signed by" in good.output
    assert run(cli, ["trail", "verify", str(policy.file)]).output == good.output
    shown = run(cli, ["audit", "show", str(policy.file), "--action", "approved"]).output
    assert shown.count("\n") == 1
    assert "B. Steward  approved  small  small-1  reason=fine" in shown
    assert "Nobody vouched for that key" in run(cli, ["audit", "verify", str(trail.folder_of(policy))]).output
