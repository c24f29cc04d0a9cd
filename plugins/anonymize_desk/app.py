"""The routes. Each names its user (401 where there is none) and asks what that user may do (403); nothing else stands between a page and
whoever asks for it."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import Depends, FastAPI, Form, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from anonymize.auditing.page import document, part
from anonymize.auditing.served import add_labels, read_sample
from anonymize.desk import Seen, State, find, retractions
from anonymize.errors import AnonymizeError
from anonymize.evidence import render
from anonymize.publish.review import same_person
from anonymize_desk.access import Act, from_our_page, may, need
from anonymize_desk.evidence import as_file, body, gathered
from anonymize_desk.listing import row_of, rows
from anonymize_desk.noting import note
from anonymize_desk.pages import HEADERS, HERE, fill, page
from anonymize_desk.policies import policies
from anonymize_desk.questions import Question, answer, dag_runs, question, wait_until_settled

prefix = "/desk"
MOST_ROWS = 200
MOST_BYTES = 4_000_000
"""Of labels that are sent at once: a hundred times what the page sends."""
KINDS = ("waiting", "published", "taken back", "rejected", "failed", "under way")
app = FastAPI(title="The steward's desk", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])


@app.middleware("http")
async def _headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


@app.exception_handler(AnyHTTPException)
async def _refused(request: Request, error: AnyHTTPException) -> Response:
    """An error as a page that says what to do."""
    if error.status_code == 401:
        return page("login.html", request, None, 401, login=get_auth_manager().get_url_login(next_url=str(request.url)))
    return page("refused.html", request, None, error.status_code, code=error.status_code, words=str(error.detail))


@app.exception_handler(RequestValidationError)
async def _malformed(request: Request, _: RequestValidationError) -> Response:
    return page("refused.html", request, None, 422, code=422, words="The request is not one that the desk's pages send.")


def _seen(user: GetUserDep, dataset: str, run: str) -> Seen:
    """The run that a path names, for somebody who may see it. 404 where there is none, told to nobody who may not see the dataset."""
    need(user, dataset, Act.VIEW)
    policy = policies().get(dataset)
    seen = find(policy, run) if policy is not None else None
    if seen is None:
        raise HTTPException(404, "There is no such run. It may have been begun in another workspace.")
    return seen


SeenDep = Annotated[Seen, Depends(_seen)]


def _decided_on(user: GetUserDep, seen: SeenDep) -> Seen:
    """The run, for somebody who may label and decide."""
    need(user, seen.dataset, Act.DECIDE)
    return seen


def _taken_back(user: GetUserDep, seen: SeenDep) -> Seen:
    """The run, for somebody who may retract."""
    need(user, seen.dataset, Act.RETRACT)
    return seen


DecideDep = Annotated[Seen, Depends(_decided_on)]
RetractDep = Annotated[Seen, Depends(_taken_back)]


@app.get("/")
def releases(request: Request, user: GetUserDep, state: Annotated[str, Query()] = "", dataset: Annotated[str, Query()] = "") -> Response:
    """Waiting and past releases of every dataset that the user may see."""
    visible = [policy for policy in policies().values() if may(user, policy.dataset, Act.VIEW)]
    found = rows(visible)
    shown = [row for row in found if state in ("", row.kind) and dataset in ("", row.dataset)]
    counts = {kind: sum(row.kind == kind for row in found) for kind in KINDS}
    known = {"rows": shown[:MOST_ROWS], "more": len(shown[MOST_ROWS:]), "total": len(found), "counts": counts}
    return page("releases.html", request, user, **known, names=[policy.dataset for policy in visible], state=state, dataset=dataset)


@app.get("/static/{name}")
def static(name: str) -> Response:
    """The desk's own style, script and icon, and those of the evidence and of the notes."""
    made = {"evidence.css": render.style, "notes.css": lambda: part("page.css"), "notes.js": lambda: part("page.js")}
    if name in made:
        return Response(made[name](), media_type=mimetypes.guess_type(name)[0])
    files = {file.name: file for file in (HERE / "static").iterdir()}
    if name not in files:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(files[name], media_type=mimetypes.guess_type(name)[0])


