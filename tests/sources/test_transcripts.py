"""Transcripts: who said what and when, from WebVTT, SRT and the JSON of speech services; what cannot be read falls out with its reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.errors import SourceError
from anonymize.policy.origins import TranscriptSource
from anonymize.sources.base import Malformed
from anonymize.sources.captions import BadCue, Piece, srt, webvtt
from anonymize.sources.places import Unreadable, open_place
from anonymize.sources.transcripts import Transcripts

VTT = """\
\ufeffWEBVTT - a call
Kind: captions

STYLE
::cue { color: red }

REGION
id:fred

NOTE Ann Lee called twice
and this is a note too

1
00:01.000 --> 00:02.500 align:start position:10%
<v Nurse Joy>Good <i>morning</i>, this is the &lt;ward&gt;&nbsp;desk.

00:00:02.600 --> 00:00:04.000
<v Nurse Joy>Who is calling?

intro
01:00:05.000 --> 01:00:07.000
<v.loud Caller>My name is Ann
Lee <00:00:06.000>&amp; I am ill.</v> <v Nurse Joy>Since when?</v>
"""
SRT = "1\r\n00:00:01,000 --> 00:00:02,000\r\nDr. Lee: Guten Tag, Frau Müller\r\n\r\n2\r\n00:00:09,5 --> 00:00:10,000\r\n{\\an8}<i>Hello</i>\r\n"
WHISPER = {"language": "en", "meta": {"mrn": "p3"}, "segments": [{"start": 0.5, "end": 2, "text": " Hi. ", "speaker": "SPEAKER_00"}]}


def opened(folder: Path, **more: object) -> Transcripts:
    given_ = TranscriptSource.model_validate({"type": "transcript", "path": "x", "name": r"^(?P<subject>[^_]+)_(?P<date>[0-9-]+)", **more})
    return Transcripts("calls", open_place("calls", str(folder), Path), given_, mapping="transcript", policy_folder=folder)


def read(source: Transcripts, name: str = "utterance") -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    items = list(source.read(name, source.schema(name).names))
    rows = [row for item in items if isinstance(item, pa.RecordBatch) for row in item.to_pylist()]
    return rows, [(item.file, item.reason) for item in items if isinstance(item, Malformed)]


def test_webvtt_by_its_grammar() -> None:
    assert list(webvtt(VTT)) == [
        Piece("Good morning, this is the <ward> desk.", "Nurse Joy", 1.0, 2.5),
        Piece("Who is calling?", "Nurse Joy", 2.6, 4.0),
        Piece("My name is Ann Lee & I am ill.", "Caller", 3605.0, 3607.0),
        Piece("Since when?", "Nurse Joy", 3605.0, 3607.0),
    ]
    assert list(webvtt("WEBVTT")) == []
    found = list(webvtt("WEBVTT\n\n00:99.000 --> x\nlost words\n\n00:01.000 --> 00:02.000\nkept"))
    assert found == [BadCue("00:99.000 --> x\nlost words"), Piece("kept", "", 1.0, 2.0)]
    for text in ("", "WEBVTTX\n", "1\n00:00:01,000 --> 00:00:02,000\nx"):
        with pytest.raises(Unreadable, match="not-webvtt"):
            list(webvtt(text))


def test_srt() -> None:
    assert list(srt(SRT)) == [Piece("Dr. Lee: Guten Tag, Frau Müller", "", 1.0, 2.0), Piece("Hello", "", 9.5, 10.0)]
    with pytest.raises(Unreadable, match="not-srt"):
        list(srt("just words\n"))


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("WEBVT\n\r -->0123:.,<v>/&;abéNOTE{\\}"), max_size=200))
def test_no_text_breaks_the_parsers_and_no_word_is_lost_unseen(text: str) -> None:
    found = list(webvtt("WEBVTT\n\n" + text + "\n\n00:01.000 --> 00:02.000\nlast word"))
    assert found[-1] == Piece("last word", "", 1.0, 2.0) or "NOTE" in text
    assert all(isinstance(one, BadCue) or one.text for one in found)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (WHISPER, [("Hi.", None, 0.5, 2.0)]),
        ([{"text": "Hi.", "speaker": "A"}], [("Hi.", None, None, None)]),
        ({"audio_duration": 9, "utterances": [{"start": 500, "end": 2000, "text": "Hi.", "speaker": "A"}]}, [("Hi.", None, 0.5, 2.0)]),
        ({"utterances": [{"start": 0.5, "end": 2.0, "text": "Hi.", "speaker": "A"}]}, [("Hi.", None, 0.5, 2.0)]),
        (
            {"results": {"utterances": [{"start": 0.5, "end": 2.0, "transcript": "Hi.", "speaker": 0}]}},
            [("Hi.", None, 0.5, 2.0)],
        ),
        (
            {"results": {"audio_segments": [{"start_time": "0.5", "end_time": "2", "transcript": "Hi.", "speaker_label": "spk_0"}]}},
            [("Hi.", None, 0.5, 2.0)],
        ),
        (
            {"recognizedPhrases": [{"offsetInTicks": 5e6, "durationInTicks": 15e6, "speaker": 1, "nBest": [{"display": "Hi."}]}]},
            [("Hi.", None, 0.5, 2.0)],
        ),
        ({"results": [{"alternatives": [{"transcript": "Hi."}], "resultEndTime": "2.0s"}]}, [("Hi.", None, None, 2.0)]),
        (
            {"monologues": [{"speaker": 1, "elements": [{"value": "Hi", "ts": 0.5, "end_ts": 1}, {"value": "there", "ts": 1, "end_ts": 2}]}]},
            [("Hi there", None, 0.5, 2.0)],
        ),
    ],
)
def test_json_as_speech_services_write_it(tmp_path: Path, document: Any, said: list[tuple[Any, ...]]) -> None:
    (tmp_path / "p1_2024-01-02.json").write_text(json.dumps(document))
    rows, bad = read(opened(tmp_path))
    assert bad == []
    assert [(row["text"], row["speaker"], row["start"], row["end"]) for row in rows] == said


def test_a_shape_of_a_sites_own_and_a_subject_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"who": {"mrn": 17}, "talk": {"lines": [{"w": "Hi.", "by": "A", "at": 2000}]}}))
    shape = {"segments": "talk.lines", "text": "w", "speaker": "by", "start": "at", "scale": 0.001}
    rows, _ = read(opened(tmp_path, shape=shape, subject="json.who.mrn", roles={"A": "patient"}))
    assert [(row["subject"], row["role"], row["start"]) for row in rows] == [("17", "patient", 2.0)]
    assert read(opened(tmp_path))[1] == [("x.json", "unknown-shape")]
    with pytest.raises(SourceError, match=r"there is no shape 'wisper' of transcripts. Did you mean 'whisper'"):
        read(opened(tmp_path, shape="wisper"))


def test_a_folder_of_calls(tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / "p1_2024-01-02.vtt").write_text(VTT)
    (tmp_path / "p2_2024-01-03.srt.gz").write_bytes(gzip.compress(SRT.encode("cp1252")))
    (tmp_path / "p3_2024-01-04.json").write_text(json.dumps(WHISPER))
    (tmp_path / "p4_2024-01-05.json").write_text('{"segments": [')
    (tmp_path / "p5_2024-01-06.vtt").write_bytes(b"WEBVTT\n\n00:01.000 --> 00:02.000\n\xff\xfe")
    (tmp_path / "p6_2024-01-07.vtt.gz").write_bytes(gzip.compress(VTT.encode())[:-20])
    (tmp_path / "p6.wav").write_bytes(b"RIFF")
    source = opened(tmp_path, roles={"Nurse Joy": "nurse"}, **{"speaker-prefix": True})
    calls, bad = read(source, "call")
    assert bad == [("p4_2024-01-05.json", "not-json"), ("p5_2024-01-06.vtt", "bad-encoding"), ("p6_2024-01-07.vtt.gz", "cut-off")]
    assert [(call["subject"], call["date"], call["format"]) for call in calls] == [
        ("p2", "2024-01-03", "srt"),
        ("p3", "2024-01-04", "json"),
        ("p1", "2024-01-02", "webvtt"),
    ]
    assert calls[2]["text"] == (
        "nurse: Good morning, this is the <ward> desk. Who is calling?\nSpeaker 2: My name is Ann Lee & I am ill.\nnurse: Since when?"
    ), "one text a call: what one speaker says in a row is not broken"
    assert source.told("call") == {"files": 6, "other files": 1, "format": {"json": 1, "srt": 1, "webvtt": 1}, "broken": {}}
    rows, _ = read(source)
    assert [(row["speaker"], row["speaker_number"], row["role"]) for row in rows if row["subject"] == "p1"] == [
        (None, 1, "nurse"),
        ("Caller", 2, None),
        (None, 1, "nurse"),
    ], "a word for a role is no name"
    assert [row["speaker"] for row in rows if row["subject"] == "p2"] == ["Dr. Lee", None]
    assert len(read(opened(tmp_path, merge=0.0))[0]) > len(rows)


def test_an_index_says_whose_call_it_is(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "a.vtt").write_text(VTT)
    (tmp_path / "calls" / "b.vtt").write_text(VTT)
    (tmp_path / "index.csv").write_text("file,patient\na.vtt,p1\nc,p3\n")
    given_ = TranscriptSource.model_validate({"type": "transcript", "path": "x", "index": "index.csv", "subject": "index.patient"})
    source = Transcripts("calls", open_place("calls", str(tmp_path / "calls"), Path), given_, mapping="transcript", policy_folder=tmp_path)
    assert [call["subject"] for call in read(source, "call")[0]] == ["p1", None]
    (tmp_path / "index.csv").write_text("file,patient\na.vtt,p1\na.vtt,p2\n")
    with pytest.raises(SourceError, match="line 3 twice"):
        read(opened(tmp_path / "calls", index="../index.csv", subject="index.patient"), "call")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_ends_the_reading(tmp_path: Path, data: Any) -> None:
    for number, whole in enumerate((VTT.encode(), SRT.encode(), json.dumps(WHISPER).encode())):
        hurt = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 3))):
            hurt[data.draw(st.integers(0, len(hurt) - 1))] = data.draw(st.integers(0, 255))
        (tmp_path / f"{number}_1{('.vtt', '.srt', '.json')[number]}").write_bytes(bytes(hurt[: data.draw(st.integers(0, len(hurt)))]))
    calls, bad = read(opened(tmp_path), "call")
    assert len(calls) + len({file for file, _ in bad} - {str(call["id"]) for call in calls}) >= 3
