"""A steward's labels: what the page gives, checked.

They hold scrubbed text and what was missed in it, which is PHI: the file is the steward's alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from anonymize.auditing.page import private
from anonymize.errors import AnonymizeError
from anonymize.policy.model import Kind

FORMAT = 1


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Label(_Stated):
    """A span that a steward judged. start, end: code points of the note's text; kind: of what was missed."""

    start: int
    end: int
    label: Literal["missed", "fine"]
    kind: Kind | None = None


class LabelledNote(_Stated):
    """A note with its labels. replaced: how many identifiers were replaced in it; done: whether the steward has read all of it."""

    id: str
    stratum: str
    text: str
    replaced: int
    done: bool
    labels: tuple[Label, ...] = ()

    @model_validator(mode="after")
    def _inside(self) -> LabelledNote:
        if any(not 0 <= one.start < one.end <= len(self.text) for one in self.labels):
            raise ValueError("a label lies outside of its note")
        return self

    @property
    def missed(self) -> tuple[Label, ...]:
        return tuple(one for one in self.labels if one.label == "missed")


class Given(_Stated):
    """What a steward says of one note of a sample: no text."""

    id: str
    done: bool
    labels: tuple[Label, ...] = ()


class Labels(_Stated):
    """A label set. sizes: the notes of each stratum; settings: the policy's `text` when the notes were drawn, for the regression check."""

    format: Literal[1]
    run: str
    dataset: str
    seed: int
    traced: bool
    sizes: dict[str, int]
    language: str
    detectors: dict[str, bool | float]
    notes: tuple[LabelledNote, ...]

    @model_validator(mode="after")
    def _known_strata(self) -> Labels:
        if any(note.stratum not in self.sizes for note in self.notes):
            raise ValueError("a note is of no known column")
        return self


def read_labels(file: Path) -> Labels:
    """Read a label set. Raises AnonymizeError, without any text of a note, where it cannot be read."""
    try:
        return Labels.model_validate_json(file.read_bytes())
    except OSError as error:
        raise AnonymizeError(f"{file} cannot be read ({type(error).__name__})") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise AnonymizeError(f"{file} is no label set: {where}: {first['type'].replace('_', ' ')}. Save it from the audit page") from None


def keep(labels: Labels, file: Path) -> Path:
    """Write a label set for its owner's eyes alone (0600, in a folder of 0700), in one step."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    private(file, labels.model_dump_json(indent=1) + "\n")
    return file
