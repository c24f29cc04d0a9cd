"""Transcripts of calls and visits as linked tables: a row a call, a row an utterance, by a mapping in YAML.

A record is one file: `id`, `subject`, `name` (the groups of its name), `index` (its row there), `json` (the document, where it is one),
`format`, `seconds`, `speakers`, `text` (the whole call as one text, so that a name is found wherever the talk broke), and `utterances` with
`number`, `speaker`, `speaker_number`, `role`, `start`, `end`, `text`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from anonymize.errors import SourceError
from anonymize.policy.nearest import nearest
from anonymize.policy.origins import Shape, TranscriptSource
from anonymize.sources.base import Malformed
from anonymize.sources.captions import BadCue, Piece, srt, webvtt
from anonymize.sources.encodings import find_encoding
from anonymize.sources.json_lines import as_text
from anonymize.sources.mapped import MappedSource
from anonymize.sources.mapping import path_of, read_mapping, walk
from anonymize.sources.places import PACKED, Entry, Tree, Unreadable, faults

ENDS = {".vtt": "webvtt", ".webvtt": "webvtt", ".srt": "srt", ".json": "json"}
LIMIT = 256 << 20
#: What a record has of itself: a path to it may be empty in every file.
_OWN = {"id", "subject", "name", "index", "json", "format", "seconds", "speakers", "text", "utterances"}
_NUMBERED = re.compile(r"(?:speaker|spk|channel|ch|participant|unknown|s)?[ _-]*[0-9]{1,3}|[A-Z]|unknown", re.IGNORECASE)
_PREFIX = re.compile(r"^([^:\n]{1,60}):\s+(?=\S)")


class Transcripts(MappedSource):
    """The tables that a mapping makes of a folder of transcripts, at any depth; files by other names are counted and not read."""

    def __init__(self, name: str, tree: Tree, settings: TranscriptSource, *, mapping: str, policy_folder: Path) -> None:
        super().__init__(name, read_mapping(mapping, policy_folder))
        self.tree, self.settings, self._folder = tree, settings, policy_folder
        self._formats: Counter[str] = Counter()
        place, _, rest = settings.subject.partition(".")
        if place not in ("name", "index", "json") or not rest or (place == "index" and not settings.index):
            raise SourceError(f"source '{name}': 'subject' is name.GROUP, index.COLUMN (with an 'index'), or json.PATH")

    def kinds(self) -> Collection[str]:
        return ("call",) if self._files else ()

    def records(self, kind: str, where: str) -> Iterator[tuple[dict[str, Any], int] | Malformed]:  # noqa: ARG002
        self._formats = Counter()
        for one in self._files:
            path = one.path if isinstance(one, Entry) else one[0]
            try:
                if not isinstance(one, Entry):
                    raise one[1]
                with faults():
                    record, bad = self._record(path)
            except Unreadable as error:
                yield Malformed(0, error.reason, file=path)
                continue
            self._formats[record["format"]] += 1
            yield record, len(record["text"]) + 1
            for cue in bad:
                yield Malformed(0, "bad-cue", raw=cue.raw, file=path)

    def unmatched(self, table: str, columns: Collection[str]) -> list[str]:
        """The columns whose path begins at nothing that a record has: what no file here says may be said in tomorrow's."""
        mapped = self._mapped(table)
        first = {column: mapped.columns[column].path for column in columns}
        return sorted(column for column, path in first.items() if not mapped.each and path[0].field not in _OWN | {"record"})

    def told(self, table: str) -> dict[str, Any]:  # noqa: ARG002
        """The number of files, of those that are no transcripts by their names, and what those that were read are."""
        counts: dict[str, Any] = {"files": len(self._files)}
        if self._others:
            counts["other files"] = self._others
        return counts | ({"format": dict(sorted(self._formats.items()))} if self._formats else {}) | {"broken": {}}

    def faults(self, table: str) -> list[tuple[str, str]]:  # noqa: ARG002
        """None: each file is a record, and counts as one."""
        return []

    @cached_property
    def _listed(self) -> list[Entry | tuple[str, Unreadable]]:
        return [Entry(self.tree.only)] if self.tree.only is not None else list(self.tree.walk())

    @cached_property
    def _files(self) -> list[Entry | tuple[str, Unreadable]]:
        return [one for one in self._listed if isinstance(one, tuple) or _format(one.name)]

    @property
    def _others(self) -> int:
        return len(self._listed) - len(self._files)

    def _record(self, path: str) -> tuple[dict[str, Any], list[BadCue]]:
        form = _format(path)
        document: Any = None
        if form == "json":
            document = self._json(path)
            pieces: list[Piece | BadCue] = list(_of_json(document, self.settings.shape))
        else:
            text = self._text(path, form)
            pieces = list(webvtt(text) if form == "webvtt" else srt(text))
        bad = [piece for piece in pieces if isinstance(piece, BadCue)]
        said = self._turns([piece for piece in pieces if isinstance(piece, Piece)])
        record: dict[str, Any] = {"id": _bare(path), "format": form, "name": self._named(path), "index": self._row(path), "json": document}
        record |= _spoken(said, self.settings.roles)
        place, _, rest = self.settings.subject.partition(".")
        start = record[place] if isinstance(record[place], dict) else {}
        found = [text for text in map(as_text, walk([start], path_of("subject", rest))) if text and text.strip()]
        record["subject"] = found[0].strip() if found else None
        return record, bad

    def _text(self, path: str, form: str) -> str:
        """WebVTT is UTF-8 by its standard; SRT is what its bytes say."""
        with closing(self.tree.unpacked(path)) as stream:
            encoding = "utf-8" if form == "webvtt" else find_encoding(stream)
        with closing(self.tree.unpacked(path)) as stream:
            raw = stream.read(LIMIT + 1)
        if len(raw) > LIMIT:
            raise Unreadable("too-large")
        return raw.decode(encoding)

    def _json(self, path: str) -> Any:
        with closing(self.tree.unpacked(path)) as stream:
            raw = stream.read(LIMIT + 1)
        if len(raw) > LIMIT:
            raise Unreadable("too-large")
        try:
            return json.loads(raw)
        except UnicodeDecodeError:
            raise Unreadable("bad-encoding") from None
        except (ValueError, RecursionError):
            raise Unreadable("not-json") from None

    def _turns(self, pieces: list[Piece]) -> list[Piece]:
        """The pieces, those of one speaker in a row as one where they follow closely."""
        turns: list[Piece] = []
        for piece in pieces:
            if self.settings.speaker_prefix and not piece.speaker and (match := _PREFIX.match(piece.text)):
                piece = Piece(piece.text[match.end() :], match[1].strip(), piece.start, piece.end)
            last = turns[-1] if turns else None
            if last is not None and last.speaker == piece.speaker and _close(last, piece, self.settings.merge):
                turns[-1] = Piece(f"{last.text} {piece.text}", last.speaker, last.start, piece.end)
            else:
                turns.append(piece)
        return turns

    def _named(self, path: str) -> dict[str, str]:
        match = re.search(self.settings.name, _bare(path).rpartition("/")[2]) if self.settings.name else None
        return {group: value for group, value in (match.groupdict() if match else {}).items() if value}

    def _row(self, path: str) -> dict[str, str]:
        name = path.rpartition("/")[2]
        return self._index.get(name) or self._index.get(_bare(name)) or {}

    @cached_property
    def _index(self) -> dict[str, dict[str, str]]:
        """The index's rows by file name. Raises SourceError where it cannot be read, or names a file twice."""
        if not self.settings.index:
            return {}
        file = self._folder / self.settings.index
        where = f"source '{self.name}': its index {file}"
        try:
            with file.open("rb") as stream:
                encoding = find_encoding(stream)
            with file.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as text:
                rows = list(csv.DictReader(text, strict=True))
        except (OSError, UnicodeError, Unreadable, csv.Error):
            raise SourceError(f"{where} cannot be read as CSV") from None
        if rows and "file" not in rows[0]:
            raise SourceError(f"{where} has no column 'file'.{nearest('file', list(rows[0]))}")
        found: dict[str, dict[str, str]] = {}
        for number, row in enumerate(rows, 2):
            name = (row.get("file") or "").strip()
            if name in found:
                raise SourceError(f"{where} names the file of line {number} twice")
            found[name] = {key: value for key, value in row.items() if key and isinstance(value, str) and value.strip()}
        return found


