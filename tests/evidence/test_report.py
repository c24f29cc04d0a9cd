"""The page and the report: self-contained, accessible, the same bytes again, with no value of a record and no markup of a policy's making."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.cli import cli
from anonymize.errors import StoreError
from anonymize.evidence import Evidence, compare, documents, gather, gather_before, render, report, signatures_of
from anonymize.evidence.comparing import Comparison
from anonymize.evidence.model import Audit, ColumnOut, Expectation, HeldBack, Signature, TableHeld, TableOut, TableRisk, TextFound
from anonymize.publish import Store, open_version
from anonymize.publish import publish as publish_release
from anonymize.publish.manifest import GateFact
from tests.evidence.conftest import START, Hospital, audit, made
from tests.road import hospital

CHROMIUM = "/usr/bin/chromium"
NASTY = '<script>alert("x")</script> & \'"> ü ≥ 名'


class Page(HTMLParser):
    """What a test asks of HTML: its ids, its links within, its tags, its pictures and whether each tells what it shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.pictures = self.titles = self.told = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"]] if found.get("id") else []
        self.links += [found["href"].removeprefix("#")] if (found.get("href") or "").startswith("#") else []
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action") and value and not value.startswith("#")]
        self.pictures += tag == "svg"
        self.titles += tag == "title"
        self.told += tag == "desc"


def everything() -> Evidence:
    """Evidence in which every part has something, in words that are markup."""
    bars = [{"label": NASTY, "before": 40, "after": 30}, {"label": "*", "before": 9, "after": 6}]
    shown = {"level": "value", "bars": bars, "others": {"label": None, "before": 9, "after": 8}}
    column = {"role": "quasi", "kind": "category", "loss": 0.8, "information": 0.4, "total_variation": 0.1, "earth_mover": None}
    pair = {"columns": ["a", "b"], "rows": 9, "v_before": 0.2, "v_after": 0.1, "bits_before": 0, "bits_after": 0}
    utility = {"rows_before": 50, "rows_after": 40, "subjects_before": 50, "subjects_after": 40, "granularity": 0.2, "information": 0.4}
    attack = {"told": 0.1, "likely": 0.2, "commonest": 0.5, "baseline": 0.4, "knowing": [{"ruled_out": 1, "certain": 0.3}]}
    figures = {"highest": 0.5, "average": 0.2, "at_risk": 0.5, "threshold": 0.2, "journalist": 0.1, "marketer": 0.05, "unique": 0.0}
    return made(
        **dict.fromkeys(("title", "description", "licence", "contact", "recipient", "purpose", "citation"), NASTY),
        tables=(
            TableOut(
                name="t", description=NASTY, rows=40, subjects=40, columns=(ColumnOut(name=NASTY, type="string", role="text", method="scrub"),)
            ),
        ),
        held_back=HeldBack(
            tables=(NASTY,), by_table=(TableHeld(table="t", rows_in=50, quarantined=1, reasons={NASTY: 1}, unreadable={"pdf": 1}),)
        ),
        risk=(
            TableRisk(
                table="t", subjects=40, classes=5, population_unique=0, model="", histogram={2: 5, 30: 1}, attacks={NASTY: attack}, **figures
            ),
        ),
        utility={"t": {**utility, "columns": {NASTY: {**column, "histogram": shown}}, "pairs": [pair], "left_out": [NASTY]}},
        text=TextFound(findings={"t": {"name": 12, NASTY: 3}}, columns=("t.note",), audit=audit(missed=2, missed_kinds={NASTY: 2})),
        expectations=(Expectation(table="t", column=NASTY, expectation=NASTY, passed=False, failed=3),),
        gates=(GateFact(gate=NASTY, passed=False, words=NASTY),),
        policy={NASTY: NASTY},
    )


def pdf_text(data: bytes, tmp_path: Path) -> str:
    """The words of a PDF, by Debian's poppler."""
    if shutil.which("pdftotext") is None:
        pytest.skip("NOT RUN: the PDF's words are not read, for there is no pdftotext (Debian: apt-get install poppler-utils)")
    (tmp_path / "read.pdf").write_bytes(data)
    return subprocess.run(
        ["pdftotext", "-layout", str(tmp_path / "read.pdf"), "-"], capture_output=True, text=True, check=True, timeout=60
    ).stdout


# --------------------------------------------------------------------------------------------------------------------------- the page


