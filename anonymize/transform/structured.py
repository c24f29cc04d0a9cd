"""Texts of any form scrubbed as what they say: unwrapped, searched in batches, replaced, wrapped again, and searched once more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from anonymize.detect.base import Finding, Identifier, TextDetector
from anonymize.policy.model import Kind
from anonymize.transform.markup import Edit, Unwrapped, unreadable_tag, unwrap
from anonymize.transform.text import TAGS, How, replacements, scrub

Records = Sequence[Sequence[Identifier]]
#: How often what was found before and stands in the result is taken out, before the text is held back.
ROUNDS = 3
_BROKEN = "markup"
_WORD = re.compile(r"[^\W_]{2}")
_APART = 64
"""Signs of markup within one finding; an address over the cells of a table has more."""


def find_in_source(
    detector: TextDetector, texts: Sequence[str], records: Records | None = None, *, declared: str = "auto"
) -> list[list[Finding]]:
    """For each text its findings, sorted, not overlapping, with the offsets of the text as it is: `Smi</b>th` where a tag divides a name.

    What `scrub_structured` takes out unseen (comments, hidden text, a CDA header) is searched too; what cannot be read is one finding, of kind
    `id` and detector `unreadable`.
    """
    unwrapped = [unwrap(text, declared=declared) for text in texts]
    own = [[*record, *one.identifiers] for record, one in zip(records if records is not None else [()] * len(texts), unwrapped, strict=True)]
    gone = [(index, depth, start, piece) for index, one in enumerate(unwrapped) for depth, start, piece in _gone(one)]
    inner = [unwrap(piece, declared="xml" if piece[1:2].isalpha() and unwrapped[index].form == "cda" else "plain") for index, *_, piece in gone]
    found = detector.find([*(one.text for one in unwrapped), *(one.text for one in inner)], [*own, *(own[index] for index, *_ in gone)])
    at_source = [
        _at_source(one, findings) if one.layers or one.unreadable else findings for one, findings in zip(unwrapped, found, strict=False)
    ]
    for (index, depth, first, _), inside, findings in zip(gone, inner, found[len(unwrapped) :], strict=True):
        for finding in findings:
            pieces = [(first + low, first + high) for low, high in inside.origins(finding.start, finding.end)]
            at_source[index] += _placed(finding, unwrapped[index].through(depth, pieces))
    return [_merged(findings) for findings in at_source]


def _gone(unwrapped: Unwrapped) -> Iterator[tuple[int, int, str]]:
    """The pieces with words that go whatever is found, and are not told of otherwise: the layer, where each begins, its text."""
    source = unwrapped.source
    for depth, layer in enumerate(unwrapped.layers):
        told = {(start, end) for start, end, _ in layer.taken}
        last = 0
        for start, end, _ in sorted(layer.cuts, key=lambda cut: (cut[0], -cut[1])):
            if start >= last and (start, end) not in told and _WORD.search(source, start, end):
                yield depth, start, source[start:end]
            last = max(last, end)
        source = layer.text


def _at_source(unwrapped: Unwrapped, findings: Sequence[Finding]) -> list[Finding]:
    if unwrapped.unreadable is not None:
        return [Finding(Kind.ID, 0, len(unwrapped.source), 1.0, "unreadable")]
    at_source = [Finding(kind or Kind.ID, start, end, 1.0, "markup" if kind else "unreadable") for kind, start, end in unwrapped.told()]
    for finding in findings:
        at_source += _placed(finding, unwrapped.origins(finding.start, finding.end))
    return at_source


def _placed(finding: Finding, pieces: Sequence[tuple[int, int]]) -> list[Finding]:
    """A finding over the pieces of source that it stands for, with the tags between them; pieces that stand apart are findings of their own."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if spans and start - spans[-1][1] <= _APART:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [Finding(finding.kind, start, end, finding.score, finding.detector) for start, end in spans]


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    merged: list[Finding] = []
    for finding in sorted(findings, key=lambda one: (one.start, -one.end)):
        last = merged[-1] if merged else None
        if last is None or finding.start >= last.end:
            merged.append(finding)
            continue
        surest = max(last, finding, key=lambda one: one.score)
        merged[-1] = Finding(surest.kind, last.start, max(last.end, finding.end), surest.score, surest.detector)
    return merged


