"""Retraction and erasure (GDPR Art. 17): subjects out of every published version, and out of all that come.

    search -> rewrite -> prove -> publish anew -> tombstone the old -> tell the readers -> write the proof

`<workspace>/taken-back/<id>/plan.json` is written first: who was asked to go, as pseudonyms, why, by whom, when. A retraction that was killed
anywhere is done again by the same command, or by the next one of the dataset, and ends the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from anonymize import __version__, trail
from anonymize.errors import AnonymizeError
from anonymize.keys import Key
from anonymize.lasting import kept, mending
from anonymize.policy.model import Policy
from anonymize.publish import Before, Store, catalogue, prepare, publish, review, sealing
from anonymize.publish.documents import CHANGES
from anonymize.publish.manifest import GateFact, Manifest, PrivacyFact, ReleaseFacts, Tombstone
from anonymize.publish.store import Version, folder_of
from anonymize.releasing import store_uri
from anonymize.run import Record
from anonymize.taking_back import withheld
from anonymize.taking_back.proving import Proof, VersionProof, readable
from anonymize.taking_back.rewriting import Rewritten, rewrite
from anonymize.taking_back.searching import Held, held_by, search
from anonymize.taking_back.subjects import KeyedIds, no_value_in, persons
from anonymize.trail.files import write_whole

PLAN, PROOF, PAGE = "plan.json", "proof.json", "proof.md"
Say = Callable[[str], None]


class Plan(BaseModel):
    """What was asked, before anything is done about it. ids: pseudonyms by namespace."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    dataset: str
    key_id: str
    reason: str
    by: str
    at: datetime
    withdraw: bool
    subjects: int
    ids: dict[str, tuple[str, ...]]

    @property
    def keyed(self) -> KeyedIds:
        return KeyedIds(self.ids)


def look(policy: Policy, keys: Sequence[str]) -> list[Held]:
    """Which versions hold the subjects, and which cannot be searched; changes nothing."""
    key = Key(policy.key, policy.project_name)
    return list(search(Store(store_uri(policy)), policy, KeyedIds.of(persons(policy, keys), key, policy), key.id))


def retract(policy: Policy, keys: Sequence[str], *, reason: str, by: str, withdraw: bool = False, say: Say = lambda _: None) -> Proof:
    """Take subjects out of every published version of the dataset, and keep them out of those that come.

    keys: subject keys as the source writes them. withdraw: take versions out whole that cannot be searched; without it such a version stops
    the retraction before anything is done. Hold the dataset's lock (`run.exclusive`). May be called again after any end of it.
    Raises AnonymizeError, StoreError, GateFailed; what was published before stands until what takes its place is proven and published.
    """
    reason, by = " ".join(reason.split()), " ".join(by.split())
    for what, given in (("name", by), ("reason", reason)):
        if not any(letter.isalnum() for letter in given):
            raise AnonymizeError(f"a retraction needs a {what}; this one is blank")
    no_value_in(f"{reason} {by}", keys)
    key = Key(policy.key, policy.project_name)
    ids = KeyedIds.of(persons(policy, keys), key, policy)
    if not len(ids):
        raise AnonymizeError("no subject is named, so nobody is taken back")
    name = _name(ids)
    for open_plan in unfinished(policy):
        if not open_plan.id.endswith(name):
            say(f"retraction {open_plan.id} was not ended; it is ended first")
            _carry_out(policy, open_plan, say)
    plan = next((one for one in unfinished(policy) if one.id.endswith(name)), None) or _planned(policy, ids, key, name, reason, by, withdraw)
    return _carry_out(policy, plan, say)


def resume(policy: Policy, *, say: Say = lambda _: None) -> list[Proof]:
    """End the dataset's retractions that were killed; the subjects' keys are not needed for it."""
    return [_carry_out(policy, plan, say) for plan in unfinished(policy)]


def home(policy: Policy) -> Path:
    """Where the dataset's retractions are kept: plans and proofs, private, without any key of the source."""
    return policy.path(policy.workspace) / "taken-back"


