"""YAML as plain values, with the line of every path and each scalar as it is written, so that an error can name both."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from anonymize.errors import PolicyError, Problem

Path_ = tuple[str, ...]

#: More values than any policy holds: aliases of aliases of aliases multiply, and would fill the memory.
MOST_VALUES = 200_000
#: Nothing in a policy lies deeper: aliases of aliases nest without a bracket, and would exhaust the stack.
DEEPEST = 50
_TAG = "tag:yaml.org,2002:"
_TEXTS = {"str", "timestamp", "value"}
#: The reader's words for mistakes that people make, and how to mend them.
_MENDED = (
    (r"found character '\\t'", "a tab: YAML is indented with spaces"),
    (r"another document|single document", "a second document ('---') begins here: a policy is one"),
    (r"mapping values are not allowed", "a ':' too many, or a wrong indentation: texts that hold ': ' stand in quotes"),
    (r"expected <block end>|expected block end|did not find expected", "the indentation fits nothing above, or a bracket is not closed"),
    (r"could not find expected ':'", "expected ':' after the word: the line before or this one lacks it"),
    (r"expected '?<document start>", "the indentation of this line fits nothing above it"),
    (r"expected ',' or '[\]}]'", "a bracket that is opened above is not closed, or a comma is missing"),
    (r"unexpected end of stream", "a quote or bracket that is opened here or above is never closed"),
    (r"found undefined alias", "an alias (*name) of which there is no anchor (&name) above"),
)


@dataclass
class Document:
    """A policy's file: its values; the line of each path; scalars that YAML reads as something else than text, as they are written; what is
    wrong with it that its values do not tell (keys that stand twice, tags)."""

    file: Path
    text: str
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path_, int] = field(default_factory=dict)
    written: dict[Path_, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    empty: set[Path_] = field(default_factory=set)
    """Words after which nothing stands: read as `null`, which nobody wrote."""
    files: dict[Path_, Path] = field(default_factory=dict)
    """The files of the paths that stand in another one, which this policy extends."""
    chain: tuple[Path, ...] = ()
    """This file, what it extends, and so on."""
    reasons: dict[Path_, str] = field(default_factory=dict)
    """The comments that say why a table or column is treated as it is."""

    def __post_init__(self) -> None:
        self.chain = self.chain or (self.file,)

    def where(self, at: Path_, line: int | None = None) -> str:
        """`file:line` of a path, or of the nearest path above it that stands in a file."""
        for length in range(len(at), -1, -1):
            if at[:length] in self.lines:
                return f"{self.files.get(at[:length], self.file)}:{line or self.lines[at[:length]]}"
        return f"{self.file}:{line or 1}"

    def problem(self, at: Path_, what: str, line: int | None = None) -> Problem:
        """A problem at a path."""
        return Problem(self.where(at, line), ".".join(at) or "policy", what)


def read(path: Path, text: str | None = None) -> Document:
    """A file's document. Raises PolicyError, with the line, where it cannot be read or is no YAML mapping.

    text: what the file would hold, where it is not written yet.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig") if text is None else text
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = (error.strerror or "input/output error") if isinstance(error, OSError) else "it is not UTF-8"
        raise PolicyError([Problem(f"{path}:1", "policy", f"cannot be read: {reason}")]) from None
    document = Document(path, text)
    node = _composed(document)
    if not isinstance(node, MappingNode):
        raise PolicyError([Problem(f"{path}:1", "policy", "must be a mapping that begins with 'dataset: NAME'")])
    document.values = _Reader(document).mapping(node, ())
    return document


def _composed(document: Document) -> Node | None:
    try:
        return YAML(typ="safe", pure=True).compose(document.text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise PolicyError([Problem(f"{document.file}:{mark.line + 1 if mark else 1}", "yaml", _mended(str(error.problem or error)))]) from None
    except Exception as error:  # the reader raises plain errors on some texts: odd characters, thousands of brackets
        raise PolicyError([Problem(f"{document.file}:1", "yaml", f"is no YAML ({type(error).__name__})")]) from None


def _mended(words: str) -> str:
    first = words.splitlines()[0] if words else "is no YAML"
    return next((mended for pattern, mended in _MENDED if re.search(pattern, first)), first)


class _Reader:
    """Walks the nodes of a document once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._number = 0
        self._open: list[Node] = []

    def mapping(self, node: MappingNode, at: Path_) -> dict[str, Any]:
        """Keys are texts as they are written: a column may be called `1.10`, `no` or `true`."""
        self._note(node, at)
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged |= self._merged(value_node, at)
                continue
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._document.problems.append(self._document.problem(at, "a word stands before ':', not a list or mapping", line))
                continue
            key = str(key_node.value)
            if key in values:
                first = self._document.lines[(*at, key)]
                self._document.problems.append(self._document.problem((*at, key), f"stands twice: here and in line {first}", line))
                continue
            self._document.lines[(*at, key)] = line
            values[key] = self.value(value_node, (*at, key))
        return merged | values

    def value(self, node: Node, at: Path_) -> Any:
        """A node's plain value."""
        if any(node is above for above in self._open):
            self._document.problems.append(self._document.problem(at, "an alias that holds itself"))
            return None
        if len(self._open) == DEEPEST:
            raise PolicyError([self._document.problem(at[:3], f"lists or mappings lie within each other, more than {DEEPEST} deep")])
        self._open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self.mapping(node, at)
            if isinstance(node, SequenceNode):
                self._note(node, at)
                return [self.value(item, (*at, str(i))) for i, item in enumerate(node.value)]
            return self._scalar(node, at)
        finally:
            self._open.pop()

    def _merged(self, node: Node, at: Path_) -> dict[str, Any]:
        """`<<: *other`; what stands below it wins."""
        value = self.value(node, at)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            self._document.problems.append(self._document.problem(at, "'<<' takes a mapping", node.start_mark.line + 1))
            return {}
        return {key: item for part in reversed(parts) for key, item in part.items()}

    def _scalar(self, node: Node, at: Path_) -> Any:
        self._note(node, at)
        kind, raw = str(node.tag).removeprefix(_TAG), str(node.value)
        if kind in _TEXTS:
            return raw
        if kind == "null":
            if not raw:
                self._document.empty.add(at)
            return None
        self._document.written[at] = raw
        if kind == "bool":
            return raw.lower() == "true"
        if kind == "int" and re.match(r"[-+]?0[0-9]", raw):
            words = f"{raw} begins with a zero, which YAML drops. A text (a ZIP code) stands in quotes, '{raw}'; a number has no zero before it"
            self._document.problems.append(self._document.problem(at, words))
        if kind in ("int", "float"):
            return _number(raw)
        self._document.problems.append(self._document.problem(at, f"has a tag ({node.tag}); a policy holds plain YAML alone"))
        return raw

    def _note(self, node: Node, at: Path_) -> None:
        self._document.lines.setdefault(at, node.start_mark.line + 1)
        self._number += 1
        if self._number > MOST_VALUES:
            raise PolicyError([self._document.problem(at, f"the policy holds more than {MOST_VALUES:,} values, by aliases of aliases")])


def _number(raw: str) -> Any:
    """The number, or the text where it is none after all."""
    text = raw.replace("_", "")
    for convert in (int, lambda t: int(t, 0), float, lambda t: float(t.replace(".", "", 1))):
        try:
            return convert(text)
        except ValueError:
            continue
    return raw
