"""Who may do what. Airflow adds no authentication to a plugin's app, so every route asks here, and here asks Airflow's auth manager.

Whoever may read a dataset's DAG may look at its releases; whoever may answer the DAG's questions may label its notes and decide; whoever may
delete the DAG may retract. A request that changes something must come from a page of ours, unless its user is named by a bearer token,
which no other site's page can send along.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.tokens import get_signing_key
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Form, Header, HTTPException, Request
from itsdangerous import BadSignature, URLSafeTimedSerializer

TOKEN_SECONDS = 12 * 3600
"""So long a page may lie open before its form is sent."""


class Act(Enum):
    """What a user may do with a dataset's releases, as a permission on its DAG: method and part."""

    VIEW = ("GET", None)
    DECIDE = ("PUT", DagAccessEntity.HITL_DETAIL)
    RETRACT = ("DELETE", None)


def may(user: BaseUser, dataset: str, act: Act) -> bool:
    """Whether Airflow's auth manager allows it."""
    method, entity = act.value
    details = DagDetails(id=dataset, team_name=DagModel.get_team_name(dataset))
    return bool(get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user))  # type: ignore[arg-type]


def need(user: BaseUser, dataset: str, act: Act) -> None:
    """Raises HTTPException 403 where it is not allowed."""
    if not may(user, dataset, act):
        words = {Act.VIEW: "see", Act.DECIDE: "label or decide on", Act.RETRACT: "retract"}[act]
        raise HTTPException(403, f"You may not {words} the releases of '{dataset}'. Whoever runs Airflow here gives that permission.")


@cache
def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(get_signing_key("api", "secret_key"), salt="anonymize-desk")


def token(user: BaseUser) -> str:
    """What a page of ours sends back with a form, to show that the form is its own."""
    return str(_signer().dumps(str(user.get_id())))


def from_our_page(
    request: Request,
    user: GetUserDep,
    token: Annotated[str, Form()] = "",
    x_desk_token: Annotated[str, Header()] = "",
) -> None:
    """A dependency of every route that changes something. Raises HTTPException 403 where a browser sends it from elsewhere than our pages."""
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return
    if not _same_origin(request):
        raise HTTPException(403, "This was not sent from a page of the desk, so nothing was done.")
    try:
        whose: Any = _signer().loads(token or x_desk_token, max_age=TOKEN_SECONDS)
    except BadSignature:
        raise HTTPException(403, "The page was open for too long, or was not the desk's. Nothing was done: open it anew.") from None
    if whose != str(user.get_id()):
        raise HTTPException(403, "Somebody else has logged in since the page was opened. Nothing was done: open it anew.")


def _same_origin(request: Request) -> bool:
    """Whether the browser says that the request comes from this site: all of today's send `Origin` with a POST."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    ours = {request.headers.get("host"), urlsplit(conf.get("api", "base_url", fallback="")).netloc} - {None, ""}
    return urlsplit(origin).netloc in ours
