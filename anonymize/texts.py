"""`anonymize find-phi`, `scrub` and `explain`: free text alone, JSON lines in and out. No policy, no store; a key only where dates move."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from anonymize.detect.base import Identifier
from anonymize.flat import InputError
from anonymize.policy.model import Kind, Text

if TYPE_CHECKING:
    import pyarrow as pa

    from anonymize.keys import Key

KEY = "env:ANONYMIZE_KEY"
PROJECT = "texts"
#: Lines read at a time; a long text is a batch of its own.
BATCH_LINES, BATCH_CHARACTERS = 200, 500_000


@dataclass(frozen=True)
class FindPhi:
    """A batch of lines -> the lines of findings."""

    text: Text
    has_text: ClassVar[bool] = True

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Column `line`, string: JSON. Offsets are code points of the text as it is given, also where it is HTML or RTF."""
        from anonymize.detect.registry import build
        from anonymize.transform.structured import find_in_source

        notes = [json.loads(line) for line in batch["line"].to_pylist()]
        found = find_in_source(build(self.text), [note["text"] for note in notes], [identifiers(note.get("record")) for note in notes])
        lines = [
            {
                "id": note["id"],
                "spans": [
                    {"start": f.start, "end": f.end, "label": f.kind.value, "score": round(f.score, 3), "detectors": f.detector.split("+")}
                    for f in findings
                ],
            }
            for note, findings in zip(notes, found, strict=True)
        ]
        return _lines(lines)