def test_the_page_has_its_sections_and_every_picture_tells_what_it_shows(two: Hospital) -> None:
    html = render.body(gather(two.second), compare(gather(two.second), gather_before(two.second)))
    page = Page(html)
    assert set(render.SECTIONS) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= set(page.ids)
    assert page.pictures >= 4
    assert page.pictures == page.titles == page.told
    assert page.addresses == []
    assert "Passed: all" in html
    assert "script" not in page.tags


@pytest.mark.parametrize("make", [report.html, lambda e, c, s=(): report.expectations(e)])
def test_words_are_text_and_no_markup_and_nothing_is_fetched(make: Any) -> None:
    evidence = everything()
    signed = (Signature(steward=NASTY, approve=False, reason=NASTY, at=START, files={NASTY: "0"}),)
    html = make(evidence, compare(evidence, made(version=NASTY, tables=(), policy={})), signed)
    page = Page(html)
    assert page.tags.isdisjoint({"script", "link", "iframe", "img", "object", "form"})
    assert page.addresses == []
    assert "alert(&#34;x&#34;)" in html
    assert not re.search(r"@import|url\(", html)


def test_a_release_that_is_stopped_says_so_first() -> None:
    html = render.body(everything(), Comparison())
    assert "Stopped: 1 of 1 gates failed" in html
    assert html.index("Stopped") < html.index('class="tiles"') < html.index("What to know")
    assert "✗ over" in html
    assert "Not judged" in render.body(made(gates=()), Comparison())


counts = st.integers(0, 10**6)
shares = st.floats(0, 1)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    histogram=st.dictionaries(st.integers(1, 5000), st.integers(1, 500), min_size=1, max_size=30),
    figures=st.lists(shares, min_size=6, max_size=6),
    rows=st.lists(counts, min_size=4, max_size=4),
    recall=st.tuples(shares, shares, shares).map(sorted),
    words=st.text(max_size=40),
)
def test_any_figures_can_be_drawn(histogram: dict[int, int], figures: list[float], rows: list[int], recall: list[float], words: str) -> None:
    names = ("highest", "average", "at_risk", "threshold", "journalist", "marketer")
    risk = TableRisk(
        table="t", subjects=1, classes=1, unique=0, population_unique=0, model="", histogram=histogram, **dict(zip(names, figures, strict=True))
    )
    held = TableHeld(table="t", **dict(zip(("rows_in", "suppressed", "no_subject", "quarantined"), rows, strict=True)))
    found = Audit.model_validate({**audit().model_dump(), "recall_low": recall[0], "recall": recall[1], "recall_high": recall[2]})
    text = TextFound(columns=("t.n",), findings={"t": {"name": rows[0]}}, audit=found)
    table = TableOut(name="t", description=words, rows=rows[0], columns=())
    evidence = made(risk=(risk,), held_back=HeldBack(by_table=(held,)), text=text, tables=(table,), title=words)
    html = render.body(evidence, Comparison())
    numbers = [float(number) for number in re.findall(r' (?:x|y|width|height|x1|x2|y1|y2)="([^"]+)"', html)]
    assert numbers
    assert all(-1 <= number <= 1000 for number in numbers)
    assert not re.search(r'="(nan|inf)"', html)


# ------------------------------------------------------------------------------------------------------------------------ the report


def test_the_report_says_what_a_determination_needs(two: Hospital, tmp_path: Path) -> None:
    evidence = gather(two.second)
    signed = (Signature(steward="Ada Steward", approve=True, reason="The figures were read", at=START, files={"a": "0" * 64}),)
    comparison = compare(evidence, gather_before(two.second))
    html, paper = report.html(evidence, comparison, signed), report.pdf(evidence, comparison, signed)
    texts = {"html": re.sub(r"<[^>]+>", " ", html), "pdf": pdf_text(paper, tmp_path)}
    for kind, text in texts.items():
        flat = " ".join(text.split())
        for words in (
            "164.514(b)(1)",
            "A university",
            "A study of stays",
            "k-anonymity (Sweeney, 2002)",
            "Residual risk and known limits",
            "Ada Steward approved it",
            "The figures were read",
            signed[0].sha256[:16],
            "Since the last release",
            "privacy.k",
            evidence.policy_sha256[:20],
        ):
            assert words in flat, f"{kind} lacks {words}"


