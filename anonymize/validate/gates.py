"""Gates: checks that stop a release. All are judged, then one error says all that failed; what cannot be judged has failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from anonymize.errors import GateFailed


@dataclass(frozen=True)
class Verdict:
    """One gate: its name, whether it passed, and a sentence a finding, in words that a steward understands."""

    gate: str
    passed: bool
    words: tuple[str, ...]

    def asdict(self) -> dict[str, Any]:
        """For a record."""
        return {**asdict(self), "words": list(self.words)}


def judge(gates: dict[str, Callable[[], tuple[bool, list[str]]]]) -> list[Verdict]:
    """Judge every gate. One that breaks has failed, without the message of what broke it, which can hold a value."""
    verdicts = []
    for name, gate in gates.items():
        try:
            passed, words = gate()
        except Exception as error:
            passed, words = False, [f"could not be judged ({type(error).__name__}), so it counts as failed"]
        verdicts.append(Verdict(name, passed, tuple(words)))
    return verdicts


def require(verdicts: list[Verdict]) -> None:
    """Raises GateFailed, with every gate that failed and why, where one did."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        lines = [f"  {verdict.gate}: {words}" for verdict in failed for words in verdict.words or ("failed, and did not say why",)]
        raise GateFailed("the release is stopped by its gates:\n" + "\n".join(lines) + "\nMend the policy or the source, and run again")
