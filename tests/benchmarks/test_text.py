"""The measure of PHI detection in text: its maker of notes and its scorer."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.text.__main__ import grouped, table
from benchmarks.text.grammar import banks, kept_back, pick, pick_many, tokens, weighed
from benchmarks.text.maker import Note, make
from benchmarks.text.retold import retell
from benchmarks.text.score import IGNORED, by_label, figures, intervals, score
from benchmarks.text.sets import SETS, read_jsonl
from benchmarks.text.written import EIGHTH, FIFTH, FILE, KEPT_BACK, SECOND, SENTENCES, SEVENTH, SIXTH, THIRD, VISITS, written

SEED = 11


@pytest.fixture(scope="module")
def dev() -> list[dict[str, Any]]:
    return make("dev", 120, SEED)


@pytest.fixture(scope="module")
def holdout() -> list[dict[str, Any]]:
    return make("holdout", 120, SEED)


def _slots(template: str) -> Iterator[str]:
    for what, head, inner in tokens(template):
        if what == "slot":
            yield head
        elif what == "label":
            yield from _slots(inner)


class TestMaker:
    def test_same_seed_same_notes(self, dev: list[dict[str, Any]]) -> None:
        assert make("dev", 120, SEED) == dev

    def test_another_seed_makes_other_notes(self, dev: list[dict[str, Any]]) -> None:
        other = make("dev", 120, SEED + 1)
        assert not {note["text"] for note in dev} & {note["text"] for note in other}

    def test_a_note_does_not_depend_on_how_many_are_made(self, dev: list[dict[str, Any]]) -> None:
        assert make("dev", 10, SEED) == dev[:10]

    def test_spans_are_exact(self, dev: list[dict[str, Any]], holdout: list[dict[str, Any]]) -> None:
        for note in dev + holdout:
            assert note["spans"]
            end = 0
            for span in note["spans"]:
                assert end <= span["start"] < span["end"] <= len(note["text"])
                told = note["text"][span["start"] : span["end"]]
                assert told == told.strip()
                end = span["end"]

    @pytest.mark.parametrize(
        ("label", "shape"),
        [
            ("PHONE", r"[\d() +./-]+"),
            ("ZIP", r"\d{5}(-\d{4})?"),
            ("STATE", r"[A-Za-z ]+"),
            ("AGE", r"\d{1,2}"),
            ("AGE_OVER_89", r"(9\d|1\d\d|(ninety|one hundred).*)"),
            ("EMAIL", r"[^@\s]+@[^@\s]+"),
            ("YEAR", r"\d{4}"),
            ("IP", r"[\dA-Fa-f:.]+"),
        ],
    )
    def test_a_span_holds_what_its_label_says(self, dev: list[dict[str, Any]], label: str, shape: str) -> None:
        told = [note["text"][s["start"] : s["end"]].replace("\n", " ") for note in dev for s in note["spans"] if s["label"] == label]
        assert told
        assert [text for text in told if not re.fullmatch(shape, text, re.IGNORECASE)] == []

    def test_a_note_tells_its_subject_and_the_record_knows_it(self, dev: list[dict[str, Any]]) -> None:
        keys = {"given", "family", "dob", "mrn", "phone", "address", "city", "state", "zip", "email", "relative", "insurance_id", "provider"}
        assert all(set(note["record"]) == keys and all(note["record"].values()) for note in dev)
        named = [note for note in dev if note["record"]["family"].lower() in note["text"].lower()]
        assert len(named) > 0.7 * len(dev)

    def test_no_slot_and_no_mark_is_left(self, dev: list[dict[str, Any]], holdout: list[dict[str, Any]]) -> None:
        assert [note["id"] for note in dev + holdout if re.search(r"[{}«»]|<[A-Z]+\||\\n", note["text"])] == []

    def test_every_form_can_be_written(self) -> None:
        note = Note("dev", random.Random(0), "note_history")
        for name, forms in banks().items():
            if name != "states" and not name.startswith("names_"):
                for form in forms:
                    assert note.expand(weighed(form)[1], name)

    def test_no_bank_is_without_use_and_no_slot_unknown(self) -> None:
        used = {part for forms in banks().values() for form in forms for slot in _slots(form) for part in re.split(r"[ :|«»]", slot)}
        drawn_by_code = ("note_", "names_", "question", "states", "streets", "counties", "cities", "phi", "facility", "told_")
        assert [name for name in banks() if name not in used and not name.startswith(drawn_by_code)] == []

    def test_an_unknown_split_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Known: dev, holdout, natural"):
            make("test", 1, 0)


class TestHoldOut:
    def test_the_dev_set_draws_no_form_that_is_kept_back(self) -> None:
        rng = random.Random(3)
        for name, forms in banks().items():
            kept = {weighed(form)[1] for form in kept_back(forms)}
            assert kept.isdisjoint(pick(name, "dev", rng) for _ in range(50))
            assert kept.isdisjoint(pick_many(name, "dev", 10, rng))

    def test_a_third_of_the_forms_is_kept_back_and_used(self) -> None:
        rng = random.Random(4)
        for name, forms in banks().items():
            kept = {weighed(form)[1] for form in kept_back(forms)}
            assert len(kept) == len(forms) // 3
            if kept:
                drawn = [pick(name, "holdout", rng) in kept for _ in range(400)]
                assert 0.4 < sum(drawn) / 400 < 0.6

    def test_the_sets_share_no_patient(self, dev: list[dict[str, Any]], holdout: list[dict[str, Any]]) -> None:
        for key in ("given", "family", "mrn", "phone", "email"):
            assert {note["record"][key] for note in dev}.isdisjoint(note["record"][key] for note in holdout)

    def test_the_natural_set_draws_every_form_by_its_weight(self) -> None:
        rng = random.Random(5)
        weights = dict(reversed(weighed(form)) for form in banks()["date_full"])
        drawn = [pick("date_full", "natural", rng) for _ in range(20_000)]
        assert set(drawn) == set(weights)
        assert all(abs(drawn.count(form) / 20_000 - weight / sum(weights.values())) < 0.01 for form, weight in weights.items())

    def test_a_layout_is_kept_back_in_every_kind_of_note(self) -> None:
        kinds = [name for name in banks() if name.startswith("note_")]
        assert len(kinds) >= 12
        assert all(kept_back(banks()[kind]) for kind in kinds)


class TestRetold:
    def test_a_visit_is_told_with_new_phi_alone(self, data_dir: Path) -> None:
        visits = list(read_jsonl(data_dir / "notes" / "clin_dev.jsonl"))
        told = retell(visits, len(visits), SEED)
        assert told == retell(visits, len(visits), SEED)
        for old, new in zip(visits, told, strict=True):
            assert len(new["spans"]) >= len(old["spans"])
            assert old["record"]["mrn"] not in new["text"]
            assert old["record"]["email"].lower() not in new["text"].lower()
            assert all(new["text"][s["start"] : s["end"]].strip() for s in new["spans"])

    def test_its_clinical_text_stays(self, data_dir: Path) -> None:
        visits = list(read_jsonl(data_dir / "notes" / "clin_dev.jsonl"))
        for old, new in zip(visits, retell(visits, len(visits), SEED), strict=True):
            words = _clinical(old)
            assert len(words - _clinical(new)) < 0.02 * len(words) + 3


def _clinical(note: dict[str, Any]) -> set[str]:
    text = list(note["text"].lower())
    for span in note["spans"]:
        text[span["start"] : span["end"]] = " " * (span["end"] - span["start"])
    return set(re.findall(r"[a-z]{4,}", "".join(text)))


GOLD = {
    "id": "1",
    "text": "Ann Lee, 54, saw Dr. Roe in 2019 for Bell's palsy.",
    "spans": [
        {"start": 0, "end": 7, "label": "NAME"},
        {"start": 9, "end": 11, "label": "AGE"},
        {"start": 21, "end": 24, "label": "NAME"},
        {"start": 28, "end": 32, "label": "YEAR"},
    ],
}


class TestScorer:
    def test_all_found(self) -> None:
        told = figures(score([GOLD], [[(0, 7), (21, 24)]]).documents)
        assert told["char_recall"] == told["char_precision"] == told["entity_recall"] == told["entity_precision"] == told["leak_free"] == 1

    def test_half_a_name_leaks(self) -> None:
        scored = score([GOLD], [[(0, 3), (21, 24)]])
        told = figures(scored.documents)
        assert (told["char_recall"], told["entity_recall"], told["leak_free"]) == (6 / 9, 1 / 2, 0)
        assert [miss["span"] for miss in scored.misses] == ["Ann Lee"]

    def test_separators_need_no_cover(self) -> None:
        assert figures(score([GOLD], [[(0, 3), (4, 7), (21, 24)]]).documents)["entity_recall"] == 1

    def test_an_eponym_is_a_false_alarm(self) -> None:
        scored = score([GOLD], [[(0, 7), (21, 24), (37, 43)]])
        assert figures(scored.documents)["char_precision"] == 9 / 14
        assert [alarm["span"] for alarm in scored.alarms] == ["Bell's"]

    def test_ages_and_years_count_neither_way(self) -> None:
        told = figures(score([GOLD], [[(0, 7), (9, 11), (21, 24), (28, 32)]]).documents)
        assert (told["char_precision"], told["entity_precision"]) == (1, 1)

    def test_labels_group_recall(self) -> None:
        told = by_label(score([GOLD, GOLD], [[(0, 7)], [(0, 7), (21, 24)]]).labels)
        assert list(told) == ["NAME"]
        assert (told["NAME"]["n"], told["NAME"]["entity_recall"], told["NAME"]["char_recall"]) == (4, 3 / 4, 15 / 18)

    def test_an_interval_holds_its_figure(self, dev: list[dict[str, Any]]) -> None:
        predicted = [[(span["start"], span["end"]) for span in note["spans"][number % 3 :]] for number, note in enumerate(dev)]
        rows = score(dev, predicted).documents
        for name, (low, high) in intervals(rows).items():
            assert low <= figures(rows)[name] <= high
        assert intervals(rows)["char_recall"][0] < intervals(rows)["char_recall"][1]

    def test_the_table_has_a_row_a_system_and_a_category(self) -> None:
        scored = score([GOLD], [[(0, 7)]])
        one = {
            "figures": figures(scored.documents),
            "intervals": intervals(scored.documents),
            "labels": by_label(scored.labels),
            "groups": grouped([GOLD], scored),
            "kB_per_s": 12.3,
            "documents": 1,
        }
        lines = table({"dev": {"ours": one, "other": one}}).splitlines()
        assert [line for line in lines if line.startswith("| dev | o")] != []
        assert "| NAME | 2 | 0.500 (0.500-0.500) | 0.500 (0.500-0.500) |" in lines

    def test_groups_tell_case_and_kind(self) -> None:
        shouted = {**GOLD, "text": GOLD["text"].upper(), "kind": "note_visit"}
        told = grouped([GOLD, shouted], score([GOLD, shouted], [[(0, 7), (21, 24)], []]))
        assert {group: (g["documents"], g["char_recall"]) for group, g in told.items()} == {
            "mixed": (1, 1),
            "upper": (1, 0),
            "note_visit": (1, 0),
        }

    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_agrees_with_the_scorer_of_the_data_folder(self, data_dir: Path, dev: list[dict[str, Any]], data: st.DataObject) -> None:
        reference = _reference(data_dir / "notes" / "evaluate.py")
        notes = data.draw(st.lists(st.sampled_from(dev), min_size=1, max_size=4, unique_by=lambda note: note["id"]))
        predicted = [data.draw(st.lists(st.tuples(st.integers(0, len(n["text"])), st.integers(1, 30)), max_size=30)) for n in notes]
        found = [[(start, start + size) for start, size in spans] for spans in predicted]
        theirs = reference.agg(
            reference.score(
                notes, [{"id": n["id"], "spans": [{"start": s, "end": e} for s, e in f]} for n, f in zip(notes, found, strict=True)], IGNORED
            )[0]
        )
        ours = figures(score(notes, found).documents)
        names = {"char_recall": "char_recall", "char_precision": "char_precision", "entity_recall": "ent_recall_full"}
        names |= {"entity_precision": "ent_precision", "leak_free": "docs_without_leak", "over_redaction": "over_redaction"}
        assert {name: pytest.approx(theirs[other]) for name, other in names.items()} == ours


def _reference(path: Path) -> Any:
    if "evaluate" not in sys.modules:
        spec = importlib.util.spec_from_file_location("evaluate", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["evaluate"] = module
    return sys.modules["evaluate"]


def test_notes_are_plain_json(dev: list[dict[str, Any]]) -> None:
    assert json.loads(json.dumps(dev)) == dev


class TestWritten:
    LABELS = frozenset("NAME DATE AGE_OVER_89 PHONE EMAIL ADDRESS LOCATION STATE ZIP HOSPITAL ORG ID URL IP ROOM".split()) | IGNORED
    KEYS = frozenset("given family dob mrn phone address city state zip email relative insurance_id provider".split())

    def test_is_a_set_of_sixty_documents(self) -> None:
        documents = SETS["written"].read(3, 0)
        assert len({document["id"] for document in documents}) == len(documents) == 60

    def test_spans_are_exact(self) -> None:
        for document in written():
            end = 0
            for span in document["spans"]:
                inside = document["text"][span["start"] : span["end"]]
                assert inside == inside.strip() != ""
                assert span["start"] >= end
                assert span["label"] in self.LABELS
                end = span["end"]

    def test_text_and_spans_give_back_the_file(self) -> None:
        told = []
        for document in written():
            marked = document["text"]
            for span in reversed(document["spans"]):
                inside = f"[[{span['label']}|{marked[span['start'] : span['end']]}]]"
                marked = marked[: span["start"]] + inside + marked[span["end"] :]
            told.append(f"=== {document['id']} | {json.dumps(document['record'], ensure_ascii=False)}\n{marked}\n")
        assert "".join(told) == FILE.read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("path", "documents"),
        [(SECOND, 108), (THIRD, 218), (FIFTH, 65), (SIXTH, 98), (SEVENTH, 200), (EIGHTH, 812), (KEPT_BACK, 80), (VISITS, 60), (SENTENCES, 245)],
    )
    def test_the_others_are_read(self, path: Path, documents: int) -> None:
        read = written(path)
        assert len({document["id"] for document in read}) == len(read) == documents
        inside = [document["text"][span["start"] : span["end"]] for document in read for span in document["spans"]]
        assert all(words.strip() for words in inside)
        assert len(inside) > 100

    def test_no_stray_bracket(self) -> None:
        for document in written():
            assert not re.search(r"\[\[|\]\]|\|", document["text"]), document["id"]

    def test_records_have_known_keys(self) -> None:
        for document in written():
            assert document["record"]
            assert set(document["record"]) <= self.KEYS

    def test_a_bracket_outside_a_mark_is_told_by_document(self, tmp_path: Path) -> None:
        path = tmp_path / "set.txt"
        path.write_text("=== a | {}\nfine [[NAME|Ann]]\n=== b | {}\nhalf [[NAME|Ann]\n", encoding="utf-8")
        with pytest.raises(ValueError, match="'b'"):
            written(path)
