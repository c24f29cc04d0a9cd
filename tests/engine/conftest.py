"""One Spark for all tests of the engines."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY


def need_spark() -> None:
    """Skip, loudly, where Spark cannot run."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("SPARK NOT TESTED: pyspark is not installed (pip install 'anonymize[spark]')")
    if shutil.which("java") is None:
        pytest.skip("SPARK NOT TESTED: there is no Java (Debian: openjdk-17-jre-headless)")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Spark's session on two cores of this machine, with its event log in `spark.eventlog`. The workers' environment holds the key, as a
    cluster's would."""
    need_spark()
    from pyspark.sql import SparkSession

    from anonymize.engine.spark import ALONE, STARTED

    root = tmp_path_factory.mktemp("spark")
    (root / "events").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANONYMIZE_KEY", KEY)
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
        builder = SparkSession.builder.master("local[2]").appName("tests")
        own = {"spark.eventLog.enabled": "true", "spark.eventLog.compress": "false", "spark.eventLog.dir": f"file:{root}/events"}
        own |= {"spark.local.dir": str(root / "local")}
        for name, value in (STARTED | ALONE | own | {"spark.driver.memory": "1g"}).items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
    session.eventlog = root / "events"
    yield session
    session.stop()
