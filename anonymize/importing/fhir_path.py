"""The part of FHIRPath in which rules of FHIR anonymizers are written, held against the columns of a mapping.

`Patient.name.family`, `Resource.id`, `nodesByType('HumanName').use`, `nodesByName('display')`, `Patient.descendants().ofType(HumanName)`,
`Observation.value as Quantity`, `identifier.where(type.coding.where(system='…' and code='MR').exists()).value`, and `a | b`.

Source: HL7 FHIRPath N1 (2.0.0); `nodesByType` and `nodesByName` are additions of Microsoft's Tools for Health Data Anonymization.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from anonymize.sources.mapping import WHOLE, Column, Mapped, Path_

_TOKEN = re.compile(r"\s*(?:'((?:[^'\\]|\\.)*)'|([A-Za-z_%$][A-Za-z0-9_]*)|(!=|<=|>=|[().=|~<>,\[\]+-])|([0-9]+))")


class Unreadable(Exception):
    """A path, or a part of one, that is not of this language: what, in words."""


class Fit(Enum):
    """How a rule's path is about a column: about all that it holds, about a part, or not at all."""

    ALL = "all"
    PART = "part"
    NOT = "not"


@dataclass(frozen=True)
class Node:
    """One step from a resource to a value: its element's name, its type (empty: not known), what a mapping asks of it, and its field."""

    name: str
    type: str
    where: tuple[tuple[str, ...], str] | None = None
    written: str = ""


@dataclass(frozen=True)
class Condition:
    """`where(…)`: values that paths below an element must hold, all of them."""

    asked: tuple[tuple[tuple[str, ...], str], ...]

    def fit(self, node: Node) -> Fit:
        """Whether the elements that a mapping takes are those that the condition asks for."""
        if node.where is None:
            return Fit.PART
        path, value = node.where
        same = [wanted for asked, wanted in self.asked if asked == path]
        if not same:
            return Fit.PART
        if any(wanted != value for wanted in same):
            return Fit.NOT
        # A code's own system is what the mapping means by the code.
        others = [asked for asked, _ in self.asked if asked != path and asked != (*path[:-1], "system")]
        return Fit.PART if others else Fit.ALL


@dataclass(frozen=True)
class Step:
    """One step of a rule. kind: `name`, `type` (of the node reached), `root` (the resource), `by-type` and `by-name` (anywhere below, the
    resource included), `below` (anywhere below)."""

    kind: str
    word: str = ""
    condition: Condition | None = None


@dataclass(frozen=True)
class Path:
    """One of the alternatives of a rule's path."""

    steps: tuple[Step, ...]

    def fit(self, nodes: tuple[Node, ...]) -> Fit:
        """How the path is about a value: it selects the value's node, or one above it."""
        return max((_match(self.steps, nodes, 0, length) for length in range(1, len(nodes) + 1)), key=_ORDER.index, default=Fit.NOT)


_ORDER = [Fit.NOT, Fit.PART, Fit.ALL]


def _match(steps: tuple[Step, ...], nodes: tuple[Node, ...], at: int, end: int) -> Fit:
    """Whether the steps select exactly nodes[:end]; `at` nodes of them are gone already."""
    if not steps:
        return Fit.ALL if at == end else Fit.NOT
    step, rest = steps[0], steps[1:]
    if step.kind == "type":
        node = nodes[at - 1]
        return _match(rest, nodes, at, end) if _is_type(node, step.word) else Fit.NOT
    places = range(at, end) if step.kind in ("by-type", "by-name", "below") else range(at, min(at + 1, end))
    return max((_least(_reaches(step, nodes[place], place), _match(rest, nodes, place + 1, end)) for place in places),
               key=_ORDER.index, default=Fit.NOT)  # fmt: skip


def _reaches(step: Step, node: Node, place: int) -> Fit:
    if step.kind == "root":
        fits = place == 0 and step.word in ("Resource", "DomainResource", node.type)
    elif step.kind == "by-type":
        fits = _is_type(node, step.word)
    elif step.kind == "below":
        fits = place > 0
    else:
        fits = place > 0 and step.word in (node.name, node.written)
    return Fit.NOT if not fits else step.condition.fit(node) if step.condition else Fit.ALL


