"""The catalogue: pages that stand alone, say what was taken back and why, and can be read by anybody."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anonymize.cli import cli
from anonymize.errors import StoreError
from anonymize.publish import Store, catalogue, prepare, publish, review
from anonymize.publish.catalogue import rebuild
from anonymize.publish.manifest import Tombstone
from anonymize.publish.opening import open_dataset
from tests.publish.conftest import START, make_facts, make_stage

CHROMIUM = "/usr/bin/chromium"


def put(root: Path, store: Path, hours: int, **changed: Any) -> str:
    """Publish one more version; returns its name."""
    stage = make_stage(root / f"run-{hours}-{changed.get('dataset', 'icu')}", salt=hours)
    facts = make_facts(stage, run=f"icu-{hours}", started=START + timedelta(hours=hours)).model_copy(update=changed)
    prepare(stage, facts)
    decision = review.decide(review.request(stage), stage.parent / "review", approve=True, steward="A. Steward", reason="Looked at it", at=START)
    return publish(stage, store, facts, decision).version


def take_back(store: Path, version: str, **words: Any) -> None:
    """As a retraction leaves it: the files gone, a tombstone in the manifest's place."""
    folder = store / "icu" / "versions" / version
    shutil.rmtree(folder)
    folder.mkdir()
    stone = Tombstone(dataset="icu", version=version, date=START, **words)
    (folder / "tombstone.json").write_text(stone.model_dump_json())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets; of one a version was withdrawn, and one has expired."""
    root = tmp_path_factory.mktemp("catalogue")
    place = root / "store"
    first, second, third = (put(root, place, hours) for hours in (1, 2, 3))
    notice = "This version takes the place of one that was taken back."
    words = {"title": "Cardiology <visits> & labs", "description": "Visits of the heart clinic, 2015 to 2024.", "notices": (notice,)}
    put(root, place, 4, dataset="cardio", **words)
    take_back(place, first, reason="Expired: kept for one year by the policy.", by="retention")
    take_back(place, second, reason="A person asked for erasure.", by="A. Steward", replaced_by=third)
    rebuild(Store(place))
    return place


def test_every_link_of_every_page_leads_somewhere_and_nothing_is_asked_of_a_network(store: Path) -> None:
    found = [*store.glob("*.html"), *store.glob("*/*.html")]
    assert len(found) == 1 + 2 + 3 + 1
    for page in found:
        text = page.read_text()
        for link in re.findall(r'(?:href|src)="([^"]*)"', text):
            assert not re.match(r"[a-z]+:|//", link), link
            assert link.startswith("#") or (page.parent / link.partition("#")[0]).is_file(), f"{page.name} -> {link}"
        assert "@import" not in text
        assert not re.search(r"url\(", text)


def test_what_was_taken_back_is_told_with_reason_and_date(store: Path) -> None:
    first, second, third = [path.name for path in sorted((store / "icu" / "versions").iterdir())]
    page = (store / "icu" / "index.html").read_text()
    for words in ("Expired: kept for one year", "2026-11-21", "A person asked for erasure.", ">expired<", ">withdrawn<", f'href="{third}.html"'):
        assert words in page, words
    assert "taken back on 2026-11-21" in (store / "icu" / f"{second}.html").read_text()
    with pytest.raises(StoreError, match=r"was withdrawn on 2026-11-21: A person asked for erasure\. Use 2026"):
        Store(store).open("icu", second)
    assert Store(store).versions("icu") == [third]
    assert open_dataset("icu", store=store).count_rows() == 40
    listed = CliRunner().invoke(cli, ["datasets", str(store)]).output
    assert "cardio  Cardiology <visits> & labs" in listed
    assert f"  {first}  expired 2026-11-21: Expired: kept" in listed
    assert f"  {third}  2 tables, 80 rows, 40 people, k = 5  newest" in listed


def test_a_tombstone_survives_the_next_publish_and_its_version_is_not_published_again(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    stones = sorted(path.parent.name for path in copy.glob("icu/versions/*/tombstone.json"))
    put(tmp_path, copy, 5)
    assert sorted(path.parent.name for path in copy.glob("icu/versions/*/tombstone.json")) == stones
    with pytest.raises(StoreError, match="not published again"):
        put(tmp_path, copy, 1)


def test_a_dataset_of_which_all_was_taken_back_stays_in_the_catalogue(tmp_path: Path) -> None:
    version = put(tmp_path, tmp_path / "store", 1)
    take_back(tmp_path / "store", version, reason="Wrong consent list.", by="A")
    rebuild(Store(tmp_path / "store"))
    assert ">withdrawn<" in (tmp_path / "store" / "index.html").read_text()
    put(tmp_path, tmp_path / "store", 2, dataset="cardio")  # its publish sees the other dataset's index entry alone
    assert "icu/index.html" in (tmp_path / "store" / "index.html").read_text()


def test_pages_are_the_same_bytes_again_and_only_what_changed_is_written(store: Path) -> None:
    assert rebuild(Store(store)) == []
    (store / "index.html").write_text("torn")
    assert rebuild(Store(store)) == ["index.html"]
    assert catalogue.pages(Store(store))["index.html"] == (store / "index.html").read_bytes()


def test_words_of_a_policy_are_text_and_no_markup(store: Path) -> None:
    assert "Cardiology &lt;visits&gt; &amp; labs" in (store / "index.html").read_text()
    assert "<visits>" not in (store / "index.html").read_text() + (store / "cardio" / "index.html").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    sync = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"NOT RUN: the catalogue in a browser, for there is no {CHROMIUM} (Debian: apt-get install chromium)")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def kinds(store: Path) -> dict[str, Path]:
    """One page of each kind."""
    first, _, third = sorted((store / "icu" / "versions").iterdir())
    return {
        "index": store / "index.html",
        "dataset": store / "icu" / "index.html",
        "version": store / "icu" / f"{third.name}.html",
        "tombstone": store / "icu" / f"{first.name}.html",
        "dictionary": third / "dictionary.html",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_hold_wcag_22_aa_and_fit_the_screen(store: Path, browser: Any, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    for kind, file in kinds(store).items():
        page.goto(file.as_uri())
        rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
        result = axe.run(page, options=rules)
        assert result.violations_count == 0, f"{kind}: {result.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{kind} is wider than the screen"
    assert told == []
    page.close()


def test_the_search_finds_columns_by_keyboard_and_says_how_many(store: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((store / "index.html").as_uri())
    assert page.get_by_role("status").inner_text() == "2 datasets"
    page.get_by_role("searchbox").focus()
    page.keyboard.type("HEART visits")
    assert page.get_by_role("status").inner_text() == "1 of 2 datasets"
    assert page.locator(".sets > li:visible h2 a").all_inner_texts() == ["Cardiology <visits> & labs"]
    page.keyboard.press("Control+A")
    page.keyboard.type("birth icu")
    assert page.locator(".hits > li:visible").all_inner_texts() == ["patient.born Date of birth"]
    page.keyboard.press("Control+A")
    page.keyboard.type("nothing like it")
    assert page.get_by_role("status").inner_text() == "0 of 2 datasets"
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/cardio/index.html")
    assert page.get_by_role("heading", level=1).inner_text() == "Cardiology <visits> & labs"
    page.close()


def test_the_catalogue_is_read_without_scripts(store: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((store / "index.html").as_uri())
    assert page.locator(".sets > li:visible").count() == 2
    assert not page.locator("#finder").is_visible()
    context.close()


def test_a_folder_that_is_no_store_says_so(tmp_path: Path) -> None:
    told = CliRunner().invoke(cli, ["datasets", str(tmp_path)])
    assert f"{tmp_path.name} holds no dataset" in told.output, "not silence, which reads as if all were well"
    missing = CliRunner().invoke(cli, ["datasets", str(tmp_path / "misspelt")])
    assert isinstance(missing.exception, StoreError)
    assert "there is no folder" in str(missing.exception)