@dataclass(frozen=True)
class Scrub:
    """A batch of lines -> the same lines with scrubbed texts and without records. key, subject: where dates move or surrogates are asked for."""

    text: Text
    key: Key | None = None
    subject: str | None = None
    has_text: ClassVar[bool] = True

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Column `line`, string: JSON of `id`, `text`, and `found`: the number of findings a kind."""
        import numpy as np
        import pyarrow as pa

        from anonymize.detect.registry import build
        from anonymize.transform.dates import offsets
        from anonymize.transform.structured import scrub_structured
        from anonymize.transform.text import How, Own

        notes = [json.loads(line) for line in batch["line"].to_pylist()]
        records = [identifiers(note.get("record")) for note in notes]
        subjects = pa.array([_subject(note, self.subject) for note in notes], pa.string())
        days = None
        if self.key is not None and self.subject and self.text.dates == "shift":
            days = offsets(subjects, self.key).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        own = [Own.of(record) for record in records]
        how = How(self.text.replace, days, self.text.ages_in, self.key, subjects, own)
        scrubbed, counts = scrub_structured(pa.array([note["text"] for note in notes], pa.string()), build(self.text), records, how)
        lines = [
            {"id": note["id"], "text": text, "found": dict(sorted(count.items()))}
            for note, text, count in zip(notes, scrubbed.to_pylist(), counts, strict=True)
        ]
        return _lines(lines)


def identifiers(record: dict[str, Any] | None) -> list[Identifier]:
    """A flat record of a subject as what is looked up in its text. What a value is, its key says (`family`, `dob`), or else its shape."""
    from anonymize.detect.columns import guess

    found = []
    for name, value in (record or {}).items():
        for one in value if isinstance(value, list) else [value]:
            text = "" if one is None or isinstance(one, bool | dict) else str(one).strip()
            if not text:
                continue
            guessed = guess(name)
            known = guessed is not None and guessed.kind is not None
            kind = guessed.kind if guessed is not None and guessed.kind is not None else _shape(text)
            # Two letters of which nobody says what they are stand everywhere: `OR` is a state and a room.
            if kind is not Kind.AGE and (known or len(text) > 2):
                found.append(Identifier(kind, text, name))
    return found


def _shape(value: str) -> Kind:
    return Kind.ID if sum(map(str.isdigit, value)) * 2 > len(value) else Kind.NAME


def _subject(note: dict[str, Any], field: str | None) -> str | None:
    value = None if field is None else note.get(field, (note.get("record") or {}).get(field))
    return None if value is None else str(value)


def _lines(lines: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([json.dumps(line, ensure_ascii=False) for line in lines], pa.string())], names=["line"])


def convert(source: Path, target: Path, fn: Callable[[pa.RecordBatch], pa.RecordBatch], *, workers: int = 0) -> int:
    """Every line of a file through a function, in order, to another file, which is there whole or not at all. Returns the number of lines.

    Raises InputError, with the line's number, for what is no JSON object with `id` and `text`. Memory does not grow with the file.
    """
    import pyarrow as pa

    from anonymize.engine.base import Table
    from anonymize.engine.local import LocalEngine
    from anonymize.policy.memory import least

    schema = pa.schema([("line", pa.string())])
    scratch = Path(tempfile.mkdtemp(prefix="anonymize-"))
    workers = workers or os.cpu_count() or 1
    engine = LocalEngine(workers=workers, memory=f"{least(workers)}B", scratch=scratch)
    partial = target.with_name(f".{target.name}.partial")
    lines = 0
    try:
        with partial.open("w", encoding="utf-8") as out:
            for batch in engine.map(Table("texts", schema, lambda: _batches(source)), fn, schema).batches():
                out.writelines(f"{line}\n" for line in batch["line"].to_pylist())
                lines += batch.num_rows
        os.replace(partial, target)
    finally:
        engine.close()
        partial.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
    return lines


def _batches(source: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    held: list[str] = []
    characters = 0
    with source.open(encoding="utf-8-sig", newline="\n") as lines:
        number = 0
        while True:
            try:
                line = lines.readline()
            except UnicodeDecodeError:
                raise InputError(f"{source}: after line {number} there are bytes that are no UTF-8. Convert it (iconv does)") from None
            if not line:
                break
            number += 1
            if not line.strip():
                continue
            _checked(source, number, line)
            if held and (len(held) >= BATCH_LINES or characters + len(line) > BATCH_CHARACTERS):
                yield pa.RecordBatch.from_arrays([pa.array(held, pa.string())], names=["line"])
                held, characters = [], 0
            held.append(line)
            characters += len(line)
    if held:
        yield pa.RecordBatch.from_arrays([pa.array(held, pa.string())], names=["line"])


def _checked(source: Path, number: int, line: str) -> None:
    """Raises InputError for what is no line of ours; the line itself is not repeated."""
    try:
        note = json.loads(line)
    except ValueError:
        raise InputError(f'{source}:{number}: no JSON. A line is one object: {{"id": …, "text": "…"}}') from None
    if not isinstance(note, dict) or "id" not in note or not isinstance(note.get("text"), str):
        raise InputError(f'{source}:{number}: an object with "id" and "text" (a string) is needed')
    if not isinstance(note.get("record", {}), dict | None):
        raise InputError(f'{source}:{number}: "record" is a flat object of the subject\'s identifiers, for example {{"family": …, "mrn": …}}')
    try:
        note["text"].encode()
    except UnicodeEncodeError:
        raise InputError(f'{source}:{number}: "text" holds half of a surrogate pair, which is no character. Mend the \\uD8xx escapes') from None


_IN = click.argument("source", metavar="IN.jsonl", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_OUT = click.argument("target", metavar="OUT.jsonl", type=click.Path(dir_okay=False, path_type=Path))
_WORKERS = click.option("--workers", default=0, show_default="one a core", type=click.IntRange(0, 256))
_DETECTOR = click.option(
    "--detector", "detectors", multiple=True, metavar="NAME=on|off|SCORE", help="Switch a detector, or set the score from which it counts."
)


def _detectors(given: Sequence[str]) -> dict[str, bool | float]:
    from anonymize.detect.registry import DETECTORS

    chosen: dict[str, bool | float] = {}
    for one in given:
        name, _, value = one.partition("=")
        if name not in DETECTORS:
            raise click.UsageError(f"no detector '{name}'. Known: {', '.join(DETECTORS)}")
        try:
            chosen[name] = {"on": True, "off": False}[value] if value in ("on", "off") else float(value)
        except ValueError:
            raise click.UsageError(f"--detector {name}={value}: 'on', 'off' or a score from 0 to 1") from None
    return chosen


@click.command("find-phi")
@_IN
@_OUT
@_WORKERS
@_DETECTOR
def find_phi_command(source: Path, target: Path, workers: int, detectors: tuple[str, ...]) -> None:
    """Find PHI in texts: a line {"id", "text", "record"?} in, a line {"id", "spans"} out, offsets in code points.

    record: any flat JSON of the subject's identifiers; its values are looked up in the text.
    """
    lines = convert(source, target, FindPhi(Text(detectors=_detectors(detectors))), workers=workers)
    click.echo(f"wrote {target}: {lines:,} texts")


@click.command("scrub")
@_IN
@_OUT
@_WORKERS
@_DETECTOR
@click.option("--replace", type=click.Choice(["tags", "surrogates"]), default="tags", show_default=True)
@click.option("--dates", default="tag", show_default=True, metavar="tag|shift|year|year:YEAR", help="What becomes of dates.")
@click.option("--subject", metavar="FIELD", help="The field of a line, or of its record, that says whose the text is.")
def scrub_command(source: Path, target: Path, workers: int, detectors: tuple[str, ...], replace: str, dates: str, subject: str | None) -> None:
    """Scrub texts: a line {"id", "text", "record"?} in, a line {"id", "text", "found"} out; the record does not leave.

    Surrogates and moved dates are derived from the secret in ANONYMIZE_KEY, so that a subject's are the same in all of its texts.
    """
    from anonymize.keys import Key

    if subject is None and (dates == "shift" or replace == "surrogates"):
        raise click.UsageError("surrogates, and dates that move, are a subject's own: say --subject FIELD")
    try:
        text = Text(detectors=_detectors(detectors), replace=replace, dates=dates)  # type: ignore[arg-type]
    except ValueError:
        raise click.UsageError("--dates takes 'tag', 'shift', 'year', or 'year:YEAR', for example 'year:2026'") from None
    key = Key(KEY, PROJECT) if subject is not None else None
    lines = convert(source, target, Scrub(text, key, subject), workers=workers)
    click.echo(f"wrote {target}: {lines:,} texts")


@click.command("explain")
@click.argument("text")
@click.option("--record", metavar="JSON", help="The subject's identifiers, a flat object, to be looked up in the text.")
@_DETECTOR
def explain_command(text: str, record: str | None, detectors: tuple[str, ...]) -> None:
    """Show who found what in TEXT, and why it stayed or went. It prints the text's own words: give it no real patient's."""
    from anonymize.detect.registry import build

    try:
        parsed = json.loads(record) if record else {}
    except ValueError:
        raise click.UsageError("--record is no JSON") from None
    if not isinstance(parsed, dict):
        raise click.UsageError('--record takes a flat object, for example \'{"family": "Young"}\'')
    verdicts = build(Text(detectors=_detectors(detectors))).explain(text, identifiers(parsed))
    if not verdicts:
        click.echo("nothing found")
    for verdict in sorted(verdicts, key=lambda v: (v.finding.start, v.finding.end)):
        found = verdict.finding
        mark = "stays" if verdict.stays else "goes "
        place = f"{found.start:>5}-{found.end:<5} {found.kind.value:<12} {found.score:.2f}"
        click.echo(f"{mark} {place} {text[found.start : found.end]!r}  {found.detector}: {found.reason}; {verdict.why}")
