"""Turns a policy's YAML into a checked `Policy`, or says everything that is wrong with it at once, each with its line."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from anonymize.errors import PolicyError, Problem
from anonymize.policy.model import Policy
from anonymize.policy.overlay import resolve
from anonymize.policy.reading import Document, Path_
from anonymize.policy.rules import own_rules
from anonymize.policy.wording import translated


def load(path: Path | str) -> Policy:
    """Read a policy, and all that it extends.

    Raises PolicyError with every problem found: file:line, the path in the policy, what is wrong, the nearest valid word.
    """
    document = resolve(Path(path))
    return checked(document)


def checked(document: Document) -> Policy:
    """A document's policy. Raises PolicyError like `load`."""
    problems = [*document.problems, *(document.problem(at, what) for at, what in own_rules(document.values))]
    told = {problem.path for problem in problems}
    policy: Policy | None = None
    try:
        policy = Policy.model_validate(document.values)
    except ValidationError as error:
        problems += [document.problem(at, what) for at, what in translated(error, document) if not _echoes(at, told)]
    if policy is None or problems:
        raise PolicyError(_once_each(problems, document.chain))
    policy._file, policy._chain, policy._text = document.file, document.chain, document.text
    policy._places = {at: document.where(at) for at in document.lines}
    policy._reasons = document.reasons
    return policy


def _echoes(at: Path_, told: set[str]) -> bool:
    """Whether the schema trips over what is told already, at this place or within it; rules of the whole file are told in place."""
    path = ".".join(at)
    return bool(told) and (not at or any(one == path or one.startswith(f"{path}.") for one in told))


def _once_each(problems: list[Problem], chain: tuple[Path, ...]) -> list[Problem]:
    """In the order of the files. Where a place has several problems the first that was found stands, for the others are its echoes."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.path, problem)
    files = [str(file) for file in chain]

    def place(problem: Problem) -> tuple[int, int]:
        file, _, line = problem.where.rpartition(":")
        return files.index(file) if file in files else len(files), int(line)

    return sorted(first.values(), key=place)
