"""Turns a policy's YAML into a checked `Policy`, or says everything that is wrong with it at once, each with its line."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from anonymize.errors import PolicyError, Problem
from anonymize.policy.model import Policy
from anonymize.policy.reading import Path_, read
from anonymize.policy.rules import own_rules
from anonymize.policy.wording import translated


def load(path: Path | str) -> Policy:
    """Read a policy.

    Raises PolicyError with every problem found: file:line, the path in the policy, what is wrong, the nearest valid word.
    """
    document = read(Path(path))
    problems = [*document.problems, *(document.problem(at, what) for at, what in own_rules(document.values))]
    told = {problem.path for problem in problems}
    policy: Policy | None = None
    try:
        policy = Policy.model_validate(document.values)
    except ValidationError as error:
        problems += [document.problem(at, what) for at, what in translated(error, document) if not _echoes(at, told)]
    if policy is None or problems:
        raise PolicyError(_once_each(problems))
    policy._file, policy._lines = document.file, document.lines
    policy._sha256 = hashlib.sha256(document.text.encode()).hexdigest()
    return policy


def _echoes(at: Path_, told: set[str]) -> bool:
    """Whether the schema trips over what is told already, at this place or within it; rules of the whole file are told in place."""
    path = ".".join(at)
    return bool(told) and (not at or any(one == path or one.startswith(f"{path}.") for one in told))


def _once_each(problems: list[Problem]) -> list[Problem]:
    """In the order of the file. Where a place has several problems the first that was found stands, for the others are its echoes."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.path, problem)
    return sorted(first.values(), key=lambda problem: int(problem.where.rpartition(":")[2]))
