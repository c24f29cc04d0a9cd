"""Ready-made policies for known schemas: YAML files in `ready/`, each under Safe Harbor (`NAME`) and as limited data set (`NAME-limited`)."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files("anonymize.policy"))) / "ready"


def ready_names() -> list[str]:
    """The names of the policies that come with the package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def ready_file(name: str) -> Path | None:
    """A ready-made policy's file; None where there is none of that name."""
    return FOLDER / f"{name}.yaml" if name in ready_names() else None
