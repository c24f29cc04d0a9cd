"""The steward's desk: pages that show what `anonymize` recorded and hand a steward's word to Airflow's human-in-the-loop API. They hold no rule
of privacy, no key, and reach neither source nor workspace nor store."""
