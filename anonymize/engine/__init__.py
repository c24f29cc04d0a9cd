"""Where the work runs, behind one narrow interface (`base.py`)."""

from __future__ import annotations

from pathlib import Path

from anonymize.engine.base import Engine, Table
from anonymize.policy import memory
from anonymize.policy.model import EngineChoice

__all__ = ["Engine", "Table", "make_engine"]


def make_engine(choice: EngineChoice, *, scratch: Path) -> Engine:
    """The engine that a policy chooses. scratch: a private folder to spill to."""
    if choice.spark is not None:
        from anonymize.engine.spark import SparkEngine

        conf = {name: str(value) for name, value in choice.spark.conf.items()}
        return SparkEngine(master=choice.spark.master, conf=conf, scratch=scratch, tally=choice.tally)
    from anonymize.engine.local import LocalEngine

    memory.keep(choice.local.shares)
    return LocalEngine(workers=choice.local.workers, memory=choice.local.memory, scratch=scratch, tally=choice.tally)
