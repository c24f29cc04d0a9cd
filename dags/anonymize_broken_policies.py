"""Makes no DAG. Airflow lists this file among its import errors, with the text of every policy that is wrong, until it is mended."""

from __future__ import annotations

from anonymize_airflow.policies import built

from anonymize.errors import PolicyError

_problems = built().problems
if _problems:
    raise PolicyError(_problems)