def test_no_value_of_a_record_is_in_a_report(two: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    written = FPDF.normalize_text
    monkeypatch.setattr(FPDF, "normalize_text", lambda self, text: said.append(text) or written(self, text))
    made_files = documents(two.second)
    assert "Residual risk and known limits" in said
    assert set(made_files) == {"report.html", "report.pdf", "expectations.html"}
    seen = made_files["report.html"].decode() + made_files["expectations.html"].decode() + "\n".join(said)
    for number in range(1, 61):
        _, mrn, family, given_name, birth, _, _, phone, _ = hospital.patient(number)
        for value in (mrn, phone, str(mrn)[4:], birth):
            assert str(value) not in seen
        for name in (family, given_name):
            assert not re.search(rf"\b{re.escape(str(name))}\b", seen)


def test_the_same_release_gives_the_same_bytes(two: Hospital) -> None:
    assert documents(two.second) == documents(two.second)


def test_the_pdf_is_for_the_archive(two: Hospital) -> None:
    data = report.pdf(gather(two.second), Comparison())
    assert b"<pdfaid:part>2</pdfaid:part>" in data
    assert data.count(b"/FontFile2") == 2, "both fonts are within it"
    assert b"/Outlines" in data
    assert b"/Lang (en)" in data
    assert data.count(b"/Alt (") + data.count(b"/Alt <") >= 4, "pictures have words"
    assert b"/JavaScript" not in data


def test_the_pdf_holds_names_of_any_script_and_parts_of_any_length() -> None:
    evidence = everything().model_copy(update={"description": "Wort " * 2000, "policy": {f"a.{n}": "b" * 300 for n in range(50)}})
    signed = [Signature(steward="Łukasz Ωmega Ђ", approve=True, reason="x" * 500, at=START, files={f"f{n}": "0" * 64 for n in range(200)})] * 2
    assert report.pdf(evidence, Comparison(), signed).startswith(b"%PDF-1.7")


def test_a_published_version_holds_its_signed_report(two: Hospital) -> None:
    version = open_version(two.store, "small", verify=True)
    assert {file.path for file in version.manifest.signed} == {"report.html", "report.pdf", "expectations.html"}
    html = (two.store / "small" / "versions" / two.version / "report.html").read_text()
    assert "Ada Steward approved it" in html
    sums = (two.store / "small" / "versions" / two.version / "SHA256SUMS").read_text()
    assert "evidence.json" in sums
    assert "report.html" not in sums, "it was written after what was signed"


def test_a_signed_document_takes_the_place_of_no_staged_one(two: Hospital, tmp_path: Path) -> None:
    from anonymize import releasing

    shutil.copytree(two.second.folder("stage"), tmp_path / "stage")
    facts = releasing.facts(two.second).model_copy(update={"review_required": False})
    with pytest.raises(StoreError, match=r"README\.md is staged already"):
        publish_release(tmp_path / "stage", tmp_path / "store", facts, None, signed={"README.md": b""})


def test_the_command_writes_the_report_of_a_run_a_dataset_and_a_folder(two: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZE_POLICIES", str(two.folder))
    folder = two.store / "small" / "versions" / two.version
    for number, name in enumerate(("second", "small", str(folder), f"small/{two.version}")):
        done = CliRunner().invoke(cli, ["report", name, "--out", str(tmp_path / str(number))])
        assert done.exit_code == 0, done.output
        assert {file.name for file in (tmp_path / str(number)).iterdir()} == {"report.html", "report.pdf", "expectations.html"}
    assert (tmp_path / "1" / "report.pdf").read_bytes() == (folder / "report.pdf").read_bytes() == (tmp_path / "2" / "report.pdf").read_bytes()
    assert "Nobody has decided" in (tmp_path / "0" / "report.html").read_text()
    assert signatures_of(Store(two.store).open("small").manifest)


# --------------------------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"NOT RUN: the report in a browser, for there is no {CHROMIUM} (Debian: apt-get install chromium)")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_hold_wcag_22_aa_and_fit_the_screen(two: Hospital, browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    second = gather(two.second)
    pages = {
        "report": report.html(second, compare(second, gather_before(two.second))),
        **({"stopped": report.html(everything(), Comparison())} if width == 390 else {"expectations": report.expectations(second)}),
    }
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for name, html in pages.items():
        (tmp_path / "page.html").write_text(html)
        page.goto((tmp_path / "page.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
        result = axe.run(page, options=rules)
        assert result.violations_count == 0, f"{name}: {result.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is wider than the screen"
    page.close()


def test_json_of_evidence_is_json() -> None:
    assert json.loads(everything().to_json())["format"] == 1