def unfinished(policy: Policy) -> list[Plan]:
    """The dataset's retractions without a proof, oldest first."""
    plans = (
        Plan.model_validate_json(file.read_bytes()) for file in sorted(home(policy).glob(f"*/{PLAN}")) if not (file.parent / PROOF).exists()
    )
    return sorted((plan for plan in plans if plan.dataset == policy.dataset), key=lambda plan: plan.at)


def _name(ids: KeyedIds) -> str:
    return hashlib.sha256("\n".join(ids.texts()).encode()).hexdigest()[:8]


def _planned(policy: Policy, ids: KeyedIds, key: Key, name: str, reason: str, by: str, withdraw: bool) -> Plan:
    """Write down what is asked. Refused while a version cannot be searched, unless it may be taken out whole."""
    found = list(search(Store(store_uri(policy)), policy, ids, key.id))
    blind = [f"  {held.version}: {'; '.join(held.unsearchable)}" for held in found if held.unsearchable]
    if blind and not withdraw:
        raise AnonymizeError(
            "it cannot be told whether these versions hold the subjects, or their rows cannot be found:\n" + "\n".join(blind) + "\n"
            "Nothing was done. Take such versions out whole, without another in their place: --withdraw"
        )
    at = datetime.now(UTC).replace(microsecond=0)
    # Two within one second, of the same people, are two: the later one's id says the next second.
    names = (f"{policy.dataset}-{at + timedelta(seconds=later):%Y%m%dT%H%M%SZ}-{name}" for later in count())
    plan = Plan(
        id=next(one for one in names if not (home(policy) / one).exists()),
        dataset=policy.dataset,
        key_id=key.id,
        reason=reason,
        by=by,
        at=at,
        withdraw=withdraw,
        subjects=len(ids),
        ids=ids.by_namespace,
    )
    versions = {held.version: held.found for held in found}
    trail.record(policy, "retract-asked", who=by, once=True, retraction=plan.id, subjects=plan.subjects, reason=reason, versions=versions)
    write_whole(home(policy) / plan.id / PLAN, plan.model_dump_json(indent=1).encode() + b"\n")
    return plan


def _carry_out(policy: Policy, plan: Plan, say: Say) -> Proof:
    key = Key(policy.key, policy.project_name)
    if plan.key_id != key.id:
        raise AnonymizeError(f"retraction {plan.id} was asked under key {plan.key_id}, and this is key {key.id}. Give that key, and call again")
    store, folder = Store(store_uri(policy)), home(policy) / plan.id
    withheld.remember(policy, key, plan.keyed)
    kept.forget(policy)  # what is kept of the sources may hold them; the next run reads everything, and they stay out of it
    mending.purge(policy, every=True)
    bury_all(store, policy)
    for held in list(search(store, policy, plan.keyed, key.id)):
        version = store.open(policy.dataset, held.version)
        one = _without(policy, plan, version, held, folder, say)
        write_whole(folder / f"{held.version}.json", one.model_dump_json(indent=1).encode() + b"\n")
        stone = Tombstone(
            dataset=policy.dataset, version=held.version, reason=plan.reason, date=plan.at, by=plan.by, replaced_by=one.replaced_by
        )
        bury(store, policy, stone, who=plan.by)
        say(f"{held.version}: taken out" + (f"; {one.replaced_by} stands in its place" if one.replaced_by else "; nothing takes its place"))
    catalogue.rebuild(store, policy.dataset)
    proof = _proof(policy, plan, store, folder, key)
    stated = proof.model_dump_json(indent=1).encode() + b"\n"
    write_whole(folder / PAGE, readable(proof).encode())
    trail.record(policy, "retracted", who=plan.by, once=True, retraction=plan.id, proof_sha256=hashlib.sha256(stated).hexdigest())
    shutil.rmtree(folder / "work", ignore_errors=True)
    write_whole(folder / PROOF, stated)
    return proof


