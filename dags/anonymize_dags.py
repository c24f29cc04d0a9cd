"""One DAG a policy: whatever stands in the folder of policies (`ANONYMIZE_POLICIES`, default `policies/` beside `dags/`) is scheduled."""

from __future__ import annotations

from anonymize_airflow.policies import built

# A policy that is wrong makes no DAG; `anonymize_broken_policies.py` shows it as an import error, and the others go on.
for _dag in built().dags:
    globals()[_dag.dag_id] = _dag
