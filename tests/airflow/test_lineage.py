"""What OpenLineage is told of a task: names of datasets, without any credential."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anonymize.policy.loader import load
from tests.conftest import ROOT
from tests.road import hospital

sys.path.insert(0, str(ROOT / "dags"))


def told(**operator: Any) -> tuple[list[str], list[str]]:
    from anonymize_airflow.lineage import RoadExtractor

    found = RoadExtractor(SimpleNamespace(**operator)).extract()
    assert found is not None
    return [f"{d.namespace} {d.name}" for d in found.inputs], [f"{d.namespace} {d.name}" for d in found.outputs]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (
            "{type: sql, url: 'postgresql+psycopg://${USER}:${PASSWORD}@db.example:5432/ehr', schema: ward}",
            "postgres://db.example:5432 ehr.ward.stays",
        ),
        ("{type: sql, url: '${EHR_URL}'}", "environment ${EHR_URL}.stays"),
        ("{type: sql, connection: ward_ehr}", "connection://ward_ehr stays"),
        ("{type: csv, path: '${HOSPITAL}/export'}", "file ${HOSPITAL}/export/stays"),
    ],
)
def test_a_source_is_named_without_its_credentials(tmp_path: Path, source: str, name: str) -> None:
    text = hospital.POLICY.replace('{type: sql, url: "sqlite:///ehr.db"}', source)
    file = str(hospital.policy(tmp_path, text))
    came, left = told(task_id="extract", op_kwargs={"policy_file": file, "table": "stay"})
    assert came == [name]
    assert left == ["anonymize small.extract.stay"]


def test_each_step_leads_on_to_the_next_and_another_dags_task_is_none_of_ours(tmp_path: Path) -> None:
    file = str(hospital.policy(tmp_path))
    given = {"policy_file": file, "run": "small-1"}
    written: set[str] = set()
    for step in ("check", "extract", "collect", "deidentify", "generalize", "validate", "publish"):
        came, left = told(task_id=step, op_args=(file, "small-1"), op_kwargs={})
        assert (came, left) == told(task_id=step, op_kwargs=given)
        assert step in ("check", "extract") or set(came) <= written
        written |= set(left)
    assert told(task_id="review", policy_file=file)[0] == [f"anonymize small.stage.{table}" for table in load(file).tables]
    assert f"file {tmp_path}/store/small" in written
    assert told(task_id="extract", op_kwargs={}) == ([], [])
    assert told(task_id="another", op_kwargs=given) == ([], [])
