"""The research store held against the audit trail: a version that nobody published, or that went without a word, is found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from anonymize.policy.model import Policy
from anonymize.publish import Store
from anonymize.releasing import store_uri
from anonymize.trail import Trail
from anonymize.trail.lines import parse


def unaccounted(policy: Policy, trail: Trail) -> Iterator[str]:
    """What stands in the policy's dataset and not on the trail, in words. Versions that are older than the trail's first line are passed over.

    Raises StoreError where the store cannot be read.
    """
    said = [line.said for data in trail.lines() if (line := parse(data)) is not None]
    of = [one for one in said if one["dataset"] == policy.dataset]
    published = _facts(of, ("published", "republished"))
    buried = {facts["version"] for facts in _facts(of, ("tombstoned",))}
    contents = {facts["version"]: facts["content_sha256"] for facts in published}
    begun = datetime.fromisoformat(said[0]["at"]) if said else None
    store = Store(store_uri(policy))
    standing = store.versions(policy.dataset)
    for name in standing:
        manifest = store.manifest(policy.dataset, name)
        if manifest is None or begun is None or (name not in contents and manifest.created < begun.replace(microsecond=0)):
            continue
        if name not in contents:
            yield f"version {name} stands in the store, and the trail has no line of its publication"
        elif contents[name] != manifest.content_sha256:
            yield f"version {name} has another content than the one that was published"
    stones = {stone.version for stone in store.buried(policy.dataset)}
    for name in sorted(contents.keys() - set(standing) - stones):
        yield f"version {name} was published and is gone from the store, without a tombstone"
    for name in sorted(stones - buried):
        if name in contents:
            yield f"version {name} has a tombstone, and the trail has no line of it"


def _facts(lines: list[dict[str, Any]], actions: tuple[str, ...]) -> list[dict[str, Any]]:
    return [line["facts"] for line in lines if line["action"] in actions]
