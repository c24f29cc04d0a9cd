"""A policy as a page of the docs prints it, and what a test lays on top of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import ROOT

#: To start worker processes costs more than small tables.
SERIAL: dict[str, Any] = {"engine": {"local": {"workers": 1}}}


def printed(page: str, number: int = 0) -> str:
    """The text of a policy on `docs/sources/PAGE.md`: the first, or the one of that number."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "sources" / f"{page}.md").read_text(), re.DOTALL)
    return str(blocks[number])


def laid_on(text: str, overlay: dict[str, Any], folder: Path) -> Path:
    """The file of a policy that extends a text, word for word as it is, by what a site says on top (`null` takes away)."""
    folder.mkdir(exist_ok=True)
    (folder / "printed.yaml").write_text(text)
    file = folder / "policy.yaml"
    with file.open("w") as out:
        YAML(typ="safe").dump({"extends": "printed.yaml", **SERIAL, **overlay}, out)
    return file