def _close(last: Piece, piece: Piece, seconds: float) -> bool:
    return seconds > 0 and (last.end is None or piece.start is None or piece.start - last.end <= seconds)


def _spoken(said: list[Piece], roles: dict[str, str]) -> dict[str, Any]:
    """The utterances of a call, the whole as one text, how long it is, and how many speak."""
    numbers: dict[str, int] = {}
    utterances, lines = [], []
    for number, piece in enumerate(said, 1):
        speaks = numbers.setdefault(piece.speaker, len(numbers) + 1) if piece.speaker else None
        role = roles.get(piece.speaker)
        # A word for a role, or a number that a service gave, is no name that would have to be looked up in texts.
        named = piece.speaker if piece.speaker and role is None and not _NUMBERED.fullmatch(piece.speaker) else None
        utterance: dict[str, Any] = {"number": number, "speaker": named, "speaker_number": speaks, "role": role}
        utterances.append(utterance | {"start": piece.start, "end": piece.end, "text": piece.text})
        who = role or (f"Speaker {speaks}" if speaks else "")
        lines.append(f"{who}: {piece.text}" if who else piece.text)
    ends = [piece.end for piece in said if piece.end is not None]
    return {"utterances": utterances, "text": "\n".join(lines), "seconds": max(ends, default=None), "speakers": len(numbers) or None}


