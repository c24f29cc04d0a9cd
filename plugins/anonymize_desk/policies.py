"""The policies of this deployment, read anew where a file changed."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from anonymize.errors import AnonymizeError
from anonymize.policy.loader import load
from anonymize.policy.model import Policy

DEFAULT = Path(__file__).resolve().parents[2] / "policies"


def policies() -> dict[str, Policy]:
    """Each policy by its dataset. One that is wrong has no pages: Airflow shows it among its import errors, as it has no DAG either."""
    found: dict[str, Policy] = {}
    for file in sorted(Path(os.environ.get("ANONYMIZE_POLICIES") or DEFAULT).glob("*.yaml")):
        policy = _read(file, file.stat().st_mtime_ns)
        if policy is not None:
            found.setdefault(policy.dataset, policy)
    return found


@lru_cache(maxsize=256)
def _read(file: Path, _changed: int) -> Policy | None:
    try:
        return load(file)
    except AnonymizeError:
        return None
