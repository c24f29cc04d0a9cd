"""Every look, label and decision goes to the audit trail; what cannot be recorded is not shown and not done."""

from __future__ import annotations

import logging
from typing import Any

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.models.variable import Variable
from fastapi import HTTPException

from anonymize import keys, trail
from anonymize.desk import Seen
from anonymize.errors import AnonymizeError

log = logging.getLogger("anonymize")


def note(seen: Seen, user: BaseUser, action: str, **facts: Any) -> None:
    """Append a line to the audit trail. Raises HTTPException 503 where it cannot be written."""
    try:
        _provide_key(seen.policy.trail.key or "")
        trail.record(seen.policy, action, who=user.get_name(), run=seen.id, **facts)
    except (AnonymizeError, OSError) as error:
        log.error("the audit trail cannot be written: %s", error if isinstance(error, AnonymizeError) else type(error).__name__)
        words = "The audit trail cannot be written, so nothing is shown and nothing was done. Whoever runs Airflow finds the reason in its log."
        raise HTTPException(503, words) from None


def _provide_key(reference: str) -> None:
    """The key that signs the trail, where it is a Variable of Airflow's."""
    scheme, _, name = reference.partition(":")
    if scheme == "airflow" and reference not in keys.provided():
        secret = Variable.get(name, default_var=None)
        if secret:
            keys.provide(reference, secret)
