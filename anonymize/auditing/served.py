"""A sample of notes that a desk serves: drawn where the key is, labelled where no key is, by any number of stewards.

<workspace>/desk/<run>/sample.json     the sample, as the page shows it: scrubbed text, 0600; goes when the run ends
<workspace>/audits/<run>.json          the labels, as `anonymize audit-text --labels` keeps them
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from anonymize.auditing.labels import FORMAT, Given, LabelledNote, Labels, keep, read_labels
from anonymize.auditing.page import data_of, private
from anonymize.auditing.sample import draw, text_columns
from anonymize.auditing.steps import estimated, regression_file
from anonymize.errors import AnonymizeError
from anonymize.policy.model import Policy
from anonymize.run import Counts, Record, Run

_GIVEN = TypeAdapter(tuple[Given, ...])


def folder(policy: Policy, run_id: str) -> Path:
    """What a desk is given of a run that waits."""
    return policy.path(policy.workspace) / "desk" / run_id


def keep_sample(run: Run, *, size: int = 200, seed: int = 1) -> bool:
    """Draw the notes that the stewards of a run are to label, once. False where it publishes no text."""
    file = folder(run.policy, run.id) / "sample.json"
    if file.exists():
        return True
    if not text_columns(run.policy):
        return False
    try:
        sample = draw(run, size=size, seed=seed)
    except AnonymizeError:  # no text is left in any row
        return False
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    private(file, json.dumps(data_of(sample, run.policy.text), ensure_ascii=False))
    return True


def read_sample(policy: Policy, run_id: str) -> dict[str, Any] | None:
    """The sample with what is labelled of it so far (`labelled`: id, done, labels); None where there is none, or not any more."""
    file = folder(policy, run_id) / "sample.json"
    if not file.exists():
        return None
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    labels = _labels(policy, run_id, data)
    return data | {"labelled": [note.model_dump(mode="json", include={"id", "done", "labels"}) for note in labels.notes]}


def add_labels(policy: Policy, record: Record, run_id: str, given: bytes) -> Counts:
    """Add labels of some notes, as the page sends them, to those that are there, and estimate anew. Returns the figures of `steps.judged`.

    What is sent of a note takes the place of what was there of it, so that stewards can share a sample; a note's text is never taken from
    what is sent. Raises AnonymizeError where there is no sample, or what is sent are no labels of it.
    """
    with _alone(policy, run_id):
        data = read_sample(policy, run_id)
        if data is None:
            raise AnonymizeError(f"run '{run_id}' has no sample of notes to label, or has ended")
        try:
            new = {note.id: note for note in _GIVEN.validate_json(given)}
            before = _labels(policy, run_id, data)
            notes = tuple(_with(note, new.pop(note.id, None)) for note in before.notes)
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False)[0]
            raise AnonymizeError(f"these are no labels of a note: {first['type'].replace('_', ' ')}") from None
        if new:
            raise AnonymizeError("labels of notes that are not in the sample")
        labels = before.model_copy(update={"notes": notes})
        if any(note.done for note in labels.notes):
            return estimated(labels, policy, record)
        keep(labels, regression_file(policy, run_id))
        return {"drawn": len(labels.notes), "done": 0, "missed": 0}


def _with(note: LabelledNote, given: Given | None) -> LabelledNote:
    if given is None:
        return note
    return LabelledNote.model_validate({**note.model_dump(), "done": given.done, "labels": given.labels})


def _labels(policy: Policy, run_id: str, data: dict[str, Any]) -> Labels:
    """The label set as it stands, where it is of this sample; else a new one."""
    file = regression_file(policy, run_id)
    if file.exists():
        before = read_labels(file)
        if [note.id for note in before.notes] == [note["id"] for note in data["notes"]]:
            return before
    known = {name: data[name] for name in ("run", "dataset", "seed", "traced", "sizes", "language", "detectors")}
    fresh = {"done": False, "labels": ()}
    notes = [{**{k: note[k] for k in ("id", "stratum", "text")}, "replaced": len(note["replaced"]), **fresh} for note in data["notes"]]
    return Labels.model_validate({"format": FORMAT, **known, "notes": notes})


@contextmanager
def _alone(policy: Policy, run_id: str) -> Iterator[None]:
    """One at a time adds labels to a run's sample; the lock goes with its process."""
    place = folder(policy, run_id)
    if not place.is_dir():
        raise AnonymizeError(f"run '{run_id}' has no sample of notes to label, or has ended")
    with open(os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