def scrub_structured(
    texts: pa.Array, detector: TextDetector, records: Records | None = None, how: How = TAGS, *, declared: str = "auto"
) -> tuple[pa.Array, list[dict[str, int]]]:
    """Scrub texts of any form.

    texts: string, length n, null stays null; records: each text's subject's own identifiers, length n; declared: `auto`, or what the policy
    says that the texts are. Returns the texts in the form that they came in, and the number of findings a kind in each, what could not be
    read as `unreadable-pdf`, `unreadable-image` …

    A text of another form than plain is unwrapped and searched once more when it is wrapped; nothing that was found before stands in it, or it
    is held back (`unreadable-markup`).
    """
    unwrapped = [unwrap(text or "", declared=declared) for text in texts.to_pylist()]
    findings = _find(detector, unwrapped, records)
    scrubbed, counts = scrub(texts, findings, how, unwrapped=unwrapped)
    taken = [unwrapped[index].removed if text is not None else Counter[str]() for index, text in enumerate(texts.to_pylist())]
    for count, more in zip(counts, taken, strict=True):
        for kind, number in more.items():
            count[kind] = count.get(kind, 0) + number
    if not any(one.form != "plain" and one.unreadable is None for one in unwrapped):
        return scrubbed, counts
    return _searched_again(scrubbed, counts, detector, records, declared, unwrapped, findings, how)


def traced(
    texts: Sequence[str], detector: TextDetector, records: Records | None = None, how: How = TAGS, *, declared: str = "auto"
) -> list[tuple[Unwrapped, list[Edit]]]:
    """What `scrub_structured` does to each text at its first look: the unwrapped text, and the edits of its plain text. For an audit."""
    unwrapped = [unwrap(text, declared=declared) for text in texts]
    made = replacements(unwrapped, _find(detector, unwrapped, records), how)
    return [(one, edits) for one, (edits, _) in zip(unwrapped, made, strict=True)]


def _find(detector: TextDetector, unwrapped: Sequence[Unwrapped], records: Records | None) -> list[list[Finding]]:
    own = records if records is not None else [()] * len(unwrapped)
    both = [[*record, *one.identifiers] if one.identifiers else record for record, one in zip(own, unwrapped, strict=True)]
    return detector.find([one.text for one in unwrapped], both)


def _searched_again(
    scrubbed: pa.Array,
    counts: list[dict[str, int]],
    detector: TextDetector,
    records: Records | None,
    declared: str,
    unwrapped: Sequence[Unwrapped],
    findings: Sequence[Sequence[Finding]],
    how: How,
) -> tuple[pa.Array, list[dict[str, int]]]:
    texts: list[str | None] = scrubbed.to_pylist()
    open_ = [index for index, one in enumerate(unwrapped) if one.form != "plain" and one.unreadable is None and texts[index] is not None]
    before = {index: _spelled(unwrapped[index].text, findings[index]) for index in open_}
    own = {index: [*(records[index] if records is not None else ()), *unwrapped[index].identifiers] for index in open_}
    for last in [False] * ROUNDS + [True]:
        again = {index: unwrap(str(texts[index]), declared=declared) for index in open_}
        found = dict(zip(open_, detector.find([again[index].text for index in open_], [own[index] for index in open_]), strict=True))
        left = {i: [f for f in found[i] if _stood(again[i].text, f, before[i])] for i in open_ if again[i].unreadable is None}
        open_ = [index for index in open_ if again[index].unreadable is not None or left[index]]
        if not open_:
            break
        for index in open_:
            if last or again[index].unreadable is not None:
                texts[index] = unreadable_tag(_BROKEN)
                counts[index][f"unreadable-{_BROKEN}"] = 1
            else:
                one = pa.array([texts[index]], pa.string())
                texts[index] = scrub(one, [left[index]], how.of_text(index), unwrapped=[again[index]])[0][0].as_py()
        open_ = [index for index in open_ if texts[index] != unreadable_tag(_BROKEN)]
    return pa.array(texts, pa.string()), counts


def _spelled(text: str, findings: Sequence[Finding]) -> frozenset[str]:
    """What was found, without regard to case and signs. Dates and ages are not of it: one that moved may be another that was."""
    return frozenset(filter(None, (_bare(text, one) for one in findings if one.kind not in (Kind.DATE, Kind.AGE))))


def _stood(text: str, finding: Finding, before: frozenset[str]) -> bool:
    return finding.kind not in (Kind.DATE, Kind.AGE) and _bare(text, finding) in before


def _bare(text: str, finding: Finding) -> str:
    bare = re.sub(r"[\W_]+", " ", text[finding.start : finding.end]).strip().casefold()
    return bare if len(bare) > 1 else ""
