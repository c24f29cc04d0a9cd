"""The docs are true: every word of the policy stands in its page, and the README's policy loads."""

from __future__ import annotations

import re
from pathlib import Path

from anonymize.hierarchies import names
from anonymize.policy import origins
from anonymize.policy.loader import load
from anonymize.policy.model import METHODS, Checks, Encryption, Kind, Policy, Privacy, Release, Review, Rule, Table, Text
from tests.conftest import ROOT


def test_every_word_of_a_policy_is_explained() -> None:
    page = "".join(file.read_text() for file in (ROOT / "docs" / "policy.md", *(ROOT / "docs" / "sources").glob("*.md")))
    models = (Policy, Table, Rule, Privacy, Text, Checks, Review, Release, Encryption, *origins.KINDS)
    words = {field.alias or name for model in models for name, field in model.model_fields.items()}
    words |= {kind.value for kind in Kind} | {role.value for role in METHODS} | {m.value for methods in METHODS.values() for m in methods}
    words |= {name.split(":")[0] for name in names()}
    assert not sorted(word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", page))


def test_the_policy_of_the_readme_loads(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert text is not None
    file = tmp_path / "policy.yaml"
    file.write_text(text[1])
    assert load(file).dataset == "icu"


def test_every_link_and_file_that_the_docs_name_is_there() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} -> {link}"