@app.get("/{dataset}/{run}/")
def release(request: Request, user: GetUserDep, seen: SeenDep, told: Annotated[str, Query()] = "") -> Response:
    """One release on one page."""
    note(seen, user, "looked", page="release")
    return _release(request, user, seen, told=TOLD.get(told, ""))


def _release(request: Request, user: BaseUser, seen: Seen, status: int = 200, **said: str) -> Response:
    """The page, with what there is to say of what was just done: `told`, `problem`, and the `reason` that was given with it."""
    waits = question(seen.dataset, seen.dag_run_id)
    found = gathered(seen)
    decides = may(user, seen.dataset, Act.DECIDE)
    known = {
        "body": body(found) if found else "",
        "notes": read_sample(seen.policy, seen.id) is not None if decides else False,
        "may_retract": seen.state in (State.PUBLISHED, State.TAKEN_BACK) and may(user, seen.dataset, Act.RETRACT),
        **dict.fromkeys(("told", "problem", "reason"), ""),
        **said,
        "seen": seen,
        "row": row_of(seen, dag_runs([seen.dataset]).get((seen.dataset, seen.dag_run_id or ""))),
        "waits": waits,
        "may_decide": decides,
        "is_first": bool(seen.decision) and same_person(seen.decision["steward"], user.get_name()),
        "needed": seen.policy.review.stewards,
    }
    return page("release.html", request, user, status, **known)


@app.post("/{dataset}/{run}/decision", dependencies=[Depends(from_our_page)])
def decide(
    request: Request,
    user: GetUserDep,
    seen: DecideDep,
    choice: Annotated[Literal["approve", "reject"], Form()],
    shown: Annotated[str, Form()],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """A steward's word, on the files that the page has shown, handed to Airflow."""
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


# -------------------------------------------------------------------------------------------------------------------- notes to label


@app.get("/{dataset}/{run}/notes/")
def notes(request: Request, user: GetUserDep, seen: DecideDep) -> Response:
    """Sampled notes as they would be published, to label. For those alone who may decide: what was missed in them is a patient's."""
    sample = read_sample(seen.policy, seen.id)
    if sample is None:
        raise HTTPException(404, "This run has no sample of notes: it publishes no text, or it has ended, and what it read is gone.")
    note(seen, user, "looked", page="notes", notes=len(sample["notes"]))
    parts = {name: fill(f"notes_{name}.html", request, user, seen=seen) for name in ("head", "top", "script")}
    return HTMLResponse(document(sample, **parts))


@app.post("/{dataset}/{run}/notes/", dependencies=[Depends(from_our_page)])
async def label(request: Request, user: GetUserDep, seen: DecideDep) -> Response:
    """Labels of notes, added to those that are there."""
    given = await request.body()
    if len(given) > MOST_BYTES:
        raise HTTPException(413, "These are more labels than a sample can have.")
    try:
        counts = await run_in_threadpool(add_labels, seen.policy, seen.record, seen.id, given)
    except AnonymizeError as error:
        raise HTTPException(422, str(error)) from None
    facts = {name: counts[name] for name in ("drawn", "done", "missed")}
    await run_in_threadpool(partial(note, seen, user, "labelled", **facts))
    return JSONResponse({"said": "Saved: {done} of {drawn} notes are done; missed identifiers: {missed}.".format(**facts)})


# ---------------------------------------------------------------------------------------------------------------- report and taking back


@app.get("/{dataset}/{run}/report.{kind}")
def report(user: GetUserDep, seen: SeenDep, kind: Literal["html", "pdf"]) -> Response:
    """The report of a release as a file, readable offline."""
    found = gathered(seen)
    if found is None:
        raise HTTPException(404, "No evidence was kept of this run: it has not passed its gates.")
    note(seen, user, "looked", page=f"report.{kind}")
    name = f"{seen.dataset}-{seen.version or seen.id}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(as_file(seen, found, kind), media_type=mimetypes.guess_type(name)[0], headers=headers)


@app.get("/{dataset}/{run}/retract/")
def retract(request: Request, user: GetUserDep, seen: RetractDep) -> Response:
    """What taking people back means, and how it is asked for."""
    note(seen, user, "looked", page="retract")
    return page("retract.html", request, user, seen=seen, proofs=retractions(seen.policy))
