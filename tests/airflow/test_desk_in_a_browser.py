"""The desk in a real Chromium, by two stewards and a researcher: log in, open, compare, label, reject, approve, see it published."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.airflow.conftest import Airflow

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(1800)]
CHROMIUM = Path("/usr/bin/chromium")
DATASET = "shared-ward"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"NO BROWSER: {CHROMIUM} is absent (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with playwright() as started:
        chromium = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def logged_in(airflow: Airflow, browser: Any) -> dict[str, Any]:
    """What the browser keeps of each user once they have logged in on Airflow's own page."""
    passwords = json.loads((airflow.home / "simple_auth_manager_passwords.json.generated").read_text())
    kept = {}
    for user in ("steward", "deputy", "researcher"):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{airflow.port}/")
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(passwords[user])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/login" not in url)
        page.get_by_role("link", name="Releases").or_(page.get_by_role("button", name="Releases")).first.wait_for()
        kept[user] = context.storage_state()
        context.close()
    return kept


@contextmanager
def desk(airflow: Airflow, browser: Any, logged_in: dict[str, Any], user: str, **settings: Any) -> Iterator[Any]:
    """A user's page. What the browser says of the content policy, and any error of a script, fails the test."""
    context = browser.new_context(storage_state=logged_in[user], base_url=f"http://127.0.0.1:{airflow.port}", **settings)
    page = context.new_page()
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if "Content Security Policy" in message.text else None)
    yield page
    context.close()
    assert said == []


