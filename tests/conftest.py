"""What all tests share: where the real data stands, and a key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A first call imports and compiles, and machines are busy: how long an example takes says nothing here.
settings.register_profile("anonymize", deadline=None)
settings.load_profile("anonymize")

ROOT = Path(__file__).resolve().parents[1]
TOGETHER = {
    "airflow": ("airflow/test_standalone.py", "airflow/test_desk.py", "airflow/test_desk_in_a_browser.py"),
    "spark": ("engine/test_engine.py", "engine/test_spark.py", "engine/test_spark_road.py"),
}
KEY = "test-key-not-a-secret-0123456789abcdef"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data that stands beside the project; the test skips, loudly, where it is absent."""
    folder = Path(os.environ.get("ANONYMIZE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"REAL DATA ABSENT: {folder} is no folder; set ANONYMIZE_DATA")
    return folder


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a key; the test of a missing key takes it away."""
    monkeypatch.setenv("ANONYMIZE_KEY", KEY)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of the workers one takes all tests that need a running Airflow, and one those that need a running Spark: they share it, and a second
    would take minutes and half the machine."""
    from xdist.scheduler import LoadFileScheduling

    class OneOfEach(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((what for what, names in TOGETHER.items() if any(f"/{name}" in f"/{file}" for name in names)), file)

    return OneOfEach(config, log) if config.getoption("dist") == "loadfile" else None