def _least(*fits: Fit) -> Fit:
    return min(fits, key=_ORDER.index)


def _is_type(node: Node, word: str) -> bool:
    return node.type.casefold() == word.removeprefix("FHIR.").casefold() and bool(word)


def paths(text: str) -> list[Path]:
    """The alternatives of a rule's path. Raises Unreadable."""
    reader = _Reader(text)
    found = [reader.path()]
    while reader.take("|"):
        found.append(reader.path())
    reader.end()
    return found


def readable(text: str) -> Path:
    """The longest beginning of a path that can be read: what a rule that cannot be read is about, at most."""
    return Path(tuple(_Reader(text).beginning()))


class _Reader:
    """Reads a path word by word."""

    def __init__(self, text: str) -> None:
        self._words: list[tuple[str, str]] = []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None:
                self._words.append(("sign", text[place:].strip()[:1]))
                break
            quoted, name, sign, number = match.groups()
            read = (("text", quoted), ("name", name), ("sign", sign), ("number", number))
            self._words.append(next((kind, word) for kind, word in read if word is not None))
            place = match.end()
        self._at = 0

    def take(self, sign: str) -> bool:
        """Whether a sign comes next; it is read then."""
        if self._at < len(self._words) and self._words[self._at] == ("sign", sign):
            self._at += 1
            return True
        return False

    def end(self) -> None:
        """Raises Unreadable where more comes."""
        if self._at < len(self._words):
            raise Unreadable(f"'{self._words[self._at][1]}' is not of the part of FHIRPath that can be read")

    def path(self) -> Path:
        steps: list[Step] = []
        for step in self._steps():
            steps.append(step)
        return Path(tuple(_conditioned(steps)))

    def beginning(self) -> list[Step]:
        """The steps up to the first that cannot be read."""
        steps: list[Step] = []
        try:
            for step in self._steps():
                steps.append(step)
        except Unreadable:
            pass
        kept = [step for step in steps if step.kind != "where"]
        return kept

    def _steps(self) -> Any:
        yield self._first()
        while True:
            if self.take("."):
                yield self._next()
            elif self._next_is("name", "as"):
                self._at += 1
                yield Step("type", self._word("name"))
            else:
                return

    def _first(self) -> Step:
        word = self._word("name")
        if word in ("nodesByType", "nodesByName"):
            return Step("by-type" if word == "nodesByType" else "by-name", self._argument())
        if word[0].isupper():
            return Step("root", word)
        if self._next_is("sign", "("):
            raise Unreadable(f"the function '{word}' is not known")
        return Step("by-name", word)

    def _next(self) -> Step:
        word = self._word("name")
        if not self._next_is("sign", "("):
            return Step("name", word)
        if word in ("ofType", "as"):
            return Step("type", self._argument())
        if word in ("nodesByType", "nodesByName"):
            return Step("by-type" if word == "nodesByType" else "by-name", self._argument())
        if word == "descendants":
            self._expect("(", ")")
            return Step("below")
        if word == "where":
            self._expect("(")
            asked = self._condition(())
            self._expect(")")
            return Step("where", condition=Condition(tuple(asked)))
        raise Unreadable(f"the function '{word}' is not known")

    def _condition(self, above: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
        asked = self._comparison(above)
        while self._next_is("name", "and"):
            self._at += 1
            asked += self._comparison(above)
        return asked

    def _comparison(self, above: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
        """`path = 'value'`, or `path.where(…).exists()`."""
        path = (*above, self._word("name"))
        while self.take("."):
            word = self._word("name")
            if word == "where":
                self._expect("(")
                asked = self._condition(path)
                self._expect(")")
                if self.take("."):
                    if self._word("name") != "exists":
                        raise Unreadable("within where(…) only 'path = value' and 'path.where(…).exists()' can be read")
                    self._expect("(", ")")
                return asked
            path = (*path, word)
        if not self.take("="):
            raise Unreadable("within where(…) only 'path = value' and 'path.where(…).exists()' can be read")
        return [(path, self._word("text"))]

    def _argument(self) -> str:
        self._expect("(")
        word = self._words[self._at][1] if self._at < len(self._words) and self._words[self._at][0] in ("text", "name") else None
        if word is None:
            raise Unreadable("a function lacks its word in brackets")
        self._at += 1
        while self.take("."):
            word = self._word("name")
        self._expect(")")
        return word

    def _word(self, kind: str) -> str:
        if self._at >= len(self._words) or self._words[self._at][0] != kind:
            shown = f"'{self._words[self._at][1]}'" if self._at < len(self._words) else "its end"
            raise Unreadable(f"{shown} stands where a {'name' if kind == 'name' else 'text in quotes'} is expected")
        self._at += 1
        return self._words[self._at - 1][1]

    def _next_is(self, kind: str, word: str) -> bool:
        return self._at < len(self._words) and self._words[self._at] == (kind, word)

    def _expect(self, *signs: str) -> None:
        for sign in signs:
            if not self.take(sign):
                raise Unreadable(f"'{sign}' is missing")


def _conditioned(steps: list[Step]) -> list[Step]:
    """A `where` belongs to the step before it."""
    found: list[Step] = []
    for step in steps:
        if step.kind != "where":
            found.append(step)
        elif found and found[-1].condition is None and step.condition is not None:
            found[-1] = Step(found[-1].kind, found[-1].word, step.condition)
        elif found and found[-1].condition is not None and step.condition is not None:
            both = Condition((*found[-1].condition.asked, *step.condition.asked))
            found[-1] = Step(found[-1].kind, found[-1].word, both)
    return found


def nodes_of(table: Mapped, column: Column) -> list[tuple[Node, ...]]:
    """The nodes from a column's resource to its value, with their types: one way for each of the column's paths."""
    return [_nodes(table, column, path) for path in (column.path, *column.others)]


def _nodes(table: Mapped, column: Column, path: Path_) -> tuple[Node, ...]:
    whole = bool(path) and path[0].field in WHOLE
    nodes = [Node(table.kind, table.kind)]
    trail = table.kind
    for step in path[1:] if whole else (*table.each, *path):
        if step.field == "contained":
            # A contained resource is one: rules about its kind are about it.
            kind = step.where[1] if step.where is not None else "Resource"
            nodes, trail = [Node(kind, kind)], kind
            continue
        name, type = _typed(trail, nodes[-1].type, step.field, first=len(nodes) == 1)
        trail = f"{trail}.{name}" if type == "BackboneElement" else type
        nodes.append(Node(name, type, step.where, step.field))
    return (*nodes, *_taken(column.take, nodes[-1]))


def _taken(take: str, last: Node) -> list[Node]:
    """The nodes below a path's end that a `take` goes to: the id in a reference, a code in its coding, the data of an attachment."""
    if take == "reference" and last.name not in ("reference", "id"):
        concept = [Node("reference", "Reference")] if last.type == "CodeableReference" else []
        return [*concept, Node("reference", "string")]
    if take in ("code", "display", "system"):
        leaf = Node(take, {"code": "code", "display": "string", "system": "uri"}[take])
        above = {"Coding": [], "Quantity": [], "CodeableReference": [Node("concept", "CodeableConcept"), Node("coding", "Coding")]}
        return [*above.get(last.type, [Node("coding", "Coding")]), leaf]
    return [Node("data", "base64Binary")] if take in ("attachment", "base64") and last.type != "base64Binary" else []


def _typed(trail: str, parent: str, field: str, *, first: bool) -> tuple[str, str]:
    """An element's name (`onset` of `onsetDateTime`) and type."""
    types = _facts()["types"]
    for fields in (types.get(trail), types.get(parent), types["Resource"] if first else None):
        if fields and field in fields:
            return field, str(fields[field])
    match = re.fullmatch(rf"({'|'.join(_facts()['choices'])})([A-Z][A-Za-z0-9]*)", field)
    if match:
        word = match[2]
        return match[1], word if word in types else word[0].lower() + word[1:]
    return field, "BackboneElement"


@cache
def _facts() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((files("anonymize.importing") / "fhir-types.yaml").read_text(encoding="utf-8")))