def accessible(page: Any) -> None:
    """Nothing that axe-core's rules of WCAG 2.0, 2.1 and 2.2, level A and AA, find."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.wait_for_load_state("load")  # with its style: a page whose style is still on the way has small targets
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = axe.run(page, options={"runOnly": {"type": "tag", "values": tags}}).response
    assert found["passes"], "axe looked at the page"
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found["violations"]] == [], page.url


def waiting(airflow: Airflow) -> tuple[str, str]:
    """A new release that waits for its steward: the DAG run, and the address of its page."""
    run = airflow.trigger(DATASET)
    airflow.asked(DATASET, run)
    return run, f"/desk/{DATASET}/{quote(airflow.run_id(DATASET, run))}/"


def test_who_is_not_logged_in_is_led_to_the_login_and_back(airflow: Airflow, browser: Any) -> None:
    page = browser.new_page(base_url=f"http://127.0.0.1:{airflow.port}")
    assert page.goto("/desk/").status == 401
    accessible(page)
    password = json.loads((airflow.home / "simple_auth_manager_passwords.json.generated").read_text())["researcher"]
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Username").fill("researcher")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Releases").wait_for()
    assert page.url.rstrip("/").endswith("/desk")
    page.close()


def test_a_release_is_read_compared_labelled_and_rejected(airflow: Airflow, browser: Any, logged_in: dict[str, Any]) -> None:
    run, release = waiting(airflow)
    with desk(airflow, browser, logged_in, "steward") as page:
        # Airflow's own navigation leads here, and holds the desk in its frame.
        page.goto("/plugin/releases")
        framed = page.frame_locator("iframe[title='Releases']")
        framed.get_by_role("row").filter(has_text="waits for a steward").first.wait_for()

        page.goto("/desk/")
        accessible(page)
        row = page.get_by_role("row").filter(has_text="waits for a steward").first
        assert "k-anonymity passed" in row.inner_text()
        row.get_by_role("link").click()
        page.wait_for_url(f"**{release}")
        accessible(page)
        for heading in ("What goes out", "What is held back", "Risk", "Utility", "Free text", "Since the last release"):
            assert page.get_by_role("heading", name=heading).is_visible(), heading
        differences = page.locator("#differences").inner_text()
        assert "Held against" in differences, "it is compared with the one that was published before"
        assert "Policy: no setting changed." in differences

        page.get_by_role("link", name="Label sampled notes").click()
        page.wait_for_url("**/notes/")
        accessible(page)
        with page.expect_response(lambda answer: answer.request.method == "POST" and answer.url.endswith("/notes/")) as kept:
            page.get_by_role("button", name="Done, next note").click()
        assert kept.value.ok, kept.value.status
        page.get_by_label("Missed text that is not marked").fill("fever")
        page.keyboard.press("Enter")
        with page.expect_response(lambda answer: answer.request.method == "POST" and answer.url.endswith("/notes/")):
            page.get_by_role("button", name="Done, next note").click()
        page.reload()
        page.get_by_text(re.compile("2 of 12 notes done")).wait_for()
        page.get_by_role("navigation").get_by_role("link", name="A made-up ward").click()
        assert "2 of 12 sampled notes are read; identifiers that were missed: 1." in page.get_by_role("complementary").inner_text()
        assert "A steward read 2 of 12 drawn notes" in page.locator("#text").inner_text(), "the estimate stands on the release's page"

        with page.expect_download() as report:
            page.get_by_role("link", name="Report as HTML").click()
        assert "A made-up ward" in Path(report.value.path()).read_text(encoding="utf-8")

        page.get_by_label("Your reason").fill("One note still names somebody")
        page.get_by_role("button", name="Reject").click()
        page.get_by_role("status").get_by_text("Your rejection is recorded.").wait_for()
        accessible(page)
    assert airflow.end(DATASET, run)[0] == "success"
    assert airflow.states(DATASET, run)["publish"] == "skipped"
    with desk(airflow, browser, logged_in, "steward") as page:
        page.goto(release)
        assert "steward rejected it" in page.get_by_role("complementary").inner_text()
        assert not page.get_by_role("link", name="Label sampled notes").is_visible(), "the sample went with the run"


def test_two_stewards_approve_and_see_it_published(airflow: Airflow, browser: Any, logged_in: dict[str, Any]) -> None:
    run, release = waiting(airflow)
    with desk(airflow, browser, logged_in, "researcher") as page:
        page.goto(release)
        assert "You may read this release, and not decide on it." in page.get_by_role("complementary").inner_text()
        assert page.get_by_role("button").count() == 0
        accessible(page)

    with desk(airflow, browser, logged_in, "steward") as page:
        page.goto(release)
        # With the keyboard alone.
        page.get_by_label("Your reason").focus()
        page.keyboard.type("The gates hold")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Approve"
        page.keyboard.press("Enter")
        page.get_by_role("status").get_by_text("Your approval is recorded.").wait_for()

    airflow.asked(DATASET, run, "countersign")
    with desk(airflow, browser, logged_in, "steward") as page:
        page.goto(release)
        assert page.get_by_role("button", name="Approve").is_disabled(), "the second is not the first"

    with desk(airflow, browser, logged_in, "deputy", viewport={"width": 390, "height": 844}, color_scheme="dark") as page:
        page.goto(release)
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out on a narrow screen"
        page.get_by_label("Your reason").fill("I read it too")
        page.get_by_role("button", name="Approve").click()
        page.get_by_role("status").get_by_text("Your approval is recorded.").wait_for()
    assert airflow.end(DATASET, run)[0] == "success"

    with desk(airflow, browser, logged_in, "deputy", viewport={"width": 390, "height": 844}, color_scheme="dark") as page:
        page.goto("/desk/?state=published")
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator(f"a[href='{release}']").click()
        said = page.get_by_role("complementary").inner_text()
        assert "steward approved it" in said
        assert "deputy signed as well" in said
        page.get_by_role("link", name="After consent was withdrawn").click()
        page.get_by_role("heading", name="Take people back").wait_for()
        accessible(page)


def test_every_look_and_decision_is_in_the_audit_trail(airflow: Airflow) -> None:
    lines = [json.loads(line) for line in (airflow.folder / "workspace" / "trail" / "trail.jsonl").read_text().splitlines()]
    done = {(line["who"], line["action"], (line["facts"] or {}).get("page", "")) for line in lines if line["dataset"] == DATASET}
    for who, action, page in (
        ("steward", "looked", "release"),
        ("steward", "looked", "notes"),
        ("steward", "looked", "report.html"),
        ("steward", "labelled", ""),
        ("steward", "rejected", ""),
        ("steward", "approved", ""),
        ("deputy", "approved", ""),
        ("deputy", "looked", "retract"),
        ("researcher", "looked", "release"),
    ):
        assert (who, action, page) in done
