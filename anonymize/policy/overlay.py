"""`extends:`: a policy on top of another. What it does not say is the other's; the rules are few, and stand in `docs/policy.md`.

- A mapping is merged, word by word, at any depth; a text, number or list takes the place of the other's.
- `null` takes away what the other has: `tables: {y: null}`. (A table's `subject: null` keeps its meaning.)
- A column with a role is decided anew: of the other's rule only what says what the column is stays (`KEPT`). Without one, words are added;
  in both `null` takes a word away.
- A source that names its `type` is given anew; so is `optout`.
"""

from __future__ import annotations

from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

from anonymize.errors import PolicyError
from anonymize.policy.environment import expand
from anonymize.policy.model import METHODS, Method, Role, Rule
from anonymize.policy.nearest import nearest
from anonymize.policy.reading import Document, Path_, read
from anonymize.policy.reasons import head, reasons
from anonymize.policy.rules import short_form_problem
from anonymize.policy.writing import written

#: The ready-made policies for known schemas: each under Safe Harbor (`NAME`) and as limited data set (`NAME-limited`).
READY = Path(str(files("anonymize.policy"))) / "ready"
#: What says what a column is, and not how it is treated: it stays where a policy decides on the column anew.
KEPT = ("description", "unit", "codes", "type", "rename", "optional")
#: A date that stays one is written at the source as it was.
_DATED = {Method.SHIFT.value, Method.YEAR.value}
#: What is given anew as a whole.
_WHOLE = {("optout",)}


def ready_names() -> list[str]:
    """The names of the policies that come with the package."""
    return sorted(file.stem for file in READY.glob("*.yaml"))


def ready_file(name: str) -> Path | None:
    """A ready-made policy's file; None where there is none of that name."""
    return READY / f"{name}.yaml" if name in ready_names() else None


def resolve(path: Path, text: str | None = None) -> Document:
    """A policy's document with everything that it extends: its values, and for each the file and line that it stands in.

    Its text is the file's own, or of a policy that extends others the whole as one text. text: what the file would hold, where it is not
    written yet. Raises PolicyError.
    """
    return _resolved(path, (), text)


def extended(document: Document) -> Path | None:
    """The file that a document extends; None where it extends nothing. Raises PolicyError where there is none."""
    if "extends" not in document.values:
        return None
    name = document.values["extends"]
    if not isinstance(name, str) or not name.strip():
        raise PolicyError([document.problem(("extends",), "takes one name of a ready-made policy, or one file (`base.yaml`)")])
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        file = ready_file(name)
        if file is None:
            words = f"no ready-made policy '{name}'.{nearest(name, ready_names())} A file's name ends with .yaml"
            raise PolicyError([document.problem(("extends",), words)])
        return file
    file = document.file.parent / expand(name, document.where(("extends",)))
    if not file.is_file():
        near = nearest(file.name, [other.name for other in file.parent.glob("*.y*ml")] if file.parent.is_dir() else [])
        raise PolicyError([document.problem(("extends",), f"no file '{name}' in {document.file.parent}.{near}")])
    return file


def _resolved(path: Path, above: tuple[Path, ...], text: str | None = None) -> Document:
    document = read(path, text)
    document.reasons = reasons(document.text, document.lines)
    file = extended(document)
    if file is None:
        return document
    chain = (*above, path)
    if file.resolve() in {one.resolve() for one in chain}:
        circle = " -> ".join(one.name for one in (*chain, file))
        raise PolicyError([document.problem(("extends",), f"goes round in a circle: {circle}")])
    base = _resolved(file, chain)
    whole = _Overlay(base, document).whole()
    values = {key: value for key, value in whole.values.items() if key != "extends"}
    names = " -> ".join(one.stem for one in whole.chain[1:])
    whole.text = written(
        values, whole.reasons, f"{head(document.text)}\n\nThis is the whole: '{path.stem}' with all that it extends ({names}).".strip()
    )
    return whole


