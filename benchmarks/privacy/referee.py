"""An outside referee: anonymeter's singling out, linkability and inference against a release, beside the same attacks on the source itself.

Each attack is made on people who are in the release and on a control group of people who are not; the risk is what the release adds, from 0 (it
teaches nothing that was not known of people like them) to 1. Source: Giomi, Boenisch, Wehmeyer and Tasnádi (2023), A unified framework for
quantifying privacy risk in synthetic data, PoPETs 2023(2). Its code is BSD-3-Clause-Clear; it grants no patent rights.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from anonymize.hierarchies import Hierarchy
from anonymize.privacy import LocalSolution, SearchSettings, Solution, recode_locally, search
from benchmarks.privacy import cases

K, ATTACKS, ATTEMPTS, CONTROL, SEED = 5, 300, 5_000, 3_000, 7
SECRET = "occupation"


@dataclass(frozen=True)
class Judged:
    """What one attack finds. released: `source` or how ours was made; attack; risk: 0 to 1, low, high: its interval of 95 %; success: the
    share of attacks on people in the release that are right; control: on those who are not; seconds."""

    released: str
    attack: str
    risk: float
    low: float
    high: float
    success: float
    control: float
    seconds: float


def releases(rows: pa.Table, secret: str = SECRET) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """Each release of some people: its name, the people, those who are not in it, and what is published, in another order. The secret is
    published as it is; the other columns are quasi-identifiers.

    anonymeter compares cells as they are written, so `40-59` would be nobody's age. Its attacker is given what a real one has, the hierarchies:
    people and control stand in the words of the release."""
    rng = np.random.default_rng(SEED)
    order = rng.permutation(rows.num_rows)
    people, control = rows.take(order[CONTROL:]).combine_chunks(), rows.take(order[:CONTROL]).combine_chunks()
    ladders = {name: ladder for name, ladder in cases.load("adult")[1].items() if name != secret}
    tally = people.group_by(list(ladders)).aggregate([([], "count_all")]).rename_columns([*ladders, "subjects"])
    yield "source", people.to_pandas(), control.to_pandas(), people.take(rng.permutation(len(people))).to_pandas()
    for name, find, budget in (("optimal, k = 5, 5 %", search, 0.05), ("local, k = 5", recode_locally, 0.0)):
        solution = find(tally, ladders, SearchSettings(k=K, suppression=budget))
        said, others = (in_words_of(solution, ladders, one) for one in (people, control))
        kept = said.filter(pc.invert(said["__suppressed"]))
        frames = (table.drop_columns(["__suppressed"]).to_pandas() for table in (said, others, kept.take(rng.permutation(len(kept)))))
        yield name, *frames


def in_words_of(solution: Solution | LocalSolution, ladders: dict[str, Hierarchy], rows: pa.Table) -> pa.Table:
    """Rows as the release would publish them, the suppressed too; a row like none that was there before stays exact in local recoding."""
    out = pa.Table.from_batches([solution.apply(batch) for batch in rows.to_batches()])
    if isinstance(solution, Solution):
        return out
    gone = out["__suppressed"].combine_chunks()
    for place, name in enumerate(out.schema.names):
        if name in ladders:
            exact = ladders[name].generalize(rows[name].combine_chunks(), 0)
            out = out.set_column(place, name, pc.if_else(gone, exact, out[name].combine_chunks()))
    return out


def attacks(people: pd.DataFrame, control: pd.DataFrame, published: pd.DataFrame, secret: str = SECRET) -> Iterator[tuple[str, Any]]:
    """anonymeter's evaluators, evaluated: singling out by the quasi-identifiers alone and by the secret too, and the others."""
    from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator

    ori, syn, other = (_texts(frame) for frame in (people, published, control))
    secret = secret.replace("-", "_")
    known = [name for name in ori.columns if name != secret]
    half = len(known) // 2
    given = {"ori": ori, "syn": syn, "control": other, "n_attacks": ATTACKS}
    yield "singling out", _singling_out(ori[known], syn[known], other[known])
    yield "  and the secret", _singling_out(ori, syn, other)
    np.random.seed(SEED)
    linking = LinkabilityEvaluator(**given, aux_cols=(known[:half], known[half:]), n_neighbors=5)
    yield "linkability", linking.evaluate(n_jobs=1)
    np.random.seed(SEED)
    yield "inference", InferenceEvaluator(**given, aux_cols=known, secret=secret).evaluate(n_jobs=1)


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.fillna("missing").astype(str).astype(object).rename(columns=lambda name: name.replace("-", "_"))


def _singling_out(ori: pd.DataFrame, syn: pd.DataFrame, control: pd.DataFrame) -> Any:
    """anonymeter drops duplicate rows first, after which five people alike are one who is alone; here they stay five."""
    import polars as pl
    from anonymeter.evaluators import SinglingOutEvaluator

    evaluator = SinglingOutEvaluator(ori=ori, syn=syn, control=control, n_attacks=ATTACKS, n_cols=4, max_attempts=ATTEMPTS, seed=SEED)
    evaluator._ori, evaluator._syn, evaluator._control = (pl.DataFrame(frame) for frame in (ori, syn, control))
    return evaluator.evaluate(mode="multivariate")


def judged(rows: pa.Table, secret: str = SECRET) -> Iterator[Judged]:
    """Every attack on every release."""
    logging.getLogger("anonymeter").setLevel(logging.ERROR)
    for name, people, control, published in releases(rows, secret):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for attack, evaluator in attacks(people, control, published, secret):
                risk, rates = evaluator.risk(), evaluator.results()
                yield Judged(
                    name,
                    attack,
                    float(risk.value),
                    *(float(end) for end in risk.ci),
                    float(rates.attack_rate.value),
                    float(rates.control_rate.value),
                    time.perf_counter() - start,
                )
                start = time.perf_counter()


def main() -> None:
    """Print the referee's table."""
    rows, _, _ = cases.load("adult")
    print(f"  {'release of Adult':22} {'attack':16} {'risk':>6} {'95 %':>15} {'right':>7} {'control':>8} {'s':>6}")
    for one in judged(rows):
        interval = f"{one.low:.3f} to {one.high:.3f}"
        print(
            f"  {one.released:22} {one.attack:16} {one.risk:6.3f} {interval:>15} {one.success:7.1%} {one.control:8.1%} {one.seconds:6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