def _of_json(document: Any, asked: str | Shape) -> Iterator[Piece]:
    """The pieces of a service's document. Raises Unreadable (`unknown-shape`) where no known shape fits."""
    shapes = [asked] if isinstance(asked, Shape) else [*_shapes().values()] if asked == "auto" else [shape_named(asked)]
    document = {"segments": document} if isinstance(document, list) else document
    for shape in shapes:
        segments = _at(document, shape.segments)
        if shape.has and not _at(document, shape.has):
            continue
        if not segments or not all(isinstance(one, dict) for one in segments) or not any(_texts(one, shape.text) for one in segments):
            continue
        for one in segments:
            words = " ".join(" ".join(_texts(one, shape.text)).split())
            if words:
                start, end = _time(one, shape.start, shape.scale), _time(one, shape.end, shape.scale, last=True)
                length = _time(one, shape.duration, shape.scale)
                end = round(start + length, 3) if end is None and start is not None and length is not None else end
                yield Piece(words, next(iter(_texts(one, shape.speaker)), ""), start, end)
        return
    raise Unreadable("unknown-shape", "Set 'shape' of the source: where its segments, their text and speaker stand")


def shape_named(name: str) -> Shape:
    """A known service's shape. Raises SourceError with the nearest name."""
    if name not in _shapes():
        raise SourceError(f"there is no shape '{name}' of transcripts.{nearest(name, list(_shapes()))}")
    return _shapes()[name]


@cache
def _shapes() -> dict[str, Shape]:
    text = (files("anonymize.sources") / "transcript_shapes.yaml").read_text(encoding="utf-8")
    return {name: Shape.model_validate(given) for name, given in YAML(typ="safe").load(text).items()}


def _at(node: Any, path: str) -> list[Any]:
    return walk([node], path_of("shape", path)) if path else []


def _texts(node: Any, path: str) -> list[str]:
    return [text for text in map(as_text, _at(node, path)) if text]


def _time(node: Any, path: str, scale: float, *, last: bool = False) -> float | None:
    """Seconds, of a number, a text of one, or `12.3s`."""
    found = _texts(node, path)
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE]-?[0-9]+)?)\s*s?\s*", found[-1 if last else 0]) if found else None
    return round(float(match[1]) * scale, 3) if match else None


def _bare(path: str) -> str:
    """A path without what its end says of its kind and packing."""
    for end in PACKED:
        path = path[: -len(end)] if path.lower().endswith(end) else path
    return next((path[: -len(end)] for end in ENDS if path.lower().endswith(end)), path)


def _format(path: str) -> str:
    plain = path.lower()
    for end in PACKED:
        plain = plain.removesuffix(end)
    return next((form for end, form in ENDS.items() if plain.endswith(end)), "")