class _Overlay:
    """Lays one document on top of another, with the place of each value."""

    def __init__(self, base: Document, over: Document) -> None:
        self._base, self._over = base, over
        kept = {at: base.files.get(at, base.file) for at in base.lines}
        self._out = Document(over.file, over.text, lines=dict(base.lines), written=dict(base.written), files=kept)
        self._out.chain = (*over.chain, *base.chain)
        self._out.problems = [*over.problems, *base.problems]
        self._out.reasons = dict(base.reasons)

    def whole(self) -> Document:
        """The two as one document."""
        values = {key: value for key, value in self._base.values.items() if key != "extends"}
        self._out.values = self._mapping(values, self._over.values, ())
        return self._out

    def _mapping(self, base: dict[str, Any], over: dict[str, Any], at: Path_) -> dict[str, Any]:
        self._place(at)
        merged = dict(base)
        for key, value in over.items():
            here = (*at, key)
            if value is None and self._taken_away(here, base):
                merged.pop(key, None)
                self._forget(here)
            else:
                merged[key] = self._value(base[key], value, here) if key in base else self._anew(value, here)
        return merged

    def _taken_away(self, here: Path_, base: dict[str, Any]) -> bool:
        """Whether a `null` takes something away; one that can only be a mistake is told."""
        named = here[:-1] in (("tables",), ("sources",)) or (len(here) == 4 and here[0] == "tables" and here[2] == "columns")
        if here in self._over.empty:
            if here[-1] in base:
                words = f"says nothing. To take away what {self._base.file.name} has, write {here[-1]}: null"
                self._out.problems.append(self._over.problem(here, words))
            return here[-1] in base
        if named and here[-1] not in base:
            words = f"nothing to take away: {self._base.file.name} has no '{here[-1]}'.{nearest(here[-1], base)}"
            self._out.problems.append(self._over.problem(here, words))
            return True
        return here[-1] in base and not (len(here) == 3 and here[0] == "tables" and here[2] == "subject")

    def _value(self, base: Any, over: Any, here: Path_) -> Any:
        if len(here) == 4 and here[0] == "tables" and here[2] == "columns":
            return self._rule(base, over, here)
        source_anew = len(here) == 2 and here[0] == "sources" and isinstance(over, dict) and "type" in over
        if isinstance(base, dict) and isinstance(over, dict) and here not in _WHOLE and not source_anew:
            return self._mapping(base, over, here)
        return self._anew(over, here)

    def _anew(self, value: Any, here: Path_) -> Any:
        """The overlay's own value, in the place of whatever stood there."""
        self._forget(here)
        for at in [at for at in self._over.lines if at[: len(here)] == here]:
            self._place(at)
        return deepcopy(value)

    def _rule(self, base: Any, over: Any, here: Path_) -> Any:
        """A column's rule on top of another."""
        long = _long(base)
        if isinstance(over, dict) and "role" not in over:
            return self._mapping(long, over, here) if long is not None else self._anew(over, here)
        new = _long(over)
        if new is None or long is None:
            return self._anew(over, here)
        stays = (*KEPT, "format") if {_method(long), _method(new)} <= _DATED else KEPT
        kept = {word: long[word] for word in stays if word in long and word not in new}
        places = {(*here, word): (self._out.lines.get((*here, word)), self._out.files.get((*here, word))) for word in kept}
        why = self._out.reasons.get(here, "")
        plain = self._anew(over, here)
        for at, (line, file) in places.items():
            if line is not None and file is not None:
                self._out.lines[at], self._out.files[at] = line, file
        if why:
            self._out.reasons.setdefault(here, why)
        if isinstance(over, dict):
            return {word: value for word, value in plain.items() if value is not None} | kept
        return {**new, **kept} if kept else over

    def _place(self, at: Path_) -> None:
        """A path stands where the overlay has it."""
        if at in self._over.lines:
            self._out.lines[at] = self._over.lines[at]
            self._out.files.pop(at, None)
            if at in self._over.files:
                self._out.files[at] = self._over.files[at]
        if at in self._over.written:
            self._out.written[at] = self._over.written[at]
        if at in self._over.reasons:
            self._out.reasons[at] = self._over.reasons[at]

    def _forget(self, here: Path_) -> None:
        for known in (self._out.lines, self._out.files, self._out.written, self._out.reasons):
            for at in [at for at in known if at[: len(here)] == here]:
                known.pop(at, None)


def _long(rule: Any) -> dict[str, Any] | None:
    """A rule's long form; None where it is none, or is misspelt: then it stands as it is, for the loader to say so."""
    if isinstance(rule, str):
        return None if short_form_problem(rule) else Rule.short_form(rule)
    return dict(rule) if isinstance(rule, dict) else None


def _method(rule: dict[str, Any]) -> object:
    return rule.get("method") or (METHODS[Role(rule["role"])][0].value if rule.get("role") in set(Role) else None)