# ---------------------------------------------------------------------------------------------------------- one version at a time


def _without(policy: Policy, plan: Plan, version: Version, held: Held, folder: Path, say: Say) -> VersionProof:
    """Publish the version without the subjects, proven; or nothing, where it cannot be searched or nobody is left."""
    manifest = version.manifest
    facts: dict[str, Any] = {"version": manifest.version, "content_sha256_before": manifest.content_sha256, "rows_of_theirs": held.rows}
    facts["files_before"] = {file.path: file.sha256 for file in manifest.files()}
    if held.unsearchable:
        return VersionProof(**facts, withdrawn="; ".join(held.unsearchable))
    say(f"{manifest.version}: {held.found:,} rows of theirs; it is written anew")
    done = rewrite(version, policy, plan.keyed, folder / "work" / manifest.version)
    facts |= {"taken": done.taken, "suppressed": done.suppressed, "suppressed_subjects": done.suppressed_subjects}
    if done.empty:
        return VersionProof(**facts, withdrawn="nobody is left in it when what k asks for is suppressed")
    leaving = _sealed(policy, manifest, done, folder / "work" / f"{manifest.version}-sealed")
    release = _published(policy, plan, version, done, leaving)
    trail.record(
        policy,
        "republished",
        who=plan.by,
        once=True,
        retraction=plan.id,
        version=release.version,
        replaces=manifest.version,
        content_sha256=release.content_sha256,
        files={file.path: file.sha256 for file in release.files()},
    )
    shutil.rmtree(folder / "work" / manifest.version, ignore_errors=True)
    return VersionProof(
        **facts,
        replaced_by=release.version,
        content_sha256_after=release.content_sha256,
        files_after={file.path: file.sha256 for file in release.files()},
        recounted=tuple(done.found),
        smallest_class=done.smallest,
        rows_of_theirs_after=done.absent,
    )


def _sealed(policy: Policy, manifest: Manifest, done: Rewritten, folder: Path) -> Path:
    """What leaves: the stage, or where the version's columns are encrypted, what was made of it under the same keys. That is kept until the
    end, for each encryption gives other bytes."""
    references = policy.release.encryption.references
    columns = {table.name: {c.name: references[c.encrypted] for c in table.columns if c.encrypted} for table in manifest.tables}
    if not any(columns.values()):
        return done.stage
    sealing.seal(done.stage, folder, columns, policy.release.encryption.footer or "")
    return folder


def _published(policy: Policy, plan: Plan, version: Version, done: Rewritten, leaving: Path) -> Manifest:
    """Documents, decision and manifest anew; the same bytes however often it is done."""
    facts = _facts(policy, plan, version.manifest, done)
    changes = version.backend.read_bytes(f"{version.folder}/{CHANGES}") or b""
    prepare(leaving, facts, before=Before(version.manifest, changes), plain=done.stage, subjects=done.stage.parent / "subjects")
    texts = [file for file in leaving.iterdir() if file.is_file()]
    ids = [one.encode() for one in plan.keyed.texts()]
    if any(one in file.read_bytes() for file in texts for one in ids):
        raise AnonymizeError(f"a document of {version.manifest.version} names a subject's pseudonym; nothing is published")
    asked = review.request(leaving, gates=facts.gates, at=plan.at)
    decision = review.Decision(approve=True, steward=plan.by, reason=plan.reason, at=plan.at, files=asked.files)
    return publish(leaving, store_uri(policy), facts, decision, server_encryption=policy.release.encryption.server).manifest


