"""The steward's desk on a real Airflow: who may see it, who may decide, and what becomes of a decision."""

from __future__ import annotations

import re

import pytest
import requests

from tests.airflow.conftest import Airflow

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def waiting(airflow: Airflow) -> str:
    """A release of the shared ward that waits for its first steward: the id of its DAG run."""
    run = airflow.trigger("shared-ward")
    airflow.asked("shared-ward", run)
    return run


def page_of(airflow: Airflow, dag_run: str) -> str:
    return f"shared-ward/{airflow.run_id('shared-ward', dag_run)}/"


def test_every_route_asks_who_is_there(airflow: Airflow, waiting: str) -> None:
    release = page_of(airflow, waiting)
    of_a_run = [("GET", ""), ("POST", "decision"), ("GET", "notes/"), ("POST", "notes/"), ("GET", "report.html"), ("GET", "retract/")]
    routes = [("GET", ""), ("GET", "static/desk.css"), *((method, release + path) for method, path in of_a_run)]
    for method, path in routes:
        for headers in ({}, {"Authorization": "Bearer made.up.token"}, {"Cookie": "_token=made.up.token"}):
            answer = airflow.desk(method, path, user=None, headers=headers)
            assert answer.status_code in (401, 403), (method, path, headers, answer.status_code)
            assert "shared-ward" not in answer.text.replace(path, "").replace(requests.utils.quote(path, safe=""), "")
        assert airflow.desk(method, path, user=None).status_code == 401


def test_no_route_is_left_out_of_the_test_above() -> None:
    from anonymize_desk.app import app
    from fastapi.routing import APIRoute

    assert all(isinstance(route, APIRoute) for route in app.routes), "a mount or a documentation page would have no dependency"
    found = {(method, route.path) for route in app.routes if isinstance(route, APIRoute) for method in route.methods}
    of_a_run = {("GET", ""), ("POST", "decision"), ("GET", "notes/"), ("POST", "notes/"), ("GET", "report.{kind}"), ("GET", "retract/")}
    assert found == {("GET", "/"), ("GET", "/static/{name}"), *((method, f"/{{dataset}}/{{run}}/{path}") for method, path in of_a_run)}


def test_a_researcher_may_look_and_not_decide(airflow: Airflow, waiting: str) -> None:
    release = page_of(airflow, waiting)
    assert airflow.desk("GET", user="researcher").status_code == 200
    page = airflow.desk("GET", release, user="researcher")
    assert page.status_code == 200
    assert "You may read this release, and not decide on it." in page.text
    assert "<form" not in page.text

    sent = {"choice": "approve", "reason": "let it out", "shown": "x"}
    refused = airflow.desk("POST", f"{release}decision", user="researcher", data=sent)
    assert refused.status_code == 403
    assert "You may not label or decide on the releases of &#39;shared-ward&#39;" in refused.text
    assert airflow.states("shared-ward", waiting)["review"] == "awaiting_input"


def test_the_list_tells_what_waits(airflow: Airflow, waiting: str) -> None:
    text = airflow.desk("GET").text
    assert "A made-up ward" in text
    assert "waits for a steward" in text
    assert "k-anonymity passed" in text
    assert re.search(r'data-label="Asked by">admin<', text)
    assert "No release is of this kind." in airflow.desk("GET", "?state=rejected&dataset=shared-ward").text


def test_no_path_leads_out_of_the_records(airflow: Airflow, waiting: str) -> None:
    run = airflow.run_id("shared-ward", waiting)
    others = (f"ward/{run}/", f"..%2f..%2f/{run}/", f"shared-ward/{run}%00/", "shared-ward/nobody/")
    for path in ("shared-ward/..%2Frecords/", "shared-ward/%2e%2e/", *others):
        answer = airflow.desk("GET", path)
        assert answer.status_code in (403, 404), (path, answer.status_code)
    assert airflow.desk("GET", "static/..%2fapp.py").status_code == 404


