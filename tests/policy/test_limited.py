"""A limited data set is held against its own law: 45 CFR 164.514(e)(2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymize.policy.loader import load
from anonymize.safe_harbor import coverage

POLICY = """\
dataset: small
profile: {profile}
subject: patient.id
sources: {{ehr: {{type: csv, path: data}}}}
tables:
  patient:
    columns:
      id: identifier pseudonym
      last_name: {name}
      street: {street}
      city: plain
      zip: {{role: quasi, hierarchy: us-zip}}
      state: plain
      country: plain
      latitude: drop address
      born: {{role: quasi, hierarchy: date, kind: date}}
      age: quasi age
      admitted: date shift
      mrn: identifier pseudonym mrn
      note: text
      phone: {phone}
release: {{store: store}}
"""


@pytest.mark.parametrize(
    ("name", "street", "phone", "violated"),
    [
        ("identifier drop name", "drop address", "drop phone", set()),
        ("plain", "drop address", "drop phone", {"last_name"}),
        ("identifier surrogate name", "quasi flat", "identifier pseudonym phone", {"street", "phone"}),
    ],
)
def test_what_may_not_leave_and_what_may(tmp_path: Path, name: str, street: str, phone: str, violated: set[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.format(profile="hipaa-limited-data-set", name=name, street=street, phone=phone))
    found = coverage(load(file), {})
    assert [one.letter for one in found] == "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi".split()
    wrong = {column: what for one in found for _, column, what in one.violated}
    assert set(wrong) == violated
    assert all("is not a limited data set for (" in what for what in wrong.values())
    file.write_text(POLICY.format(profile="hipaa-safe-harbor", name=name, street=street, phone=phone))
    assert {column for one in coverage(load(file), {}) for _, column, _ in one.violated} >= {"city", "zip", "born", "admitted", "note"}