def _facts(policy: Policy, plan: Plan, manifest: Manifest, done: Rewritten) -> ReleaseFacts:
    """The version's own facts, with the counts of what is left. The run stays its own, and so does its start, which names its place among the
    versions."""
    same = {name: getattr(manifest, name) for name in ReleaseFacts.model_fields if name in Manifest.model_fields}
    suppressed = sum(done.suppressed.values())
    again = {"k-anonymity": done.found, "opt-out": ["no pseudonym of the subjects who were taken back stands in any column"]}
    kept = [gate for gate in manifest.gates if gate.gate not in {*again, "events", "sensitive values"}]
    carried = [gate.model_copy(update={"words": f"as judged for {manifest.version}, of which these are rows: {gate.words}"}) for gate in kept]
    notice = f"This version takes the place of {manifest.version}, from which subjects were taken back on {plan.at:%Y-%m-%d} ({plan.reason})."
    return ReleaseFacts.model_validate(
        same
        | {
            "started": manifest.created,
            "tables": done.tables,
            "profile": manifest.profile or policy.profile,
            "review_required": True,
            "code_version": __version__,
            "privacy": PrivacyFact(
                k=max(policy.privacy.k, manifest.privacy.k),
                reached=done.smallest,
                suppressed=None if manifest.privacy.suppressed is None else manifest.privacy.suppressed + suppressed,
                suppressed_subjects=manifest.privacy.suppressed_subjects,
            ),
            "held_back": manifest.held_back
            | ({"suppressed": before + suppressed} if isinstance(before := manifest.held_back.get("suppressed", 0), int) else {})
            | {"taken back": manifest.held_back.get("taken back", 0) + sum(done.taken.values())},
            "gates": (*carried, *(GateFact(gate=gate, passed=True, words="; ".join(words)) for gate, words in again.items() if words)),
            "notices": (f"{notice} Delete the copies that you made of {manifest.version}.", *manifest.notices),
        }
    )


# ------------------------------------------------------------------------------------------------------------------ tombstones


def bury(store: Store, policy: Policy, tombstone: Tombstone, *, who: str) -> None:
    """Take a version out of the store for good, and say so in the audit trail."""
    store.bury(tombstone)
    _told(policy, tombstone, who)


def bury_all(store: Store, policy: Policy) -> None:
    """End what a killed retraction or expiry left half buried."""
    for tombstone in store.buried(policy.dataset):
        folder = folder_of(tombstone.dataset, tombstone.version)
        if any(not path.endswith("tombstone.json") for path in store.backend.files(folder)):
            store.bury(tombstone)
        _told(policy, tombstone, tombstone.by)


def _told(policy: Policy, tombstone: Tombstone, who: str) -> None:
    said = {"version": tombstone.version, "reason": tombstone.reason, "replaced_by": tombstone.replaced_by}
    trail.record(policy, "tombstoned", who=who, once=True, **said)


# ------------------------------------------------------------------------------------------------------------------- the proof


def _proof(policy: Policy, plan: Plan, store: Store, folder: Path, key: Key) -> Proof:
    """What was done, and a last search of every version that stands."""
    after = {}
    for name in store.versions(policy.dataset):
        held = held_by(store.open(policy.dataset, name), policy, plan.keyed, key.id)
        after[name] = held.rows
        if held.found:
            raise AnonymizeError(f"{policy.dataset} {name} holds them still. Call the retraction again")
    versions = tuple(VersionProof.model_validate_json(file.read_bytes()) for file in sorted(folder.glob("[0-9]*.json")))
    return Proof(
        retraction=plan.id,
        dataset=policy.dataset,
        reason=plan.reason,
        by=plan.by,
        asked=plan.at,
        subjects=plan.subjects,
        key_id=plan.key_id,
        policy_sha256=policy.sha256,
        code_version=__version__,
        versions=versions,
        rows_of_theirs_in_what_stands=after,
        waiting=tuple(_waiting(policy)),
    )


def _waiting(policy: Policy) -> Iterator[str]:
    """Runs that took their records before: their gate stops them, and their workspace holds the subjects until it is discarded."""
    root = policy.path(policy.workspace)
    for file in sorted((root / "records").glob("*/run.json")):
        record = Record(file.parent)
        begun: dict[str, Any] = json.loads(file.read_text())
        if begun.get("dataset") == policy.dataset and record.get("end") is None and (root / "runs" / str(begun["id"])).exists():
            yield str(begun["id"])
