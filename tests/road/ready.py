"""A ready-made policy with a site's overlay, as a file of its own: the overlay's words take the place of the policy's, `null` takes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import ROOT

READY = ROOT / "anonymize" / "policy" / "ready"


def overlaid(name: str, overlay: dict[str, Any], folder: Path) -> Path:
    """The file `policy.yaml` in the folder."""
    words = _merged(_whole(name), overlay)
    file = folder / "policy.yaml"
    with file.open("w") as out:
        YAML(typ="safe").dump(words, out)
    return file


def _whole(name: str) -> dict[str, Any]:
    words = dict(YAML(typ="safe").load(READY / f"{name}.yaml"))
    base = words.pop("extends", None)
    return _merged(_whole(base), words) if base else words


def _merged(base: dict[str, Any], over: dict[str, Any], *at: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if value is None and not (key == "subject" and len(at) == 2):
            merged.pop(key, None)
        elif isinstance(old, dict) and isinstance(value, dict) and "role" not in value and "type" not in value:
            merged[key] = _merged(old, value, *at, key)
        else:
            merged[key] = value
    return merged
