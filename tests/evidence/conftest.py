"""Two releases of the small hospital: one published, the next waiting under a changed policy; and evidence made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from anonymize import pipeline
from anonymize.evidence import Evidence
from anonymize.evidence.model import Audit, PrivacyAsked
from anonymize.policy.loader import load
from anonymize.publish.manifest import GateFact
from anonymize.run import Run
from tests.conftest import KEY
from tests.road import hospital

START = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
CHANGED = (
    hospital.POLICY.replace("privacy: {k: 3, suppression: 0.2}", "privacy: {k: 4, suppression: 0.3}")
    .replace("      charge: plain round -2\n", "")
    .replace("title: Small}", "title: Small, recipient: A university, purpose: A study of stays}")
)


@dataclass(frozen=True)
class Hospital:
    """first: ended, published as `version`; second: waits for a steward."""

    folder: Path
    version: str
    first: Run
    second: Run

    @property
    def store(self) -> Path:
        return self.folder / "store"


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANONYMIZE_KEY", KEY)
        folder = hospital.build(tmp_path_factory.mktemp("evidence") / "hospital")
        first = Run.open(load(hospital.policy(folder)), run_id="first")
        pipeline.to_review(first)
        pipeline.decide(first, approve=True, steward="Ada Steward", reason="Page and sample were read")
        version = str(pipeline.publish(first)["version"])
        second = Run.open(load(hospital.policy(folder, CHANGED)), run_id="second")
        pipeline.to_review(second)
        yield Hospital(folder, version, first, second)
        second.close()


def made(**known: Any) -> Evidence:
    """Evidence of a release that passed its gates, made by hand."""
    facts: dict[str, Any] = {
        "dataset": "icu",
        "version": "20261121T101500Z-1a2b3c4d",
        "run": "icu-1",
        "started": START,
        "code_version": "0.1.0",
        "key_id": "0a1b2c3d",
        "policy_sha256": "f" * 64,
        "privacy": PrivacyAsked(k=5, reached=6, suppression=0.05),
        "gates": (GateFact(gate="leaks", passed=True, words="no identifier stands in any column"),),
    }
    return Evidence.model_validate({**facts, **known})


def audit(**known: Any) -> Audit:
    """A sample of 100 notes in which nothing was missed."""
    facts = {"done": 100, "drawn": 100, "missed": 0, "recall": 1.0, "recall_low": 0.963, "recall_high": 1.0}
    return Audit.model_validate({**facts, "notes_with_misses": 0.0, "notes_low": 0.0, "notes_high": 0.036, **known})