def test_no_page_may_be_kept_framed_or_run_foreign_script(airflow: Airflow, waiting: str) -> None:
    for path, user in (("", "steward"), (page_of(airflow, waiting), "steward"), ("", None)):
        answer = airflow.desk("GET", path, user=user)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        policy = answer.headers["Content-Security-Policy"]
        for words in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'self'", "form-action 'self'"):
            assert words in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|<style", answer.text), "nothing of a page needs what the policy forbids"


def test_a_decision_comes_from_a_page_of_the_desk(airflow: Airflow, waiting: str) -> None:
    """A browser sends its cookie along with whatever makes it send something: the origin and the form's token tell whose page it was."""
    release = page_of(airflow, waiting)
    cookie = {"Cookie": f"_token={airflow.token('steward')}"}
    page = airflow.desk("GET", release, user=None, headers=cookie).text
    token, shown = (re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("token", "shown"))  # type: ignore[index]
    sent = {"choice": "approve", "reason": "fine", "shown": shown}
    here = {"Origin": f"http://127.0.0.1:{airflow.port}"}
    others = re.search(r'name="token" value="([^"]+)"', airflow.desk("GET", release, user="deputy").text)[1]  # type: ignore[index]
    for origin, given in (
        ({}, token),
        ({"Origin": "https://evil.example"}, token),
        ({"Origin": "null"}, token),
        (here, ""),
        (here, "made-up"),
        (here, others),
    ):
        answer = airflow.desk("POST", f"{release}decision", user=None, headers=cookie | origin, data={**sent, "token": given})
        assert answer.status_code == 403, (origin, given)
    assert airflow.states("shared-ward", waiting)["review"] == "awaiting_input"


def test_a_decision_is_on_what_was_shown_and_has_a_reason(airflow: Airflow, waiting: str) -> None:
    release = page_of(airflow, waiting)
    shown = re.search(r'name="shown" value="([0-9a-f]{64})"', airflow.desk("GET", release).text)[1]  # type: ignore[index]
    for sent, words in (
        ({"choice": "approve", "reason": "fine", "shown": "0" * 64}, "has changed since the page was opened"),
        ({"choice": "approve", "reason": " - ", "shown": shown}, "Give a reason"),
    ):
        answer = airflow.desk("POST", f"{release}decision", data=sent)
        assert answer.status_code == 409
        assert words in answer.text
    assert airflow.desk("POST", f"{release}decision", data={"choice": "perhaps", "reason": "fine", "shown": shown}).status_code == 422
    assert airflow.states("shared-ward", waiting)["review"] == "awaiting_input"


def test_two_stewards_sign_and_it_is_published(airflow: Airflow, waiting: str) -> None:
    from anonymize.publish import open_version

    release = page_of(airflow, waiting)
    sent = {"choice": "approve", "shown": re.search(r'name="shown" value="([0-9a-f]{64})"', airflow.desk("GET", release).text)[1]}  # type: ignore[index]
    assert airflow.desk("POST", f"{release}decision", data={**sent, "reason": "the gates hold"}).status_code == 303
    airflow.until("shared-ward", waiting, lambda states: states["countersign"] == "awaiting_input")
    assert not (airflow.folder / "store" / "shared-ward").exists()

    again = airflow.desk("POST", f"{release}decision", data={**sent, "reason": "I am sure"})
    assert again.status_code == 409
    assert "The second signature is another steward&#39;s." in again.text
    assert "waits for a second steward" in airflow.desk("GET").text

    assert airflow.desk("POST", f"{release}decision", user="deputy", data={**sent, "reason": "I read it too"}).status_code == 303
    assert airflow.end("shared-ward", waiting)[0] == "success"
    decision = open_version(airflow.folder / "store", "shared-ward").manifest.decision
    assert decision is not None
    assert decision.second is not None
    assert [(decision.steward, decision.reason), (decision.second.steward, decision.second.reason)] == [
        ("steward", "the gates hold"),
        ("deputy", "I read it too"),
    ]
    late = airflow.desk("POST", f"{release}decision", data={**sent, "reason": "too late"})
    assert late.status_code == 409
    assert "published" in airflow.desk("GET", release).text
