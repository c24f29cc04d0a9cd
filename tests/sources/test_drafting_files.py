"""A first policy from a folder: the kind of its files is found, and what a standard says must not leave is closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymize.draft import draft
from anonymize.errors import AnonymizeError
from tests.sources.test_dicom import made
from tests.sources.test_transcripts import VTT


def test_the_kind_of_a_folder_is_found(tmp_path: Path) -> None:
    for name in ("images", "calls", "mixed", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "IM1").write_bytes(made(StudyDescription="Chest"))
    (tmp_path / "calls" / "p1.vtt").write_text(VTT)
    (tmp_path / "mixed" / "a.csv").write_text("id;x\n1;2\n")
    (tmp_path / "mixed" / "b.json").write_text('[{"id": "1"}]')
    (tmp_path / "none" / "readme.md").write_text("nothing")
    images = draft(str(tmp_path / "images"))
    assert "source: {type: dicom" in images
    assert "study_date: drop   # DICOM's confidentiality profile (PS3.15 E.1) says Z of StudyDate" in images
    assert "source: {type: transcript" in draft(str(tmp_path / "calls"))
    mixed = draft(str(tmp_path / "mixed"))
    assert "source: {type: files" in mixed
    assert "  a:\n" in mixed
    assert "  b:\n" in mixed
    with pytest.raises(AnonymizeError, match="no transcript"):
        draft(str(tmp_path / "none"))
