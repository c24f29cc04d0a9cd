"""The audit trail: who asked, ran, looked, decided, published and took back; hash-chained lines with a signed head.

    from anonymize import trail

    trail.record(policy, "looked", who="a.steward", run=run.id, page="release")
    with trail.acting("a.steward"):           # every line that is written in here is hers
        pipeline.publish(run)

One trail a deployment: `<workspace>/trail/`, or the folder that the policy's `trail:` names. See `lines.py` for a line, `files.py` for how it
is appended, `verifying.py` for what a verification finds. Imports nothing above `policy/`, `keys.py` and `errors.py`.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anonymize import __version__
from anonymize.errors import AnonymizeError, KeyMissing
from anonymize.keys import Key
from anonymize.policy.model import Policy
from anonymize.trail.files import Trail
from anonymize.trail.lines import ACTIONS, Line
from anonymize.trail.signing import Signer
from anonymize.trail.verifying import Finding, Verification, verify

__all__ = ["ACTIONS", "Finding", "Line", "Trail", "Verification", "acting", "actor", "folder_of", "open_trail", "record", "verify"]

_actor: ContextVar[str | None] = ContextVar("actor", default=None)
LONGEST = 2_000
"""Characters of a text in a fact: a reason, not a document."""


@contextmanager
def acting(who: str | None) -> Iterator[None]:
    """What is recorded within is this person's; None changes nothing."""
    token = _actor.set(who or _actor.get())
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> str:
    """Who acts: as `acting` says, else the account that the process runs under."""
    try:
        return _actor.get() or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def folder_of(policy: Policy) -> Path:
    """Where the trail of the policy's deployment stands."""
    return policy.path(policy.trail.folder) if policy.trail.folder else policy.path(policy.workspace) / "trail"


def open_trail(policy: Policy) -> Trail:
    """The trail of the policy's deployment, with the signing key that the policy names, where it names one.

    Raises KeyMissing where it names a key that is not there: a trail that is to be signed is never written unsigned.
    """
    return Trail(folder_of(policy), Signer.of(policy.trail.key, base=policy.file.parent) if policy.trail.key else None)


def record(policy: Policy, action: str, *, who: str | None = None, run: str | None = None, once: bool = False, **facts: Any) -> Line:
    """Append one line: `record(policy, "looked", who=user, run=run_id, page="release")`. Safe from any number of processes and threads.

    action: one of ACTIONS (`looked`: opened a release's page; `labelled`: labelled scrubbed notes; …). who: a person's name or account;
    default: `actor()`. run: the run's id, where it is about one. facts: what JSON can hold: counts, versions, hashes, verdicts, a steward's
    reason; **never a value of a record**. once: a line of the same action, run and facts that stands already is given back, for steps
    that are done again after a crash. Dataset, policy hash, code version and key id are added.
    Raises AnonymizeError for an action that is not known, a fact that is no JSON, a trail that is broken; KeyMissing as `open_trail`;
    OSError where the trail cannot be written. The caller lets it pass: what cannot be recorded is not done.
    """
    if action not in ACTIONS:
        raise AnonymizeError(f"the trail knows no action '{action}'. It knows: {', '.join(ACTIONS)}")
    said = {
        "action": action,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "who": " ".join((who or actor()).split())[:200],
        "dataset": policy.dataset,
        "run": run,
        "policy_sha256": policy.sha256,
        "code_version": __version__,
        "key_id": _key_id(policy),
        "facts": {name: _fact(name, value) for name, value in facts.items()},
    }
    return open_trail(policy).append(said, once=once)


def _key_id(policy: Policy) -> str | None:
    """None where the process does not hold the key, as one that only shows pages."""
    try:
        return Key(policy.key, policy.project_name).id
    except KeyMissing:
        return None


def _fact(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise AnonymizeError(f"the trail holds reasons, not documents: '{name}' has {len(value):,} characters, {LONGEST:,} are allowed")
        return value
    if isinstance(value, dict):
        return {str(key): _fact(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fact(name, item) for item in value]
    raise AnonymizeError(f"the trail holds texts, numbers, lists and mappings; '{name}' is a {type(value).__name__}")
