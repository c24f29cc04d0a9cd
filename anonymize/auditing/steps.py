"""The three uses of an audit: write the page, estimate from its labels, check a label set with the detectors of today."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anonymize.auditing.estimate import Interval, Judged, notes_with_misses, recall
from anonymize.auditing.labels import LabelledNote, Labels, keep, read_labels
from anonymize.auditing.page import write_page
from anonymize.auditing.sample import draw
from anonymize.errors import AnonymizeError
from anonymize.policy.model import Policy, Text
from anonymize.run import Counts, Record, Run

STEP = "audit"
"""The audit's file in a run's record."""


def page(run: Run, out: Path, *, size: int = 200, seed: int = 1) -> Counts:
    """Draw notes and write the page on which a steward labels them (0600). Returns counts."""
    sample = draw(run, size=size, seed=seed)
    write_page(sample, run.policy.text, out)
    marks = sum(len(note.marks) for note in sample.notes)
    return {"notes": len(sample.notes), "of": sum(sample.sizes.values()), "marks": marks, "traced": sample.traced}


def estimate(run: Run, file: Path) -> Counts:
    """What a label set says of its run; written to the run's record (counts alone), and the set kept beside it as a regression set.

    Raises AnonymizeError where the labels are of another run, or where no note is done.
    """
    labels = read_labels(file)
    if labels.run != run.id:
        raise AnonymizeError(f"{file} holds labels of run '{labels.run}', not of '{run.id}'")
    return estimated(labels, run.policy, run.record)


def estimated(labels: Labels, policy: Policy, record: Record) -> Counts:
    """Keep a label set and write what it says to its run's record. Raises AnonymizeError where no note is done."""
    counts = judged(labels)
    kept = keep(labels, regression_file(policy, labels.run))
    counts = {**counts, "labels": str(kept), "labels_sha256": hashlib.sha256(kept.read_bytes()).hexdigest()}
    return record.put(STEP, {**counts, "at": datetime.now(UTC).isoformat(timespec="seconds")})


def regression_file(policy: Policy, run_id: str) -> Path:
    """Where a run's label set is kept: in the private workspace of its policy, outside of what goes when the run ends."""
    return policy.path(policy.workspace) / "audits" / f"{run_id}.json"


def judged(labels: Labels) -> Counts:
    """The figures of a label set: of all columns together, and of each."""
    notes = {stratum: [_judged(note) for note in labels.notes if note.done and note.stratum == stratum] for stratum in labels.sizes}
    done = [note for stratum in notes.values() for note in stratum]
    if not done:
        raise AnonymizeError("no note of the label set is done. On the page, mark notes as done once they are read")
    unread = sorted(stratum for stratum, found in notes.items() if not found and labels.sizes[stratum])
    missed = Counter(one.kind.value if one.kind else "other" for note in labels.notes if note.done for one in note.missed)
    return {
        "seed": labels.seed,
        "drawn": len(labels.notes),
        "done": len(done),
        "replaced": sum(note.replaced for note in done),
        "missed": sum(note.missed for note in done),
        "missed_kinds": dict(sorted(missed.items())),
        "notes_with_misses": notes_with_misses(done, labels.sizes).counts(),
        "recall": recall(done, labels.sizes).counts(),
        "columns": {s: {"done": len(found), **_figures(found, labels.sizes)} for s, found in notes.items() if found},
        "columns_without_a_done_note": unread,
        "replaced_is_exact": labels.traced,
    }


def _judged(note: LabelledNote) -> Judged:
    return Judged(note.stratum, note.replaced, len(note.missed))


def _figures(notes: list[Judged], sizes: dict[str, int]) -> Counts:
    return {"notes_with_misses": notes_with_misses(notes, sizes).counts(), "recall": recall(notes, sizes).counts()}


@dataclass(frozen=True)
class Checked:
    """How today's detectors do on a label set. notes: the numbers of the notes (from 1) in which something is still missed."""

    missed: int
    found: int
    fine: int
    flagged: int
    notes: tuple[int, ...]

    def text(self) -> str:
        """For a person; no word of a note."""
        lines = [
            f"of {self.missed} missed identifiers {self.found} are found now",
            f"of {self.fine} spans labelled fine {self.flagged} would be replaced",
        ]
        if self.notes:
            lines.append(f"still missed in notes {', '.join(map(str, self.notes))} of the set")
        return "\n".join(lines)


def check(file: Path) -> Checked:
    """Search a label set's notes with the detectors of today. What was missed counts as found where no letter or digit of it is left.

    The subject's own record is not there, so that what only it can tell (a name that is a word) may still be missed here and found in a run.
    """
    from anonymize.detect.registry import build

    labels = read_labels(file)
    detector = build(Text(language=labels.language, detectors=labels.detectors))
    found = detector.find([note.text for note in labels.notes], [()] * len(labels.notes))
    counts: Counter[str] = Counter()
    still = []
    for number, (note, findings) in enumerate(zip(labels.notes, found, strict=True), 1):
        covered = bytearray(len(note.text))
        for finding in findings:
            covered[finding.start : finding.end] = b"\1" * (finding.end - finding.start)
        left = 0
        for one in note.labels:
            spelled = [covered[at] for at in range(one.start, one.end) if note.text[at].isalnum()]
            counts[one.label] += 1
            counts[f"{one.label}-found"] += all(spelled) if one.label == "missed" else any(spelled)
            left += one.label == "missed" and not all(spelled)
        if left:
            still.append(number)
    return Checked(counts["missed"], counts["missed-found"], counts["fine"], counts["fine-found"], tuple(still))


def said(counts: Counts) -> str:
    """The figures in words that a steward understands."""
    leaky, caught = (Interval(**counts[name]) for name in ("notes_with_misses", "recall"))
    lines = [
        f"{counts['done']:,} of {counts['drawn']:,} notes done: {counts['replaced']:,} identifiers replaced, {counts['missed']:,} missed",
        f"recall: {caught.share:.2%} of the identifiers were replaced (95 % interval {caught.low:.2%} to {caught.high:.2%})",
        f"notes with something missed: {leaky.share:.2%} (95 % interval {leaky.low:.2%} to {leaky.high:.2%})",
    ]
    if not counts["missed"]:
        lines.append("nothing missed is no proof that nothing is: the interval's end is what the sample allows (rule of three)")
    if counts["missed_kinds"]:
        lines.append("missed: " + ", ".join(f"{kind} {number}" for kind, number in counts["missed_kinds"].items()))
    if len(counts["columns"]) > 1:
        for column, one in counts["columns"].items():
            shares = Interval(**one["recall"])
            lines.append(f"  {column}: {one['done']} notes, recall {shares.share:.2%} ({shares.low:.2%} to {shares.high:.2%})")
    if counts["columns_without_a_done_note"]:
        lines.append(f"not judged, since no note of it is done: {', '.join(counts['columns_without_a_done_note'])}")
    if not counts["replaced_is_exact"]:
        lines.append("the workspace was gone or changed: replaced identifiers are counted by their tags, so moved dates are not among them")
    return "\n".join(lines)
