"""Retention: versions expire by the policy (`release: {keep: 5 versions}`, `{keep: 2 years}`). The newest never does, and what somebody pinned
is announced before it goes."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from anonymize import trail
from anonymize.errors import AnonymizeError
from anonymize.policy.model import Policy
from anonymize.publish import Store, catalogue
from anonymize.publish.manifest import Tombstone
from anonymize.publish.pins import Announcement, Pin, announce, announcement, forget, pins, put_pin, take_pin
from anonymize.releasing import store_uri
from anonymize.taking_back.retracting import bury, bury_all

Say = Callable[[str], None]


@dataclass(frozen=True)
class Due:
    """A version whose time is over. goes: the day from which it is deleted; announced: whether that was said to readers already."""

    version: str
    goes: date
    announced: bool
    pinned_by: tuple[str, ...]

    def __str__(self) -> str:
        who = f", pinned by {', '.join(self.pinned_by)}" if self.pinned_by else ""
        return f"{self.version}: goes on {self.goes:%Y-%m-%d}{who}"


def due(policy: Policy, *, today: date | None = None) -> list[Due]:
    """The versions whose time is over, oldest first; changes nothing. Raises AnonymizeError where the policy keeps all."""
    today = today or datetime.now(UTC).date()
    return list(_due(Store(store_uri(policy)), policy, today))


def _due(store: Store, policy: Policy, today: date) -> Iterator[Due]:
    keep = policy.release.keep
    if keep is None:
        raise AnonymizeError(f"{policy.where('release')}  the policy keeps all versions (release: {{keep: 5 versions}} would not)")
    names = store.versions(policy.dataset)
    number, unit = int(keep.split()[0]), keep.split()[1].rstrip("s")
    for place, name in enumerate(names[:-1]):
        manifest = store.manifest(policy.dataset, name)
        over = (
            len(names) - place > number if unit == "version" else manifest is not None and end_of(manifest.created.date(), number, unit) <= today
        )
        if over:
            active = [pin for pin in pins(store, policy.dataset, name) if pin.until >= today]
            said = announcement(store, policy.dataset, name)
            earliest = max([today + timedelta(days=policy.release.notice_days), *(pin.until for pin in active)]) if active else today
            yield Due(name, said.goes if said else earliest, said is not None, tuple(pin.by for pin in active))


def end_of(start: date, number: int, unit: str) -> date:
    """The day on which a time is over: `end_of(2024-02-29, 1, "year")` is 2025-02-28."""
    if unit == "day":
        return start + timedelta(days=number)
    months = start.year * 12 + start.month - 1 + number * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    return date(year, month + 1, min(start.day, monthrange(year, month + 1)[1]))


def expire(policy: Policy, *, by: str, today: date | None = None, say: Say = lambda _: None) -> list[Due]:
    """Take the versions out whose time is over; announce those that somebody pinned. Hold the dataset's lock. May be called again after any end.

    Returns what is due and still stands. Raises AnonymizeError where the policy keeps all, StoreError.
    """
    today = today or datetime.now(UTC).date()
    store = Store(store_uri(policy))
    bury_all(store, policy)
    waiting = []
    reason = f"expired: the policy keeps {policy.release.keep}"
    for one in _due(store, policy, today):
        if one.goes > today:
            if not one.announced:
                said = Announcement(dataset=policy.dataset, version=one.version, goes=one.goes, reason=reason, at=today)
                announce(store, said)
                say(f"{one}: announced")
            trail.record(policy, "announced", who=by, once=True, version=one.version, goes=one.goes.isoformat())
            waiting.append(one)
            continue
        trail.record(policy, "expired", who=by, once=True, version=one.version, keep=policy.release.keep)
        newest = store.newest(policy.dataset)
        bury(
            store,
            policy,
            Tombstone(dataset=policy.dataset, version=one.version, reason=reason, date=_noon(today), by=by, replaced_by=newest),
            who=by,
        )
        say(f"{one.version}: expired and deleted")
    for tombstone in store.buried(policy.dataset):
        forget(store, policy.dataset, tombstone.version)
    catalogue.rebuild(store, policy.dataset)
    return waiting


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def pin(store: Store, dataset: str, version: str, *, by: str, until: date, today: date | None = None) -> Pin:
    """Say that somebody relies on a version until a day. Raises AnonymizeError where that is past, or the version's end is announced already;
    StoreError where there is no such version."""
    today, by = today or datetime.now(UTC).date(), " ".join(by.split())
    if not any(letter.isalnum() for letter in by):
        raise AnonymizeError("a pin needs your name, so that you can be told when the version goes")
    if until < today:
        raise AnonymizeError(f"{until:%Y-%m-%d} is past; a pin holds until a day that comes")
    store.open(dataset, version)
    said = announcement(store, dataset, version)
    if said is not None:
        raise AnonymizeError(f"{dataset} {version} {said}. Copy what you need, or move to a newer version")
    made = Pin(dataset=dataset, version=version, by=by, until=until, at=today)
    put_pin(store, made)
    return made


def unpin(store: Store, dataset: str, version: str, *, by: str) -> bool:
    """Give a pin back; whether there was one."""
    return take_pin(store, dataset, version, " ".join(by.split()))
