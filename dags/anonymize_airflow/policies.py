"""From a folder of policies to DAGs, each policy on its own: what is wrong with one stops no other."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from airflow.sdk import DAG

from anonymize.errors import PolicyError, Problem
from anonymize.policy.loader import load
from anonymize_airflow.road import road

DEFAULT = Path(__file__).resolve().parents[2] / "policies"


@dataclass
class Built:
    """The DAGs, and what is wrong with the policies that make none."""

    dags: list[DAG] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def folder() -> Path:
    """Where the policies of this deployment stand."""
    return Path(os.environ.get("ANONYMIZE_POLICIES") or DEFAULT)


def built(policies: Path | None = None) -> Built:
    """One DAG for each `*.yaml` of the folder that can be honoured, and the problems of the others."""
    result = Built()
    for file in sorted((policies or folder()).glob("*.yaml")):
        try:
            result.dags.append(_one(file, {dag.dag_id for dag in result.dags}))
        except PolicyError as error:
            result.problems += error.problems
    return result


def _one(file: Path, taken: set[str]) -> DAG:
    policy = load(file)
    if policy.dataset in taken:
        raise PolicyError([Problem(policy.where("dataset"), "dataset", f"'{policy.dataset}' is another policy's dataset already")])
    try:
        return road(policy)
    except Exception as error:  # a timetable that Airflow does not know raises one of many types; it is shown as the policy's own problem
        what = f"Airflow cannot schedule this policy: {type(error).__name__}: {error}"
        raise PolicyError([Problem(policy.where("schedule"), "schedule", what)]) from None
