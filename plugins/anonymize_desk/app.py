"""The routes. Each names its user (401 where there is none) and asks what that user may do (403); nothing else stands between a page and
whoever asks for it."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import Depends, FastAPI, Form, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, RedirectResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from anonymize.desk import Seen, find
from anonymize.publish.review import same_person
from anonymize_desk.access import Act, from_our_page, may, need
from anonymize_desk.listing import row_of, rows
from anonymize_desk.pages import HEADERS, HERE, page
from anonymize_desk.policies import policies
from anonymize_desk.questions import Question, answer, dag_runs, question, wait_until_settled

prefix = "/desk"
KINDS = ("waiting", "published", "rejected", "failed", "under way")
app = FastAPI(title="The steward's desk", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])


@app.middleware("http")
async def _headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


@app.exception_handler(AnyHTTPException)
async def _refused(request: Request, error: AnyHTTPException) -> Response:
    """An error as a page that says what to do."""
    login = get_auth_manager().get_url_login(next_url=str(request.url)) if error.status_code == 401 else ""
    return page("refused.html", request, None, error.status_code, code=error.status_code, words=str(error.detail), login=login)


@app.exception_handler(RequestValidationError)
async def _malformed(request: Request, _: RequestValidationError) -> Response:
    return page("refused.html", request, None, 422, code=422, words="The request is not one that the desk's pages send.", login="")


def _seen(user: GetUserDep, dataset: str, run: str) -> Seen:
    """The run that a path names, for somebody who may see it. 404 where there is none, told to nobody who may not see the dataset."""
    need(user, dataset, Act.VIEW)
    policy = policies().get(dataset)
    seen = find(policy, run) if policy is not None else None
    if seen is None:
        raise HTTPException(404, "There is no such run. It may have been begun in another workspace.")
    return seen


SeenDep = Annotated[Seen, Depends(_seen)]


@app.get("/")
def releases(request: Request, user: GetUserDep, state: Annotated[str, Query()] = "", dataset: Annotated[str, Query()] = "") -> Response:
    """Waiting and past releases of every dataset that the user may see."""
    visible = [policy for policy in policies().values() if may(user, policy.dataset, Act.VIEW)]
    found = rows(visible)
    shown = [row for row in found if state in ("", row.kind) and dataset in ("", row.dataset)]
    counts = {kind: sum(row.kind == kind for row in found) for kind in KINDS}
    names = [policy.dataset for policy in visible]
    return page("releases.html", request, user, rows=shown, total=len(found), counts=counts, names=names, state=state, dataset=dataset)


@app.get("/static/{name}")
def static(name: str) -> Response:
    """The desk's own style, script and icon."""
    files = {file.name: file for file in (HERE / "static").iterdir()}
    if name not in files:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(files[name], media_type=mimetypes.guess_type(name)[0])


@app.get("/{dataset}/{run}/")
def release(request: Request, user: GetUserDep, seen: SeenDep, told: Annotated[str, Query()] = "") -> Response:
    """One release on one page."""
    return _release(request, user, seen, told=TOLD.get(told, ""))


def _release(request: Request, user: BaseUser, seen: Seen, status: int = 200, **said: str) -> Response:
    """The page, with what there is to say of what was just done: `told`, `problem`, and the `reason` that was given with it."""
    waits = question(seen.dataset, seen.dag_run_id)
    known = {
        **dict.fromkeys(("told", "problem", "reason"), ""),
        **said,
        "seen": seen,
        "row": row_of(seen, dag_runs([seen.dataset]).get((seen.dataset, seen.dag_run_id or ""))),
        "waits": waits,
        "may_decide": may(user, seen.dataset, Act.DECIDE),
        "is_first": bool(seen.decision) and same_person(seen.decision["steward"], user.get_name()),
        "needed": seen.policy.review.stewards,
    }
    return page("release.html", request, user, status, **known)


@app.post("/{dataset}/{run}/decision", dependencies=[Depends(from_our_page)])
def decide(
    request: Request,
    user: GetUserDep,
    seen: SeenDep,
    choice: Annotated[Literal["approve", "reject"], Form()],
    shown: Annotated[str, Form()],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """A steward's word, on the files that the page has shown, handed to Airflow."""
    need(user, seen.dataset, Act.DECIDE)
    waits = question(seen.dataset, seen.dag_run_id)
    problem = _problem(user, seen, waits, approve=choice == "approve", reason=reason, shown=shown)
    if waits is None or problem:
        return _release(request, user, seen, 409, problem=problem, reason=reason)
    if not wait_until_settled(waits):
        words = "Airflow's scheduler has not taken note of the question yet. Nothing was recorded: decide again in a moment."
        return _release(request, user, seen, 503, problem=words, reason=reason)
    answer(waits, user, approve=choice == "approve", reason=reason, shown=shown)
    return RedirectResponse(f"{request.scope['root_path']}/{seen.dataset}/{seen.id}/?told={choice}", 303)


TOLD = {
    "approve": "Your approval is recorded. Airflow goes on with it within some seconds.",
    "reject": "Your rejection is recorded. Nothing of this release leaves; Airflow removes the workspace within some seconds.",
}


def _problem(user: BaseUser, seen: Seen, waits: Question | None, *, approve: bool, reason: str, shown: str) -> str:
    """What stands against a decision, in words; empty where nothing does. The task that records it holds it against the same rules."""
    if waits is None:
        return "Nobody is asked about this release now: it was decided already, or Airflow gets ready to ask. Look at what stands above."
    if not any(letter.isalnum() for letter in reason):
        return "Give a reason: it stands beside your name in the release's manifest."
    if shown != seen.request.get("sha256"):
        return "The release has changed since the page was opened. Nothing was recorded: read it anew, this page shows what waits now."
    if approve and seen.decision and same_person(seen.decision["steward"], user.get_name()):
        return "You have signed this release already. The second signature is another steward's."
    if approve and any(not gate.passed for gate in seen.gates):
        return "A gate failed, so this release cannot be approved."
    return ""
