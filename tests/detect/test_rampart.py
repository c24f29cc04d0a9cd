"""The model that reads: its weights as the package has them, which sentences it reads, and how its word counts beside that of `context`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.numpy_helper import to_array

from anonymize.detect import adapted, rampart
from anonymize.detect.base import DOUBT, Finding
from anonymize.detect.decide import decide, judge
from anonymize.detect.registry import build
from anonymize.policy.model import Kind, Text

SENTENCES = "Pt seen today. She volunteers at Willow Creek Pantry on weekends. Denies chest pain.\nBP 120/80. Will follow up."


def test_matrices_are_unpacked_as_the_runtime_multiplies_them() -> None:
    graph = onnx.load(adapted.folder() / "onnx" / "model_q4.onnx").graph
    node = next(node for node in graph.node if node.op_type == "MatMulNBits")
    held = {tensor.name: tensor for tensor in graph.initializer}
    one = helper.make_node("MatMulNBits", ["x", *node.input[1:]], ["y"], domain="com.microsoft")
    one.attribute.extend(node.attribute)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [384, 384]) for name in ("x", "y"))
    made = helper.make_graph([one], "one", [x], [y], [held[name] for name in node.input[1:]])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    session = onnxruntime.InferenceSession(helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString())
    product = session.run(None, {"x": np.eye(384, dtype=np.float32)})[0]
    ours = adapted._unpacked(node, {name: to_array(held[name]) for name in node.input[1:]})
    np.testing.assert_allclose(product, ours, atol=2e-3)
    assert np.abs(ours).max() > 0.1


def test_an_adapter_adds_its_products_and_replaces_the_rest() -> None:
    lots = np.random.default_rng(0)
    base = {f"{layer}.{name}": lots.normal(size=(4, 6)) for layer in range(adapted.LAYERS) for name in adapted.MATRICES} | {"norm": np.zeros(4)}
    learnt = {f"{name}.down": lots.normal(size=(4, 2)) for name in base if name != "norm"}
    learnt |= {f"{name}.up": lots.normal(size=(2, 6)) for name in base if name != "norm"} | {"norm": np.ones(4)}
    both = adapted.merged(base, learnt)
    assert both.keys() == base.keys()
    np.testing.assert_allclose(both["3.wide"], base["3.wide"] + 2 * learnt["3.wide.down"] @ learnt["3.wide.up"])
    np.testing.assert_array_equal(both["norm"], np.ones(4))


def test_reading_tells_chances_of_every_word_and_nothing_of_blanks() -> None:
    text = "Met with Xiuying Okonkwo at Willow Creek Pantry. " * 30
    told = rampart._read(text)
    assert told.shape == (len(text), 7)
    for at, sign in enumerate(text):
        assert told[at].sum() == pytest.approx(1 if sign.strip() else 0, abs=1e-3)
    names = [at for at in range(len(text)) if text.startswith("Okonkwo", at)]
    assert len(names) == 30
    assert all(told[at, 1] > 0.5 for at in names)


@given(st.text(max_size=300), st.lists(st.tuples(st.integers(0, 299), st.floats(0, 1)), max_size=5))
def test_every_doubt_is_read_and_pieces_do_not_overlap(text: str, doubts: list[tuple[int, float]]) -> None:
    found = [Finding(Kind.NAME, at, at + 1, chance, DOUBT) for at, chance in doubts if at < len(text) and not text[at].isspace()]
    pieces = rampart.doubtful(text, found)
    low, high = rampart.UNSURE
    assert all(any(start <= f.start < end for start, end in pieces) for f in found if low < f.score < high)
    assert all(0 <= start < end <= len(text) for start, end in pieces)
    assert all(before[1] < after[0] for before, after in pairwise(pieces))


def test_what_leaves_no_doubt_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rampart, "_read", lambda text: pytest.fail("read"))
    sure = [Finding(Kind.NAME, 33, 39, 0.99, DOUBT), Finding(Kind.NAME, 0, 2, 0.001, DOUBT), Finding(Kind.NAME, 4, 8, 0.5, "places")]
    assert rampart.find_rampart([SENTENCES], [sure]) == [[]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pt sykes in bed 14b, cpap off.\nson called. will bring papers", True),
        ("- seen by dr obi\n2) labs sent. K 4.1", True),
        ("Pt seen. labs sent.\nAlert. Calm.", False),
        ("seen today", False),
        ("12/3 118/70 98%", False),
        ("", False),
    ],
)
def test_capitals_tell_nothing_where_sentences_begin_in_small_letters(text: str, expected: bool) -> None:
    assert rampart.untold(text) is expected


def test_what_capitals_do_not_tell_is_read_wholly_and_believed_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    def half_sure(text: str) -> np.ndarray:
        told = np.zeros((len(text), 7), np.float32)
        told[:, 0], told[:, 2] = 0.4, 0.6
        return told

    monkeypatch.setattr(rampart, "_read", half_sure)
    small, large = "works at target since june. no pain.", "Works at target since june. No pain."
    assert {small[f.start : f.end] for f in rampart.find_rampart([small], [[]])[0]} >= {"target", "june"}
    assert rampart.find_rampart([large], [[]]) == [[]]


def test_only_the_sentence_in_doubt_and_what_stands_around_is_read() -> None:
    text = "Denies chest pain. " * 40 + SENTENCES + " Denies chest pain." * 40
    at = text.index("Willow")
    ((start, end),) = rampart.doubtful(text, [Finding(Kind.NAME, at, at + 6, 0.5, DOUBT)])
    assert start <= text.index("She volunteers") <= at < end
    assert end - start < len("She volunteers at Willow Creek Pantry on weekends.") + 2 * rampart.AROUND + 20


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_chance_by_both_grows_with_each(one: float, other: float, third: float) -> None:
    low, high = sorted((one, other))
    assert rampart.together(low, third) <= rampart.together(high, third)
    assert rampart.together(third, low) <= rampart.together(third, high)
    assert 0 < rampart.together(one, other) < 1


def test_how_a_word_is_typed_is_told_of_each_of_its_parts() -> None:
    text = "Jo MD x\nB12 McAdoo"
    offsets = [(0, 0), (0, 2), (3, 4), (4, 5), (6, 7), (8, 11), (12, 14), (14, 18), (0, 0)]
    assert rampart.typed(text, offsets) == [0, 1, 2, 2, 0, 6, 3, 3, 0]


def test_where_the_model_read_its_word_counts() -> None:
    text = "Started Entresto."
    by_context = Finding(Kind.NAME, 8, 16, 0.9, "context")
    assert len(decide(text, [by_context])) == 1
    unlikely = Finding(Kind.NAME, 8, 16, 0.1, "rampart")
    verdicts = judge(text, [by_context, unlikely])
    assert [verdict.stays for verdict in verdicts] == [False, False]
    refuted = Finding(Kind.NAME, 8, 16, 0.05, "context")
    again = [Finding(Kind.NAME, 8, 16, 0.55, "safe-words"), refuted, Finding(Kind.NAME, 8, 16, 0.7, "rampart")]
    assert [finding.detector for finding in decide(text, again)] == ["safe-words+rampart"]


def test_a_phrase_that_names_nobody_is_part_of_a_name_where_the_model_is_sure() -> None:
    text = "Seen at Stonewall Physical Therapy."
    words = [(8, 17), (18, 26), (27, 34)]
    sure, unsure = ([Finding(Kind.FACILITY, start, end, chance, "rampart") for start, end in words] for chance in (0.97, 0.8))
    assert [text[f.start : f.end] for f in decide(text, sure)] == ["Stonewall", "Physical", "Therapy"]
    assert [text[f.start : f.end] for f in decide(text, unsure)] == ["Stonewall"]


def test_without_context_the_model_reads_everything() -> None:
    only = {"patterns": False, "places": False, "safe-words": False, "context": False}
    text = "Denies chest pain.\nSister Xiuying Okonkwo will drive her."
    found = build(Text(detectors=only)).find([text])[0]
    assert {text[f.start : f.end] for f in found} == {"Xiuying Okonkwo"}
    assert {f.detector.removesuffix("+again") for f in found} == {"rampart"}


def test_doubts_are_no_votes() -> None:
    verdicts = build(Text()).explain(SENTENCES)
    assert verdicts
    assert DOUBT not in {verdict.finding.detector for verdict in verdicts}


def test_an_eponym_alone_in_its_sentence_stays_whatever_the_model_calls_it() -> None:
    text = "Denies tremor. Parkinson's."
    assert decide(text, [Finding(Kind.FACILITY, 15, 26, 0.3, "rampart")]) == []
    assert len(decide(text, [Finding(Kind.FACILITY, 15, 26, 0.7, "rampart")])) == 1
