"""One road of ours, from its source to its release, in a process of its own: prints one JSON object with the seconds of each step, and
those of the processor."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.scale.watching import processor_of


def main(policy_file: Path, *, short: bool = False) -> dict[str, Any]:
    """Take a policy down the whole road, the steward's approval included. short: no further than de-identification."""
    from anonymize import pipeline
    from anonymize.policy.loader import load
    from anonymize.publish import Store
    from anonymize.run import Run

    this, policy = psutil.Process(), load(policy_file)
    run = Run.open(policy, fresh=True)
    seconds: dict[str, tuple[float, float]] = {}

    def step(name: str, work: Any) -> None:
        start, used = time.perf_counter(), processor_of(this)
        work()
        seconds[name] = round(time.perf_counter() - start, 2), round(max(processor_of(this) - used, 0.0), 2)
        print(name, *seconds[name], file=sys.stderr, flush=True)

    names = pipeline.tables(policy)
    step("check", lambda: pipeline.check(run))
    step("extract", lambda: [pipeline.extract(run, table) for table in names])
    step("collect", lambda: pipeline.collect(run))
    step("deidentify", lambda: [pipeline.deidentify(run, table) for table in names])
    if short:
        return {"steps": seconds}
    step("generalize", lambda: pipeline.generalize(run))
    step("validate", lambda: pipeline.validate(run))
    step("request", lambda: pipeline.request_review(run))
    rows = sum(counts["rows"] for counts in run.record.tables("stage").values())
    levels = {table: counts.get("levels") for table, counts in run.record.tables("generalize").items()}
    suppressed = sum(counts["suppressed"] for counts in run.record.tables("generalize").values())
    say = {"steward": "Bench Steward", "reason": "Made-up records"}
    step("publish", lambda: (pipeline.decide(run, approve=True, **say), pipeline.publish(run)))
    store = Store(str(policy.path(policy.release.store)))
    manifest = store.manifest(policy.dataset, store.newest(policy.dataset) or "")
    assert manifest is not None
    content = manifest.content_sha256
    return {"steps": seconds, "published": rows, "suppressed": suppressed, "levels": levels, "content_sha256": content}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), short="--short" in sys.argv[2:])))
