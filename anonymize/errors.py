"""Errors that say what is wrong, where, and how to mend it, and never a record's value.

An exception from a library can carry a value of a record in its message; `without_values` re-raises it as its type's name.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class AnonymizeError(Exception):
    """The base of every error that a user is meant to read; `exit_code` is what the command line returns."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a policy.

    where: `file:line`; path: where in the policy (`tables.patient.columns.zip`); what: a sentence, with the nearest valid word.
    """

    where: str
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}  {self.path}: {self.what}"


class PolicyError(AnonymizeError):
    """A policy cannot be honoured: all its problems at once, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class SourceError(AnonymizeError):
    """A source cannot be reached or read; the message names the source and table, never the credentials."""

    exit_code = 3


class NoSuchTable(SourceError):
    """A source has no table of that name; an optional one is left out."""


class QuarantineBudgetExceeded(AnonymizeError):
    """More records of a table are malformed than the policy allows."""

    exit_code = 4


class KeyMissing(AnonymizeError):
    """No key, no run."""

    exit_code = 5


class GateFailed(AnonymizeError):
    """A gate stops the release; the message says which, in words that a steward understands."""

    exit_code = 6


class ReviewMissing(AnonymizeError):
    """A release waits for a steward, or was rejected by one, or its files changed after the decision."""

    exit_code = 7


class WorkspaceBusy(AnonymizeError):
    """A command, or a task of a run, works on the same dataset in this workspace."""

    exit_code = 8


class StoreError(AnonymizeError):
    """The research store cannot be read or written."""

    exit_code = 9


class StepFailed(AnonymizeError):
    """A step broke on a batch: the step, the table, the rows, and the type of the error, without its message."""

    exit_code = 10


class RulesRefused(AnonymizeError):
    """Rules of another anonymizer that cannot be honoured; each is told by name before."""

    exit_code = 12


@contextmanager
def without_values(where: str, *, besides: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Re-raise what a library raises as StepFailed(where, type) without its message or its chain, for both can hold a value.

    besides: types that pass as they are.
    """
    try:
        yield
    except AnonymizeError:
        raise
    except besides:
        raise
    except MemoryError:
        raise
    except OSError as error:
        raise StepFailed(f"{where}: {type(error).__name__}: {error.strerror or 'input/output error'}") from None
    except Exception as error:
        raise StepFailed(f"{where}: {type(error).__name__} at {_place(error)} (message withheld: it can hold a record's value)") from None


def _place(error: Exception) -> str:
    """The innermost line of ours that the error went through (`local.py:72`): where to look, since the message is withheld."""
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parent)
    innermost = next((f for f in reversed(frames) if f.filename.startswith(package) and f.filename != __file__), frames[-1])
    return f"{Path(innermost.filename).name}:{innermost.lineno}"
